"""Our trie and STATIC's index under one interface: built, and asked for a step.

Here X counts transitions of STATIC's index, and Y its states.

STATIC (Su et al. 2026, arXiv 2602.22647) keeps the trie as a sparse matrix: a pair of a token and a
next state for every prefix of two tokens or more, and dense tables for the first two levels.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie import packed_codes
from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import Trie, build_on_host

DENSE = 2  # levels that STATIC looks up in dense tables


class Continuations(NamedTuple):
  """The continuations of each beam, padded to C."""

  logp_BxKxC: jax.Array  # float32, -inf for padding
  token_BxKxC: jax.Array  # int32; [1, 1, C] where all beams have the same
  node_BxKxC: jax.Array  # int32, node or state that the token leads to


# (arrays, float32 log p [B, K, V], int32 nodes [B, K], static level) → continuations
Extend: TypeAlias = Callable[[Any, jax.Array, jax.Array, int], Continuations]


class Index(NamedTuple):
  """One of the two, as the benchmark asks it; its root is node 0."""

  arrays: Any  # a pytree
  extend: Extend


@flax.struct.dataclass
class StaticArrays:
  """STATIC's index on the device."""

  packed_Xx2: jax.Array  # int32, token and next state
  start_Yp1: jax.Array  # int32, first transition of each state
  first_V: jax.Array  # bool, whether an ID begins so
  mask_VxV: jax.Array  # bool, whether an ID begins with these two
  state_VxV: jax.Array  # int32, state behind these two
  fan_outs: tuple[int, ...] = flax.struct.field(pytree_node=False)  # [L]


def installed(say: Callable[[str], None]) -> bool:
  """Whether there is STATIC; says what is left out without it."""
  try:
    imported()
  except ImportError:
    say(
      "static_decoding is not installed, so that our trie is measured alone: "
      "pip install git+https://github.com/youtube/static-constraint-decoding"
    )
    return False
  return True


def imported() -> tuple[Any, Any]:
  """STATIC's function that builds, and that of a sparse step; raises ImportError without it."""
  from static_decoding.csr_utils import build_static_index
  from static_decoding.decoding_jax import generate_and_apply_logprobs_mask

  return build_static_index, generate_and_apply_logprobs_mask


def build_ours(codes_NxL: np.ndarray, codebook_size: int) -> tuple[Index, dict[str, float]]:
  """The trie on the device, and its figures."""
  start = time.perf_counter()
  built = build_on_host(codes_NxL, every_prefix=False, codebook_size=codebook_size)
  build_s = time.perf_counter() - start
  trie = jax.device_put(built)
  read = trie.codes_NxL.word_NxW, trie.token_E, trie.child_E, trie.row_E
  return Index(trie, extend_trie), {
    "ours_build_s": build_s,
    "ours_bytes": trie.num_bytes,
    "ours_bytes_read": num_bytes(read),
    "ours_bytes_without_codes": trie.num_bytes - num_bytes(trie.codes_NxL),
    **{f"fan_out{level}": count for level, count in enumerate(trie.fan_outs)},
  }


def build_static(codes_NxL: np.ndarray, codebook_size: int) -> tuple[Index, dict[str, float]]:
  """STATIC's index on the device, and its figures.

  Raises:
    ImportError: without `static_decoding`.
    ValueError: for IDs of fewer than three levels.
  """
  build, _ = imported()
  start = time.perf_counter()
  word_NxW = packed_codes.pack(codes_NxL, packed_codes.bits_of(codebook_size))
  sorted_NxL = codes_NxL[packed_codes.sort(word_NxW)]
  sort_s = time.perf_counter() - start
  start = time.perf_counter()
  packed_Xx2, start_Yp1, fan_outs, *dense = build(sorted_NxL, codebook_size, DENSE)
  build_s = time.perf_counter() - start
  fan_outs = tuple(int(count) for count in fan_outs)
  arrays = StaticArrays(*jax.device_put((packed_Xx2, start_Yp1, *dense)), fan_outs=fan_outs)
  tables = arrays.first_V, arrays.mask_VxV, arrays.state_VxV
  return Index(arrays, extend_static), {
    "static_sort_s": sort_s,
    "static_build_s": build_s,
    "static_bytes": num_bytes(arrays),
    "static_bytes_dense": num_bytes(tables),
  }


def num_bytes(arrays: Any) -> int:
  """Bytes of all arrays of a pytree."""
  return sum(x.nbytes for x in jax.tree.leaves(arrays))


def extend_trie(
  trie: Trie, logp_BxKxV: jax.Array, node_BxK: jax.Array, level: int
) -> Continuations:
  """A step of ours, as `LevelTables.child_logits` gathers."""
  token, node, real = trie_lib.children(trie, node_BxK, trie.fan_outs[level], level)
  logp_BxKxC = jnp.take_along_axis(logp_BxKxV, token, axis=-1, mode="promise_in_bounds")
  return Continuations(jnp.where(real, logp_BxKxC, -jnp.inf), token, node)


def extend_static(
  arrays: StaticArrays, logp_BxKxV: jax.Array, node_BxK: jax.Array, level: int
) -> Continuations:
  """A step of STATIC's: a mask at the root, dense tables for the second level, then sparse rows."""
  *shape, codes = logp_BxKxV.shape
  token_1x1xV = jnp.arange(codes, dtype=jnp.int32)[None, None]
  if level == 0:  # the state behind a first token is the token and 1
    logp = jnp.where(arrays.first_V, logp_BxKxV, -jnp.inf)
    return Continuations(logp, token_1x1xV, jnp.broadcast_to(token_1x1xV + 1, logp.shape))
  if level < DENSE:
    first_BxK = node_BxK - 1
    logp = jnp.where(arrays.mask_VxV[first_BxK], logp_BxKxV, -jnp.inf)
    return Continuations(logp, token_1x1xV, arrays.state_VxV[first_BxK])
  _, step = imported()
  found = step(
    logp_BxKxV.reshape(-1, codes),
    node_BxK.reshape(-1),
    arrays.packed_Xx2,
    arrays.start_Yp1,
    arrays.fan_outs[level],
    codes,
  )
  return Continuations(*(x.reshape(*shape, -1) for x in found))
