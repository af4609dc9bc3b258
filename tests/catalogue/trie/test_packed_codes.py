"""Packing of semantic IDs, and their order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.catalogue.trie import packed_codes
from sidrec.catalogue.trie.packed_codes import PackedCodes, bits_of, pack, search, sort, unpack

# One word, two whole ones (which differ in the second alone), tokens that straddle words, more
# than 64 bits, and as many bits as there are.
SHAPES = pytest.mark.parametrize(
  ("levels", "codebook_size"), [(1, 1), (4, 256), (3, 5), (8, 256), (8, 2048), (5, 2**31 - 1)]
)


def make_codes(levels, codebook_size, count=500):
  rng = np.random.default_rng(levels)
  codes = rng.integers(0, codebook_size, (count, levels))
  # Long prefixes in common, to which the last levels alone give an order.
  codes[: count // 2, :-1] = codes[count // 2 - 1, :-1]
  return codes


@SHAPES
def test_packing_is_undone(levels, codebook_size):
  codes, bits = make_codes(levels, codebook_size), bits_of(codebook_size)
  words = pack(codes, bits)
  assert words.shape[1] == -(-levels * bits // 32)
  np.testing.assert_array_equal(unpack(words, bits, levels), codes)


@SHAPES
def test_tokens_on_the_device(levels, codebook_size):
  codes, bits = make_codes(levels, codebook_size), bits_of(codebook_size)
  row_of = np.random.default_rng(1).permutation(len(codes)).astype(np.int32)
  words = np.empty_like(pack(codes, bits))
  words[row_of] = pack(codes, bits)
  packed = PackedCodes(jnp.asarray(words), jnp.asarray(row_of), bits, levels)
  np.testing.assert_array_equal(np.asarray(packed), codes)
  item = jnp.asarray([[3, 499], [0, 3]])
  np.testing.assert_array_equal(jax.jit(lambda p, i: p[i])(packed, item), codes[item])
  traced = jax.jit(lambda p, i, level: p.token(p.row_of_N[i], level))
  for level in range(levels):
    np.testing.assert_array_equal(packed[item, level], codes[item, level])
    np.testing.assert_array_equal(traced(packed, item, level), codes[item, level])


@SHAPES
def test_words_sort_as_tokens_do(levels, codebook_size):
  codes, bits = make_codes(levels, codebook_size), bits_of(codebook_size)
  words = pack(codes, bits)
  in_order = codes[sort(words)].tolist()
  assert in_order == sorted(codes.tolist())
  distinct = np.unique(codes, axis=0)
  place = search(pack(distinct, bits), words)
  np.testing.assert_array_equal(distinct[place], codes)
  if codebook_size == 2048:  # what is not there stands before the next larger one
    other = make_codes(levels, codebook_size, 300)
    expected = [sum(row < code for row in distinct.tolist()) for code in other.tolist()]
    assert search(pack(distinct, bits), pack(other, bits)).tolist() == expected


def test_eight_tokens_of_2048_take_twelve_bytes():
  assert pack(make_codes(8, 2048), bits_of(2048)).nbytes == 500 * 12
  assert packed_codes.bits_of(256) == 8
  assert packed_codes.bits_of(257) == 9
