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


def pack(follower_NxR: np.ndarray, similarity_NxR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Followers and how strongly they follow as they are kept: uint16 or int32, and uint8 [N, R].

  Args:
    follower_NxR: int32 item rows, NO_ITEM for none.
    similarity_NxR: float32, 0 for none. What is beyond the range is kept as its end.
  """
  if len(follower_NxR) <= _NO_ROW:
    row_NxR = np.where(follower_NxR == NO_ITEM, _NO_ROW, follower_NxR).astype(np.uint16)
  else:
    row_NxR = follower_NxR.astype(np.int32)
  some_NxR = similarity_NxR > 0
  log2_NxR = np.log2(similarity_NxR, where=some_NxR, out=np.zeros_like(similarity_NxR))
  step_NxR = np.clip(np.rint(_STEPS * log2_NxR + _OF_ONE), 1, _LARGEST)
  return row_NxR, np.where(some_NxR, step_NxR, 0).astype(np.uint8)


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
  follower_NxR, similarity_NxR = map(np.asarray, unpack(row_NxR, step_NxR))
  is_known_N = trained_row_N >= 0
  at_N, is_known_Nx1 = np.maximum(trained_row_N, 0), is_known_N[:, None]
  new_row_Nt = np.full(len(follower_NxR) + 1, NO_ITEM, np.int32)  # the last is that of no item
  new_row_Nt[trained_row_N[is_known_N]] = np.flatnonzero(is_known_N)
  moved_NxR = np.where(is_known_Nx1, new_row_Nt[follower_NxR[at_N]], NO_ITEM).astype(np.int32)
  kept_NxR = np.where(moved_NxR == NO_ITEM, np.float32(0), similarity_NxR[at_N])
  return pack(moved_NxR, kept_NxR)
