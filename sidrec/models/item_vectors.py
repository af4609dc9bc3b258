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
from sidrec.models.table_params import rows_at
from sidrec.training.table_rows import TableRows


class ItemVectors(NamedTuple):
  """The parts of the vectors, None where there is no such part."""

  row_NxR: jax.Array | TableRows | None  # of each item
  lift_RxD: jax.Array | None = None  # None where rows are vectors
  code_LxVxD: jax.Array | None = None  # what the codes of each level add
  codes_NxL: jax.Array | PackedCodes | None = None  # the semantic IDs

  @property
  def num_items(self) -> int:
    """N."""
    rows = self.codes_NxL if self.row_NxR is None else self.row_NxR
    assert rows is not None
    return len(rows)

  def of(self, item_X: jax.Array | None = None) -> jax.Array:
    """The vectors of some item rows, int32 [...], or of all: float32 [..., D]."""
    parts = []
    if self.row_NxR is not None:
      row_XxR = rows_at(self.row_NxR, item_X)
      parts.append(row_XxR if self.lift_RxD is None else row_XxR @ self.lift_RxD)
    if self.code_LxVxD is not None and self.codes_NxL is not None:
      item_X = jnp.arange(self.num_items) if item_X is None else item_X
      parts.append(embedded(self.code_LxVxD, self.codes_NxL[item_X]).sum(axis=-2))
    return sum(parts[1:], start=parts[0])


def embedded(code_LxVxD: jax.Array, codes_xL: jax.Array) -> jax.Array:
  """The vector of each code, of the first l ≤ L levels: [..., l] → [..., l, D]."""
  codebook_size, width = code_LxVxD.shape[1:]
  first_l = jnp.arange(codes_xL.shape[-1]) * codebook_size
  flat = codes_xL + first_l.reshape((1,) * (codes_xL.ndim - 1) + (-1,))
  return code_LxVxD.reshape(-1, width)[flat]
