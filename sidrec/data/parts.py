"""Some of the items or interactions of a data set, and two tables of items in one."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from sidrec.data.dataset import TEXT, Dataset, Histories, Items


def take_items(items: Items, row_M: np.ndarray) -> Items:
  """The items of some rows, in this order; categories that none of them has are left out."""
  row_M = np.asarray(row_M, np.int64)
  length_M = np.diff(items.category_offsets_Np1)[row_M]
  offsets_Mp1 = np.concatenate([[0], np.cumsum(length_M)]).astype(np.int64)
  start_E = np.repeat(items.category_offsets_Np1[row_M] - offsets_Mp1[:-1], length_M)
  pair_E = items.category_E[start_E + np.arange(offsets_Mp1[-1])]
  used_C, category_E = np.unique(pair_E, return_inverse=True)
  return Items(
    ids_N=items.ids_N[row_M],
    titles_N=items.titles_N[row_M],
    categories_C=items.categories_C[used_C],
    category_offsets_Np1=offsets_Mp1,
    category_E=category_E.astype(np.int32),
    numeric={name: column[row_M] for name, column in items.numeric.items()},
    text_N=items.text_N[row_M],
  )


def join_items(parts: Sequence[Items]) -> Items:
  """The items of all parts, one after another; a number that a part lacks is NaN.

  Raises:
    ValueError: if an id stands in two of them, or is a number in one and text in another.
  """
  kinds = {part.ids_N.dtype == TEXT for part in parts}
  if len(kinds) > 1:
    raise ValueError("item ids are numbers in one table and text in the other; give them alike")
  ids_N = np.concatenate([part.ids_N for part in parts])
  seen: set[str | int] = set()
  for name in ids_N.tolist():  # NumPy 2.4 crashes where it sorts text
    if name in seen:
      raise ValueError(f"item {name!r} is in the catalogue already")
    seen.add(name)
  names = [part.categories_C[part.category_E].tolist() for part in parts]
  distinct = sorted({name for some in names for name in some})
  row_of = {name: row for row, name in enumerate(distinct)}
  category_E = np.array([row_of[name] for some in names for name in some], np.int32)
  lengths_N = np.concatenate([np.diff(part.category_offsets_Np1) for part in parts])
  columns = dict.fromkeys(name for part in parts for name in part.numeric)

  def missing(part: Items) -> np.ndarray:
    return np.full(part.num_items, np.nan, np.float32)

  return Items(
    ids_N=ids_N,
    titles_N=np.concatenate([part.titles_N for part in parts]),
    categories_C=np.array(distinct, TEXT),
    category_offsets_Np1=np.concatenate([[0], np.cumsum(lengths_N)]).astype(np.int64),
    category_E=category_E,
    numeric={
      name: np.concatenate([part.numeric.get(name, missing(part)) for part in parts])
      for name in columns
    },
    text_N=np.concatenate([part.text_N for part in parts]),
  )


def interactions_of(histories: Histories) -> pl.DataFrame:
  """Histories as a log (see `sources.rules`); rows of users and items stand for ids."""
  columns = {
    "user": np.repeat(np.arange(histories.num_users, dtype=np.uint32), histories.lengths_U),
    "item": histories.item_T.astype(np.uint32),
    "time": histories.time_T,
    "rating": histories.rating_T,
    "action": histories.action_T,
    "target": histories.target_T,
  }
  return pl.DataFrame({name: column for name, column in columns.items() if column is not None})


def with_interactions(dataset: Dataset, log: pl.DataFrame) -> Dataset:
  """The data set with some of its interactions; users and items without any are left out.

  Args:
    dataset: what a reader returned.
    log: of `interactions_of`, fewer of its rows, in their order.
  """
  user_T, item_T = (log[name].to_numpy() for name in ("user", "item"))
  user_U, length_U = np.unique(user_T, return_counts=True)
  item_M, item_T = np.unique(item_T, return_inverse=True)
  histories = Histories(
    offsets_Up1=np.concatenate([[0], np.cumsum(length_U)]).astype(np.int64),
    item_T=item_T.astype(np.int32),
    time_T=log["time"].to_numpy(writable=True),
    rating_T=log["rating"].to_numpy(writable=True),
    user_ids_U=dataset.histories.user_ids_U[user_U],
    action_T=log["action"].to_numpy(writable=True) if "action" in log.columns else None,
    actions=dataset.histories.actions,
    target_T=log["target"].to_numpy(writable=True) if "target" in log.columns else None,
    users=dataset.histories.users_at(user_U),
  )
  users = {name: column[user_U] for name, column in dataset.users.items()}
  return dataset._replace(histories=histories, items=take_items(dataset.items, item_M), users=users)
