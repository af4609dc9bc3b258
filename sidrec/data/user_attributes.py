"""What is known of users beside their histories, as a model reads it: numbers of rows of a table.

A category is a row of its own. A number falls into one of up to 16 buckets: each value its own
where training users have no more different ones, and else quantiles of the training users. What is
missing, or was not met in training, is the row 0, 'unknown'.

Here X counts the attributes that a model reads.
"""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sidrec.data.dataset import TEXT

_BUCKETS = 16  # of a number
_LEAST_USERS = 2  # who share a category: what one user alone has says nothing of others
_MOST = 1000  # categories of an attribute, the most frequent ones

Users = Mapping[str, np.ndarray]  # attribute → [U], as `Dataset.users`


@dataclasses.dataclass(frozen=True)
class Attribute:
  """An attribute with what training met; hashable, so static under jit."""

  name: str
  values: tuple[str, ...] | None = None  # the categories that have a row, sorted; None for a number
  edges: tuple[float, ...] = ()  # of a number's buckets: each begins at one, the first before all

  @property
  def rows(self) -> int:
    """How many rows it has, that of the unknown included."""
    return 2 + len(self.edges) if self.values is None else 1 + len(self.values)

  def rows_of(self, column_U: np.ndarray) -> np.ndarray:
    """The row of each user's value: int32 [U].

    Args:
      column_U: TEXT, '' where unknown, or float32, NaN where unknown.

    Raises:
      ValueError: for text in place of numbers, or numbers in place of text.
    """
    if (column_U.dtype == TEXT) != (self.values is not None):
      was, now = ("numbers", "text") if self.values is None else ("text", "numbers")
      raise ValueError(f"the users' attribute {self.name!r} was {was} in training and is {now} now")
    if self.values is None:
      value_U = column_U.astype(np.float32)
      bucket_U = np.searchsorted(np.array(self.edges, np.float32), value_U, side="right")
      return np.where(np.isfinite(value_U), 1 + bucket_U, 0).astype(np.int32)
    row_of = {value: row for row, value in enumerate(self.values, 1)}
    return np.array([row_of.get(value, 0) for value in column_U.tolist()], np.int32)

  def value_of(self, row: int) -> str | float | None:
    """A value that has this row; None for the unknown."""
    if row == 0:
      return None
    if self.values is not None:
      return self.values[row - 1]
    below = float(np.nextafter(np.float32(self.edges[0]), np.float32(-np.inf)))
    return below if row == 1 else self.edges[row - 2]

  def row_of(self, value: Any) -> int:
    """The row of a value that a request gives; 0 for None, NaN, '' and what has no row.

    Raises:
      TypeError: for what is neither text nor a number, or text where numbers are read.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if value is None or (is_number and value != value):
      return 0
    if self.values is None:
      if not is_number:
        raise TypeError(f"attribute {self.name!r} is {value!r:.60}; give a number, or None")
      try:
        return int(self.rows_of(np.array([value], np.float32))[0])
      except OverflowError:  # of a whole number with hundreds of digits
        return 0
    if isinstance(value, numbers.Integral) and is_number:
      value = str(int(value))  # as the names of codes, such as those of occupations
    if not isinstance(value, str):
      raise TypeError(f"attribute {self.name!r} is {value!r:.60}; give text, or None")
    return int(self.rows_of(np.array([value], TEXT))[0])


def met_in(users: Users, names: Sequence[str]) -> tuple[Attribute, ...]:
  """The attributes of these names with what the users of a training have.

  Raises:
    ValueError: for a name that nothing is known of, or an attribute that tells no two users alike.
  """
  return tuple(_met(name, column_of(users, name)) for name in names)


def column_of(users: Users | None, name: str) -> np.ndarray:
  """What users have of an attribute: [U]; raises ValueError where there is no such attribute."""
  if users is None or name not in users:
    there = f"there are: {', '.join(users)}" if users else "nothing is known of its users"
    raise ValueError(
      f"the model reads the users' attribute {name!r} (inputs.user_attributes), and the data set "
      f"has none of that name; {there}"
    )
  return users[name]


def _met(name: str, column_U: np.ndarray) -> Attribute:
  if column_U.dtype == TEXT:
    value_X, count_X = np.unique(np.array(column_U.tolist(), object), return_counts=True)
    counts = dict(zip(value_X.tolist(), count_X.tolist(), strict=True))
    shared = [value for value, count in counts.items() if value and count >= _LEAST_USERS]
    frequent = sorted(shared, key=lambda value: (-counts[value], value))[:_MOST]
    if not frequent:
      raise ValueError(f"no two users share a value of {name!r}; leave it out of user_attributes")
    return Attribute(name, tuple(sorted(frequent)))
  known = column_U[np.isfinite(column_U)].astype(np.float32)
  edges = np.unique(known)[1:]
  if len(edges) >= _BUCKETS:
    edges = np.unique(np.quantile(known, np.arange(1, _BUCKETS) / _BUCKETS).astype(np.float32))
    edges = edges[edges > known.min()]
  if not len(edges):
    raise ValueError(f"no two users differ in {name!r}; leave it out of user_attributes")
  return Attribute(name, None, tuple(edges.tolist()))


def as_json(known: Sequence[Attribute]) -> list[dict[str, Any]]:
  """Attributes as JSON holds them."""
  return [
    {
      "name": attribute.name,
      "values": None if attribute.values is None else list(attribute.values),
      "edges": list(attribute.edges),
    }
    for attribute in known
  ]


def from_json(content: Sequence[Mapping[str, Any]]) -> tuple[Attribute, ...]:
  """The attributes of `as_json`."""
  return tuple(
    Attribute(
      one["name"],
      None if one["values"] is None else tuple(one["values"]),
      tuple(one["edges"]),
    )
    for one in content
  )
