"""Histories of requests, as they were read: item rows, and what is known of each event."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.data.columns import users_of
from sidrec.data.dataset import Histories
from sidrec.data.inputs import InputsConfig, known_inputs
from sidrec.run.answers import Id
from sidrec.run.given import actions_of, numbers_of


class Reading(NamedTuple):
  """A history as it was read."""

  rows: tuple[int, ...]  # item rows, oldest first: all of them
  user: Id | None = None
  unknown: tuple[str, ...] = ()
  ambiguous: dict[str, tuple[Id, ...]] = {}  # noqa: RUF012 — never written to
  taken_for: dict[str, Id] = {}  # noqa: RUF012
  times: tuple[float, ...] | None = None  # of the rows, in seconds, where the model reads them
  ratings: tuple[float, ...] | None = None  # of the rows, where the model reads them
  actions: tuple[int, ...] | None = None  # of the rows, as the model numbers them; where read
  attributes: tuple[int, ...] | None = None  # of the user, as the model numbers them; where read


def followed_by(before: Reading, later: Reading) -> Reading:
  """A user's history with what happened since; where the model reads times, in their order."""
  order = list(range(len(before.rows) + len(later.rows)))
  if before.times is not None and later.times is not None:
    order.sort(key=(before.times + later.times).__getitem__)  # stable: what comes later is newer

  def joined(mine: tuple | None, its: tuple | None) -> Any:
    return None if mine is None or its is None else tuple(map((mine + its).__getitem__, order))

  return before._replace(
    rows=joined(before.rows, later.rows),
    unknown=before.unknown + later.unknown,
    times=joined(before.times, later.times),
    ratings=joined(before.ratings, later.ratings),
    actions=joined(before.actions, later.actions),
  )


def context(
  rows: Sequence[int | None],
  times: Any,
  ratings: Any,
  actions: Any,
  inputs: InputsConfig,
  in_log: Collection[str],
) -> tuple[tuple | None, tuple | None, tuple | None]:
  """Times, ratings and actions of the items that have a row, as a `Reading` has them.

  Args:
    rows: of the items, None where an id has none.
    times: seconds since 1970, one for each, or None.
    ratings: None or NaN where unknown, or None for no ratings.
    actions: names, None where unknown, or None for no actions.
    inputs: what the model reads.
    in_log: actions of the run's log; one of these that the model does not tell apart is unknown.

  Raises:
    TypeError, ValueError: for what the model does not read, no number, or no action.
  """
  count = len(rows)

  def kept(what: str, values: Any, is_read: bool, read: Callable[[], list]) -> tuple | None:
    if values is None:
      return None
    if not is_read:
      raise ValueError(f"{what} are given, and this model reads none (model.inputs)")
    return tuple(x for x, row in zip(read(), rows, strict=True) if row is not None)

  def rows_of_actions() -> list[int]:
    others = set(in_log) - set(inputs.actions)
    names = actions_of(actions, count)
    return [inputs.action_row(None if name in others else name) for name in names]

  return (
    kept("times", times, inputs.times, lambda: numbers_of("times", times, count)),
    kept("ratings", ratings, inputs.rating, lambda: numbers_of("ratings", ratings, count)),
    kept("actions", actions, bool(inputs.actions), rows_of_actions),
  )


def own_user(histories: Histories, row: int, inputs: InputsConfig) -> tuple[int, ...] | None:
  """The attributes of a user of the run, as a `Reading` has them; None where none are read."""
  if not inputs.user_attributes:
    return None
  return tuple(users_of(histories, np.array([row]), inputs)[0].tolist())


def given_user(given: Any, inputs: InputsConfig) -> tuple[int, ...] | None:
  """The attributes that a request gives, as a `Reading` has them.

  Raises:
    TypeError, ValueError: for what the model does not read, or a value of another kind.
  """
  if inputs.user_attributes:
    return known_inputs(inputs).given_user(given)
  if given is not None:
    raise ValueError("attributes are given, and this model reads nothing of users (model.inputs)")
  return None
