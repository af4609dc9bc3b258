"""Vectors of items where a softmax over items needs them.

With a row as wide as the model for each item, the row is the vector. That takes 4 · D bytes an
item. What the semantic ID says of an item takes none: each code of each level has a vector, and
they add up. A narrow row of R numbers, lifted to D by a matrix that all items share, adds what
tells an item from others of a similar ID.

Here X counts the items that are asked for.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.packed_codes import PackedCodes


class ItemVectors(NamedTuple):
  """The parts of the vectors, None where there is no such part."""

  row_NxR: jax.Array | None  # of each item
  lift_RxD: jax.Array | None = None  # None where rows are vectors
  code_LxVxD: jax.Array | None = None  # what the codes of each level add
  codes_NxL: jax.Array | PackedCodes | None = None  # the semantic IDs

  @property
  def num_items(self) -> int:
    """N."""
    return len(self.row_NxR if self.row_NxR is not None else self.codes_NxL)

  def of(self, item_X: jax.Array | None = None) -> jax.Array:
    """The vectors of some item rows, int32 [...], or of all: float32 [..., D]."""
    if self.code_LxVxD is None:
      return self._rows(item_X)
    item_X = jnp.arange(self.num_items) if item_X is None else item_X
    vector_XxD = embedded(self.code_LxVxD, self.codes_NxL[item_X]).sum(axis=-2)
    return vector_XxD if self.row_NxR is None else vector_XxD + self._rows(item_X)

  def _rows(self, item_X: jax.Array | None) -> jax.Array:
    row_XxR = self.row_NxR if item_X is None else self.row_NxR[item_X]
    return row_XxR if self.lift_RxD is None else row_XxR @ self.lift_RxD


def embedded(code_LxVxD: jax.Array, codes_xL: jax.Array) -> jax.Array:
  """The vector of each code, of the first l ≤ L levels: [..., l] → [..., l, D]."""
  codebook_size, width = code_LxVxD.shape[1:]
  first_l = jnp.arange(codes_xL.shape[-1]) * codebook_size
  flat = codes_xL + first_l.reshape((1,) * (codes_xL.ndim - 1) + (-1,))
  return code_LxVxD.reshape(-1, width)[flat]
