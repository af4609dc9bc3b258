"""Base conversion: an item's codes are the digits of its row number, least significant first."""

import jax
import jax.numpy as jnp

from sidrec.core.codes import check_sizes, radix_codes
from sidrec.tokenizers.base import Array, Params, Tokenizer


def radix(num_levels: int, codebook_size: int) -> Tokenizer:
  """A tokenizer that learns nothing: row n gets the digits of n.

  `encode` numbers the rows it is given 0..N-1 and ignores the vectors' values, so
  it must be given the whole catalogue in order: the same item in another row, or
  in another call, gets another ID. `fit` returns an empty pytree; there is no
  `decode`. `encode` raises ValueError for more than V**L rows.
  """
  check_sizes(num_levels, codebook_size)

  def fit(key: jax.Array, vectors_NxF: Array) -> Params:
    del key, vectors_NxF
    return ()

  def encode(params: Params, vectors_NxF: Array) -> jax.Array:
    del params
    return jnp.asarray(radix_codes(vectors_NxF.shape[0], num_levels, codebook_size))

  return Tokenizer("radix", num_levels, codebook_size, fit, encode)
