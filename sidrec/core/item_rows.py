"""Item rows as users give them: arrays or lists of integers, with NO_ITEM (-1) for none."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.vocabulary import NO_ITEM

_MOST = np.iinfo(np.int32).max


def check_dtype(what: str, rows: Any) -> None:
  """Checks the type of an array, traced or not.

  Raises:
    TypeError: unless it holds signed integers.
  """
  dtype = np.dtype(rows.dtype)
  if dtype.kind == "b":
    raise TypeError(f"{what} are bool; give item rows instead of a mask, as np.flatnonzero does")
  if not np.issubdtype(dtype, np.signedinteger):
    raise TypeError(f"{what} are {dtype}; give item rows as int32, with {NO_ITEM} where none is")


def is_known(rows: Any) -> bool:
  """Whether the host can read an array's values now: it is neither traced nor on other hosts."""
  if isinstance(rows, jax.core.Tracer):
    return False
  is_here = not isinstance(rows, jax.Array) or rows.is_fully_addressable
  return is_here or rows.is_fully_replicated


def as_array(what: str, rows: Any) -> Any:
  """An array as it is; lists of item rows, one for each request, as an array filled up with -1.

  Returns:
    A jax.Array, or a numpy array of the type that was given; int64 [B, longest] for lists.

  Raises:
    TypeError: if it is neither, or holds no signed integers.
  """
  if not isinstance(rows, (np.ndarray, jax.Array)):
    return from_lists(what, rows)
  check_dtype(what, rows)
  return rows


def as_int32(rows: np.ndarray) -> np.ndarray:
  """The array as int32, with NO_ITEM for what does not fit, which no catalogue has."""
  return np.where((rows < 0) | (rows > _MOST), NO_ITEM, rows).astype(np.int32)


def widened(rows: Any) -> jax.Array:
  """The array in a type of at least 32 bits, in which row numbers can be compared."""
  if isinstance(rows, np.ndarray):
    rows = as_int32(rows)
  return jnp.asarray(rows, jnp.promote_types(rows.dtype, jnp.int32))


def from_lists(what: str, lists: Any) -> np.ndarray:
  """Lists of item rows as one array, filled up with NO_ITEM: int64 [B, longest, but at least 1].

  Raises:
    TypeError: unless there is a list of integers for each request.
  """
  if isinstance(lists, (str, bytes)) or not isinstance(lists, (Sequence, np.ndarray, jax.Array)):
    raise TypeError(f"{what} are a {type(lists).__name__}; give an array, or a list per request")
  arrays = [_from_list(what, items) for items in lists]
  width = max([1, *map(len, arrays)])
  row_BxJ = np.full((len(arrays), width), NO_ITEM, np.int64)
  for row_J, items in zip(row_BxJ, arrays, strict=True):
    row_J[: len(items)] = items
  return row_BxJ


def _from_list(what: str, items: Any) -> np.ndarray:
  if isinstance(items, (str, bytes)) or not isinstance(items, (Iterable, np.ndarray, jax.Array)):
    raise TypeError(f"{what} hold {items!r:.40}; give a list of item rows for each request")
  if not isinstance(items, (np.ndarray, jax.Array)):
    items = list(items)
    if not items:
      return np.zeros(0, np.int64)
    try:
      items = np.asarray(items)
    except ValueError:  # lists of several lengths
      items = np.zeros((0, 0), np.int64)
  if items.ndim != 1:
    raise TypeError(f"{what} hold lists in lists; give a list of item rows for each request")
  if len(items):
    check_dtype(what, items)
  return np.asarray(items)
