"""How followers are kept: five bytes each, three where rows fit into two bytes.

How strongly an item followed takes one byte: its base-2 logarithm in steps of 1/8, from 2^-20 to
2^11, which is right to 4.5%. Older runs have four bytes for it and are read as they are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.core.vocabulary import NO_ITEM

_STEPS, _OF_ONE = 8, 160  # steps from x to 2x, and the step of 1; step 0 is that of 0
_LARGEST = np.iinfo(np.uint8).max
_NO_ROW = np.iinfo(np.uint16).max  # where rows have 16 bits
_BLOCK = 1 << 16  # items whose followers are moved at once


def pack(follower_NxR: np.ndarray, similarity_NxR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Followers and how strongly they follow as they are kept: uint16 or int32, and uint8 [N, R].

  Args:
    follower_NxR: int32 item rows, NO_ITEM for none.
    similarity_NxR: float32, 0 for none. What is beyond the range is kept as its end.
  """
  return _packed_rows(follower_NxR, len(follower_NxR)), _packed_steps(similarity_NxR)


def _packed_rows(follower_XxR: np.ndarray, num_items: int) -> np.ndarray:
  if num_items > _NO_ROW:
    return follower_XxR.astype(np.int32)
  return np.where(follower_XxR == NO_ITEM, _NO_ROW, follower_XxR).astype(np.uint16)


def _packed_steps(similarity_XxR: np.ndarray) -> np.ndarray:
  some_XxR = similarity_XxR > 0
  log2_XxR = np.log2(similarity_XxR, where=some_XxR, out=np.zeros_like(similarity_XxR))
  step_XxR = np.clip(np.rint(_STEPS * log2_XxR + _OF_ONE), 1, _LARGEST)
  return np.where(some_XxR, step_XxR, 0).astype(np.uint8)


def unpack(row: Any, step: Any) -> tuple[jax.Array, jax.Array]:
  """Item rows and how strongly they follow, of any part of what `pack` returns: int32, float32."""
  row, step = jnp.asarray(row), jnp.asarray(step)
  if row.dtype == jnp.uint16:
    row = jnp.where(row == _NO_ROW, NO_ITEM, row.astype(jnp.int32))
  if step.dtype == jnp.uint8:
    strength = jnp.exp2((step.astype(jnp.float32) - _OF_ONE) / _STEPS)
    step = jnp.where(step == 0, 0.0, strength)
  return row, step


def moved(
  row_NxR: AnyArray, step_NxR: AnyArray, trained_row_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The followers of each item of another catalogue, by the rows that items have there.

  Args:
    row_NxR: of `pack`, in the trained catalogue.
    step_NxR: of `pack`.
    trained_row_N: int, the row that each item had in training, or less than 0.
  """
  row_NtxR, step_NtxR = np.asarray(row_NxR), np.asarray(step_NxR)
  is_known_N, num_items = trained_row_N >= 0, len(trained_row_N)
  new_row_Nt = np.full(len(row_NtxR) + 1, NO_ITEM, np.int32)  # the last is that of no item
  new_row_Nt[trained_row_N[is_known_N]] = np.flatnonzero(is_known_N)
  none_XxR = np.full((0, row_NtxR.shape[1]), NO_ITEM, np.int32)
  rows, steps = [_packed_rows(none_XxR, num_items)], [none_XxR.astype(np.uint8)]
  # Block by block: of ten million items, all followers as wide numbers would take gigabytes.
  for start in range(0, num_items, _BLOCK):
    trained_X = trained_row_N[start : start + _BLOCK]
    at_X, is_known_Xx1 = np.maximum(trained_X, 0), (trained_X >= 0)[:, None]
    follower_XxR, step_XxR = row_NtxR[at_X], step_NtxR[at_X]
    if follower_XxR.dtype == np.uint16:
      follower_XxR = np.where(follower_XxR == _NO_ROW, NO_ITEM, follower_XxR.astype(np.int32))
    moved_XxR = np.where(is_known_Xx1, new_row_Nt[follower_XxR], NO_ITEM)
    step_XxR = step_XxR if step_XxR.dtype == np.uint8 else _packed_steps(step_XxR)
    rows.append(_packed_rows(moved_XxR, num_items))
    steps.append(np.where(moved_XxR == NO_ITEM, np.uint8(0), step_XxR))
  return np.concatenate(rows), np.concatenate(steps)
