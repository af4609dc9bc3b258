"""Metrics that plugins register: a number for each user, from the lists that a system showed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.core.plugged import Chosen, Register
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Dataset, HeldOut, Histories, Items
from sidrec.evaluation.metrics import is_builtin


class Outcome(NamedTuple):
  """What a system showed to users, seen items 'masked' or not. Arrays are read only."""

  rank_U: np.ndarray  # int64 [U], of the target, from 0; -1 where the list does not hold it
  item_UxK: np.ndarray  # int32 [U, K], item rows, best first, NO_ITEM (-1) after the last
  target_U: np.ndarray  # int32 [U], item rows
  histories: Histories  # of the users, before their targets
  items: Items  # the catalogue
  popularity_N: np.ndarray  # int64 [N], interactions with each item in training


# Where a registered metric stands in `config.evaluation.metrics`.
METRICS = Register("metric", "evaluation.metrics", ("enabled", False), ("outcome",), is_builtin)


def register_metric(
  name: str,
  function: Callable[..., Any] | None = None,
  settings: Any = None,
  *,
  files: Callable[..., Iterable[str]] | None = None,
) -> Any:
  """Makes a metric known by a name: `@register_metric("late")`, or with the function.

  Args:
    name: of the metric in tables and files, and of `config.evaluation.metrics.<name>`, where
      `enabled` lets an evaluation measure it.
    function: (outcome) → one finite number for each user [U]; see `Outcome`. It is called for each
      system, split and way. What is reported is the mean.
    settings: a frozen dataclass of its own settings with their defaults, which the function gets
      as a second argument.
    files: settings (or nothing, where there are none) → the files that it reads. Their contents
      count as inputs of the evaluation.

  Raises:
    ValueError: if the name is taken or no Python name, or the function takes other arguments.
    TypeError: for settings that are no instance of a dataclass.
  """
  return METRICS.add(name, function, settings, files)


class OwnMetrics(NamedTuple):
  """The registered metrics of an evaluation, and what they need to know of one split."""

  chosen: Sequence[Chosen]
  held_out: HeldOut
  items: Items
  popularity_N: np.ndarray

  def of(
    self, rank_U: np.ndarray, item_UxK: np.ndarray, valid_UxK: np.ndarray, num_results: int
  ) -> dict[str, np.ndarray]:
    """Every metric of every user, by name: float64 [U].

    Args:
      rank_U: int [U]; negative, or `num_results` and more, where the list lacks the target.
      item_UxK: int [U, K], of any K.
      valid_UxK: bool [U, K].
      num_results: length of the lists that count.

    Raises:
      ValueError: for a metric that fails, or gives anything but a finite number for each user.
    """
    order_UxK = np.argsort(~valid_UxK, axis=1, kind="stable")[:, :num_results]
    item_UxK = np.where(valid_UxK, item_UxK, NO_ITEM)
    item_UxK = np.take_along_axis(item_UxK, order_UxK, axis=1).astype(np.int32)
    rank_U = np.where((rank_U >= 0) & (rank_U < num_results), rank_U, -1).astype(np.int64)
    outcome = Outcome(
      _read_only(rank_U),
      _read_only(item_UxK),
      _read_only(self.held_out.target_U),
      self.held_out.histories,
      self.items,
      _read_only(self.popularity_N),
    )
    return {one.name: _checked(one, one(outcome), len(rank_U)) for one in self.chosen}


def own_metrics(
  chosen: Sequence[Chosen], dataset: Dataset, training: Histories, held_out: HeldOut
) -> OwnMetrics | None:
  """The chosen metrics for one split of a data set; None where none is chosen."""
  if not chosen:
    return None
  popularity_N = np.bincount(training.item_T, minlength=dataset.items.num_items)
  return OwnMetrics(chosen, held_out, dataset.items, popularity_N)


def metrics_in(names: Iterable[str]) -> list[str]:
  """Those of some names of metrics that are plugins', each once."""
  return [name for name in dict.fromkeys(names) if not is_builtin(name)]


def described(chosen: Iterable[Chosen], code: Mapping[str, str]) -> dict[str, dict[str, str]]:
  """What a protocol says of each: its meaning and the version of its code."""
  return {one.name: {"meaning": one.meaning, "code": code[one.name]} for one in chosen}


def _checked(one: Chosen, found: Any, num_users: int) -> np.ndarray:
  """What a metric returned, as float64 [U]."""
  wanted = f"give one finite number for each of the {num_users} users"
  try:
    value_U = np.asarray(found)
  except ValueError:  # lists of different lengths
    raise ValueError(f"{one.plugged} returns lists of different lengths; {wanted}") from None
  if value_U.dtype.kind not in "biuf":
    raise ValueError(f"{one.plugged} returns values of type {value_U.dtype}; {wanted}")
  if value_U.shape != (num_users,):
    raise ValueError(f"{one.plugged} returns an array of shape {value_U.shape}; {wanted}")
  value_U = value_U.astype(np.float64)
  fits_U = np.abs(value_U) <= np.finfo(np.float32).max  # what files keep of each user
  if not fits_U.all():
    user = int(np.argmin(fits_U))
    raise ValueError(f"{one.plugged} returns {value_U[user]} for user row {user}; {wanted}")
  return value_U


def _read_only(array: np.ndarray) -> np.ndarray:
  """The array, as a view that nobody can write to."""
  view = array.view()
  view.flags.writeable = False
  return view
