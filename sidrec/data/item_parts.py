"""Some items of a table, and two tables in one."""

from collections.abc import Sequence

import numpy as np

from sidrec.data.dataset import TEXT, Items


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
  distinct, count = np.unique(ids_N, return_counts=True)
  if (count > 1).any():
    raise ValueError(f"item {distinct.item(int(count.argmax()))!r} is in the catalogue already")
  names = np.concatenate([part.categories_C[part.category_E] for part in parts])
  categories_C, category_E = np.unique(names, return_inverse=True)
  lengths_N = np.concatenate([np.diff(part.category_offsets_Np1) for part in parts])
  columns = dict.fromkeys(name for part in parts for name in part.numeric)
  missing = lambda part: np.full(part.num_items, np.nan, np.float32)
  return Items(
    ids_N=ids_N,
    titles_N=np.concatenate([part.titles_N for part in parts]),
    categories_C=categories_C,
    category_offsets_Np1=np.concatenate([[0], np.cumsum(lengths_N)]).astype(np.int64),
    category_E=category_E.astype(np.int32),
    numeric={
      name: np.concatenate([part.numeric.get(name, missing(part)) for part in parts])
      for name in columns
    },
    text_N=np.concatenate([part.text_N for part in parts]),
  )
