"""Semantic IDs in as few bits as their tokens need, in the order of the trie's rows.

Here W counts 32-bit words of an ID.

Token l fills bits l·b to (l+1)·b of an ID, counted from the highest bit of its first word: eight
tokens of 2,048 take 12 bytes. So words sort as the tokens do, and a token is one gather, or two
where it straddles words.
"""

import math
from typing import Any, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

AnyArray: TypeAlias = Any  # a jax.Array, or a numpy array that has not gone to a device yet


@flax.struct.dataclass
class PackedCodes:
  """The IDs of all items. `codes[items]` reads like the table codes_NxL, on a device, too."""

  word_NxW: AnyArray  # uint32, by row
  row_of_N: AnyArray  # int32, item row of the catalogue → row
  bits: int = flax.struct.field(pytree_node=False)  # of a token
  num_levels: int = flax.struct.field(pytree_node=False)

  @property
  def shape(self) -> tuple[int, int]:
    """[N, L]."""
    return self.row_of_N.shape[0], self.num_levels

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, item: Any) -> jax.Array:
    """IDs int32 [..., L] of items [...]; of `codes[items, level]` the tokens of that level."""
    item, levels = item if isinstance(item, tuple) else (item, range(self.num_levels))
    row = self.row_of_N[item]
    if isinstance(levels, int):
      return self.token(row, levels)
    return jnp.stack([self.token(row, level) for level in levels], axis=-1)

  def token(self, row: jax.Array, level: jax.Array | int) -> jax.Array:
    """The tokens of rows [...] at one level, static or traced: int32 [...]."""
    word, offset = level * self.bits // 32, level * self.bits % 32
    if isinstance(level, int):
      bits_x = self._words(row, word) << offset
      if offset + self.bits > 32:
        bits_x = bits_x | (self._words(row, word + 1) >> (32 - offset))
    else:
      offset = jnp.asarray(offset, jnp.uint32)
      bits_x = self._words(row, word) << offset
      if any(level * self.bits % 32 + self.bits > 32 for level in range(self.num_levels)):
        after = self._words(row, jnp.minimum(word + 1, self.word_NxW.shape[1] - 1))
        bits_x = bits_x | ((after >> 1) >> (31 - offset))  # shifting by 32 is undefined
    return (bits_x >> (32 - self.bits)).astype(jnp.int32)

  def _words(self, row: AnyArray, word: AnyArray) -> jax.Array:
    return jnp.asarray(self.word_NxW).at[row, word].get(mode="promise_in_bounds")

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The table on the host, int32 [N, L]."""
    word_NxW = np.asarray(self.word_NxW)[np.asarray(self.row_of_N)]
    codes_NxL = unpack(word_NxW, self.bits, self.num_levels)
    return codes_NxL if dtype is None else codes_NxL.astype(dtype)


def bits_of(codebook_size: int) -> int:
  """Bits of a token below `codebook_size`."""
  return max(1, (codebook_size - 1).bit_length())


def pack(codes_NxL: np.ndarray, bits: int) -> np.ndarray:
  """IDs as words, on the host: uint32 [N, W]."""
  num_items, num_levels = codes_NxL.shape
  word_WxN = np.zeros((math.ceil(num_levels * bits / 32), num_items), np.uint32)
  for level in range(num_levels):
    word, offset = divmod(level * bits, 32)
    token_N = codes_NxL[:, level].astype(np.uint32)
    free = 32 - offset - bits  # bits behind the token in its first word
    word_WxN[word] |= token_N << free if free >= 0 else token_N >> -free
    if free < 0:
      word_WxN[word + 1] |= token_N << (32 + free)
  return np.ascontiguousarray(word_WxN.T)


def unpack_level(word_NxW: np.ndarray, bits: int, level: int) -> np.ndarray:
  """The tokens of one level, on the host: uint32 [N]."""
  word, offset = divmod(level * bits, 32)
  bits_N = word_NxW[:, word] << np.uint32(offset)
  if offset + bits > 32:
    bits_N = bits_N | (word_NxW[:, word + 1] >> np.uint32(32 - offset))
  return bits_N >> np.uint32(32 - bits)


def unpack(word_NxW: np.ndarray, bits: int, num_levels: int) -> np.ndarray:
  """The inverse of `pack`: int32 [N, L]."""
  levels = [unpack_level(word_NxW, bits, level) for level in range(num_levels)]
  return np.stack(levels, axis=1).astype(np.int32)


def sort(word_NxW: np.ndarray) -> np.ndarray:
  """The order that sorts IDs: int64 [N]."""
  key_N = _leading_64_bits(word_NxW)
  order_N = np.argsort(key_N)
  sorted_N = key_N[order_N]
  same_Nm1 = sorted_N[1:] == sorted_N[:-1]
  if word_NxW.shape[1] > 2 and same_Nm1.any():  # what ties is sorted by the words behind, too
    tied_N = np.zeros(len(key_N), bool)
    tied_N[1:] |= same_Nm1
    tied_N[:-1] |= same_Nm1
    run_N = np.cumsum(np.concatenate([[True], ~same_Nm1]))
    tied_M = order_N[tied_N]
    behind = [word_NxW[tied_M, word] for word in range(word_NxW.shape[1] - 1, 1, -1)]
    order_N[tied_N] = tied_M[np.lexsort([*behind, run_N[tied_N]])]
  return order_N


def search(sorted_RxW: np.ndarray, word_MxW: np.ndarray) -> np.ndarray:
  """Where each ID would stand among sorted ones, like numpy's searchsorted: int64 [M]."""
  if sorted_RxW.shape[1] <= 2:
    return np.searchsorted(_leading_64_bits(sorted_RxW), _leading_64_bits(word_MxW))
  return np.searchsorted(_as_bytes(sorted_RxW), _as_bytes(word_MxW))


def _as_bytes(word_NxW: np.ndarray) -> np.ndarray:
  """Byte strings of one length, which compare as their words do, highest byte first: [N]."""
  text_Nx1 = np.ascontiguousarray(word_NxW, ">u4").view(f"S{4 * word_NxW.shape[1]}")
  return text_Nx1.reshape(len(word_NxW))


def _leading_64_bits(word_NxW: np.ndarray) -> np.ndarray:
  key_N = word_NxW[:, 0].astype(np.uint64) << np.uint64(32)
  return key_N | word_NxW[:, 1] if word_NxW.shape[1] > 1 else key_N
