"""What a report needs of each user: the list that was shown, the target's rank, and what kind of
request it was. Of the test split only; `per_user.npz` holds it after the metrics.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.core.readers import read_npz
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Dataset, Histories, held_out_view
from sidrec.data.seen import seen_items

SPLIT = "test"
KEPT = 10  # results of each list


class Lists(NamedTuple):
  """One system's lists for all users. Scores are None where they are not kept."""

  # int32 [U], from 0; -1 where the target was not found. It may lie beyond the lists that the
  # metrics count: a search knows as many results as it has beams, a baseline ranks every item.
  rank_U: np.ndarray
  item_UxK: np.ndarray  # int32 [U, K], best first, NO_ITEM after the last
  target_score_U: np.ndarray | None = None  # float32 [U], NaN where the target was not found
  score_UxK: np.ndarray | None = None  # float32 [U, K], -inf after the last


class Users(NamedTuple):
  """What kind of request each user's is."""

  target_U: np.ndarray  # int32 [U], item rows
  history_length_U: np.ndarray  # int32 [U]
  target_popularity_U: np.ndarray  # int32 [U], interactions with the target in training
  repeated_U: np.ndarray  # bool [U], whether the target is in the history


class Details(NamedTuple):
  """All of it, of one evaluation."""

  users: Users
  lists: dict[str, dict[str, Lists]]  # system → 'masked' | 'unmasked' → its lists


def lists_of(
  rank_U: np.ndarray,
  item_UxK: np.ndarray,
  valid_UxK: np.ndarray,
  score_UxK: np.ndarray | None = None,
) -> Lists:
  """The part that is kept.

  Args:
    rank_U: int [U], the number of valid results before the target; -1 where it is not found.
    item_UxK: int [U, K], of any K.
    valid_UxK: bool [U, K].
    score_UxK: float [U, K], or None for scores that mean nothing outside of their list.
  """
  rank_U = rank_U.astype(np.int32)
  # Valid results first, in their order.
  order_UxK = np.argsort(~valid_UxK, axis=1, kind="stable")
  valid_UxK = np.take_along_axis(valid_UxK, order_UxK, axis=1)
  item_UxK = np.where(valid_UxK, np.take_along_axis(item_UxK, order_UxK, axis=1), NO_ITEM)
  item_UxK = item_UxK.astype(np.int32)
  if score_UxK is None:
    return Lists(rank_U, item_UxK[:, :KEPT])
  score_UxK = np.where(valid_UxK, np.take_along_axis(score_UxK, order_UxK, axis=1), -np.inf)
  score_UxK = score_UxK.astype(np.float32)
  at_Ux1 = np.maximum(rank_U, 0)[:, None]
  target_score_U = np.where(
    rank_U >= 0, np.take_along_axis(score_UxK, at_Ux1, axis=1)[:, 0], np.nan
  )
  return Lists(rank_U, item_UxK[:, :KEPT], target_score_U.astype(np.float32), score_UxK[:, :KEPT])


def users_of(dataset: Dataset, training: Histories) -> Users:
  """The requests of a data set's test split, and how popular in training their targets are."""
  held_out = held_out_view(dataset.histories, SPLIT)
  count_N = np.bincount(training.item_T, minlength=dataset.items.num_items)
  seen = seen_items(held_out.histories)
  num_users = held_out.histories.num_users
  user_X = np.repeat(np.arange(num_users), np.diff(seen.offsets_Up1))
  repeated_U = np.zeros(num_users, bool)
  repeated_U[user_X[seen.item_X == held_out.target_U[user_X]]] = True
  return Users(
    held_out.target_U.astype(np.int32),
    held_out.histories.lengths_U.astype(np.int32),
    count_N[held_out.target_U].astype(np.int32),
    repeated_U,
  )


def details_arrays(details: Details) -> dict[str, np.ndarray]:
  """'users/test/<fact>' and 'lists/test/<system>/<way>/<what>' → array."""
  arrays = {f"users/{SPLIT}/{_plain(name)}": x for name, x in details.users._asdict().items()}
  for system, ways in details.lists.items():
    for way, lists in ways.items():
      arrays |= {
        f"lists/{SPLIT}/{system}/{way}/{_plain(name)}": x
        for name, x in lists._asdict().items()
        if x is not None
      }
  return arrays


def is_detail(name: str) -> bool:
  """Whether an array of `per_user.npz` is one of these, and no metric."""
  kind, slashes = name.split("/")[0], name.count("/")
  return (kind, slashes) in (("users", 2), ("lists", 4))


def read_details(path: PathLike) -> Details:
  """What `per_user.npz` holds of users and lists.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is damaged, or an evaluation wrote it that did not keep lists yet.
  """
  path = as_path(path)
  try:
    arrays = read_npz(path)
  except ValueError as error:
    raise ValueError(f"{path} is {error}; run --mode=evaluate --redo=evaluate") from None
  return details_of(arrays, path)


def details_of(arrays: Mapping[str, np.ndarray], path: PathLike) -> Details:
  """The same from the arrays that were read; `path` is for messages."""
  if not any(map(is_detail, arrays)):
    raise ValueError(
      f"{path} holds no lists and no ranks of users: it was evaluated by an earlier version; run "
      "--mode=evaluate --redo=evaluate with this workdir, which trains nothing"
    )
  try:
    users = Users(*(arrays[f"users/{SPLIT}/{_plain(name)}"] for name in Users._fields))
    num_users = len(users.target_U)
    lists: dict[str, dict[str, Lists]] = {}
    for name in arrays:
      if is_detail(name) and name.endswith("/rank"):
        system, way = name.split("/")[2:4]
        start = name.removesuffix("rank")
        found = Lists(*(arrays.get(start + _plain(field)) for field in Lists._fields))  # pyrefly: ignore[bad-argument-type]
        lists.setdefault(system, {})[way] = found
    columns = [*users, *(x for ways in lists.values() for found in ways.values() for x in found)]
    if not all(x is None or (x.ndim and len(x) == num_users) for x in columns):
      raise ValueError("columns of different lengths")
  except (KeyError, ValueError) as error:
    raise ValueError(
      f"{path} is damaged: its lists are garbled ({error}); run --mode=evaluate --redo=evaluate"
    ) from None
  return Details(users, lists)


def _plain(name: str) -> str:
  """'item_UxK' → 'item'."""
  return name.rpartition("_")[0]
