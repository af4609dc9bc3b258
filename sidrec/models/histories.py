"""What a model reads of a history: the item rows before the first entry that is none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.item_rows import check_dtype, is_known, widened
from sidrec.core.vocabulary import NO_ITEM

LATEST = 10  # items of a history that count, where only the latest ones do


def latest_items(history_BxS: jax.Array, most: int = LATEST) -> jax.Array:
  """The last items of histories that are filled up with NO_ITEM: int32 [B, most], as these."""
  count_Bx1 = (history_BxS >= 0).sum(axis=1, keepdims=True)
  at_BxS = jnp.maximum(count_Bx1 - most, 0) + jnp.arange(most)[None]
  within_BxS = jnp.minimum(at_BxS, history_BxS.shape[1] - 1)
  item_BxS = jnp.take_along_axis(history_BxS, within_BxS, axis=1)
  return jnp.where(at_BxS < count_Bx1, item_BxS, NO_ITEM)


def item_rows(history_BxS: Any, num_items: Any) -> jax.Array:
  """The histories, each up to its first entry that is no item, and NO_ITEM from there on.

  So nothing that is outside the catalogue is read as another item. Where values are known, that is
  outside jit, such histories are refused.

  Args:
    history_BxS: signed integers.
    num_items: item rows that are items, an integer or int32 [], traced or not.

  Returns:
    int32 [B, S].

  Raises:
    TypeError: for other types.
    ValueError: as `check_histories` does, where values are known.
  """
  check_dtype("histories", history_BxS)
  if is_known(history_BxS) and is_known(num_items):
    check_histories(history_BxS, int(num_items))
  history_BxS = widened(history_BxS)
  is_item_BxS = (history_BxS >= 0) & (history_BxS < num_items)
  place_1xS = jnp.arange(history_BxS.shape[1], dtype=jnp.int32)[None]
  length_Bx1 = jnp.min(
    jnp.where(is_item_BxS, history_BxS.shape[1], place_1xS),
    axis=1,
    keepdims=True,
    initial=history_BxS.shape[1],
  )
  return jnp.where(place_1xS < length_Bx1, history_BxS, NO_ITEM).astype(jnp.int32)


def check_histories(history_BxS: Any, num_items: int) -> None:
  """Checks histories of known values, on the host.

  Raises:
    ValueError: naming the first entry that is no item, or the first item behind NO_ITEM.
  """
  history_BxS = np.asarray(history_BxS)
  is_item_BxS = (history_BxS >= 0) & (history_BxS < num_items)
  wrong_BxS = ~is_item_BxS & (history_BxS != NO_ITEM)
  if wrong_BxS.any():
    b, s = np.argwhere(wrong_BxS)[0]
    raise ValueError(
      f"history {b} holds item row {history_BxS[b, s]}, and rows go from 0 to {num_items - 1}; "
      f"fill up with {NO_ITEM}"
    )
  behind_BxS = is_item_BxS[:, 1:] & ~is_item_BxS[:, :-1]
  if behind_BxS.any():
    b, s = np.argwhere(behind_BxS)[0]
    raise ValueError(
      f"history {b} has {NO_ITEM} before item row {history_BxS[b, s + 1]}; put the items first, "
      f"oldest first, and {NO_ITEM} behind the newest"
    )


def sums_of(
  item_BxK: jax.Array | None, of_BxX: jax.Array, part_BxX: jax.Array, num_items: int
) -> jax.Array:
  """The sum of the parts of each of these items, or of all: [B, K]."""
  if item_BxK is not None:
    same_BxKxX = item_BxK[:, :, None] == of_BxX[:, None]
    return jnp.where(same_BxKxX, part_BxX[:, None], 0.0).sum(axis=-1)
  column_BxX = jnp.where(of_BxX == NO_ITEM, num_items, of_BxX)
  batch = of_BxX.shape[0]
  zeros_BxN, row_Bx1 = jnp.zeros((batch, num_items)), jnp.arange(batch)[:, None]
  return zeros_BxN.at[row_Bx1, column_BxX].add(part_BxX, mode="drop")
