"""Item numbers as tuples of base-V digits, least significant first.

Item 520 with 4 levels of 256 codes is [8, 2, 0, 0], as 520 = 8 + 2 · 256.

Letters: N items, L levels, V codes per level. The functions on codes are plain
NumPy; JAX is imported only by `radix`, so that reading a mapping stays light.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sidrec.core.codes import as_integers, check_sizes, digits_needed

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Tokenizer


def radix_codes(items: ArrayLike, id_length: int, codebook_size: int) -> np.ndarray:
  """Base conversion, little-endian: digit l of item n is n // V**l mod V.

  Args:
    items: the number of items N, for items 0..N-1; or item numbers, integer [N].
    id_length: L.
    codebook_size: V.

  Returns:
    codes_NxL int32, unique for distinct items.

  Raises:
    ValueError: if an item number is negative or needs more than L digits, or a
      size makes no sense.
  """
  check_sizes(id_length, codebook_size)
  given = as_integers(items, "item numbers")
  if given.ndim > 1:
    raise ValueError(f"item numbers have shape {given.shape}; give a count or one axis")
  lowest, count = 0, 0
  if given.ndim == 0:
    lowest = count = int(given)
  elif given.size:
    lowest, count = int(given.min()), int(given.max()) + 1
  if lowest < 0:
    raise ValueError(f"item number or count {lowest} is negative; give 0 or more")
  if count > codebook_size**id_length:
    raise ValueError(
      f"{count} items do not fit in {id_length} levels of {codebook_size} codes; "
      f"id_length={digits_needed(count, codebook_size)} would do"
    )
  rest_N = np.arange(count, dtype=np.int64) if given.ndim == 0 else given.astype(np.uint64)
  codes_NxL = np.empty((len(rest_N), id_length), np.int32)
  base = rest_N.dtype.type(codebook_size)
  for level in range(id_length):
    rest_N, codes_NxL[:, level] = np.divmod(rest_N, base)
  return codes_NxL


def radix(num_levels: int, codebook_size: int) -> "Tokenizer":
  """A tokenizer that learns nothing: row n gets the digits of n.

  `encode` numbers the rows it is given 0..N-1 and ignores the vectors' values, so
  it must be given the whole catalogue in order: the same item in another row, or
  in another call, gets another ID. `fit` returns an empty pytree; there is no
  `decode`. `encode` raises ValueError for more than V**L rows.
  """
  import jax
  import jax.numpy as jnp

  from sidrec.tokenizers.base import Array, Params, Tokenizer

  check_sizes(num_levels, codebook_size)

  def fit(key: jax.Array, vectors_NxF: Array) -> Params:
    del key, vectors_NxF
    return ()

  def encode(params: Params, vectors_NxF: Array) -> jax.Array:
    del params
    return jnp.asarray(radix_codes(vectors_NxF.shape[0], num_levels, codebook_size))

  return Tokenizer("radix", num_levels, codebook_size, fit, encode)
