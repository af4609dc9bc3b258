"""The tokenizer contract: pure functions over a pytree of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from sidrec.core.codes import as_codes, as_integers, check_codes
from sidrec.parallel.mesh import batch_sharding
from sidrec.tokenizers.settings import TokenizerConfig

Array = jax.Array | np.ndarray
Params = Any  # nested dicts of arrays, which Orbax saves and gives back as they were

# Items that are on the device at once. A part of a block is padded to a whole one, so that every
# item goes through the same compiled program and gets the same codes, alone or among millions.
BLOCK_SIZE = 4096


class Tokenizer(NamedTuple):
  """A way to turn item vectors into code tuples, after optax's GradientTransformation.

  Vectors may be a memory-mapped array: no function copies it whole. `checked` refuses bad inputs.

  Attributes:
    name: as in the config.
    num_levels: L.
    codebook_size: V; codes lie in [0, V).
    fit: (key, vectors_NxF float32) → params.
    encode: (params, vectors_NxF float32) → codes_NxL int32; works for unseen vectors. The codes of
      the items it was fitted on are those that the fit found.
    decode: (params, codes_NxL) → vectors_NxF float32, or None where no inverse exists.
    costs: (params, vectors_NxF, codes_NxL, level) → cost_NxV float32: how far each code of the
      level is from an item whose codes above that level are given (those from `level` on are not
      looked at). `inf` marks a code that stands for nothing there; it may still be
      given to an item when nothing else is free. None where codes mean nothing (base conversion).
    settings: what `make_tokenizer` made it from, so that a file can hold it; else None.
  """

  name: str
  num_levels: int
  codebook_size: int
  fit: Callable[[jax.Array, Any], Params]
  encode: Callable[[Params, Any], Array]
  decode: Callable[[Params, Any], Array] | None = None
  costs: Callable[[Params, Any, Any, int], Array] | None = None
  settings: TokenizerConfig | None = None


class Fitted(NamedTuple):
  """A tokenizer with its parameters: what new items are encoded by."""

  tokenizer: Tokenizer
  params: Params


def check_vectors(vectors_NxF: Any, width: int | None = None) -> np.ndarray:
  """Checks item vectors in blocks; a float32 array, memory-mapped or not, is returned uncopied.

  Args:
    vectors_NxF: what should be item vectors.
    width: F that they must have; None for any.

  Raises:
    ValueError: for another shape, or a row that is not finite (names it).
  """
  if not isinstance(vectors_NxF, np.ndarray):
    vectors_NxF = np.asarray(vectors_NxF)
  if vectors_NxF.ndim != 2 or not vectors_NxF.shape[0] or not vectors_NxF.shape[1]:
    raise ValueError(f"item vectors have shape {vectors_NxF.shape}; give [items, width]")
  if vectors_NxF.dtype != np.float32:
    vectors_NxF = vectors_NxF.astype(np.float32)
  if width is not None and vectors_NxF.shape[1] != width:
    raise ValueError(
      f"item vectors are {vectors_NxF.shape[1]} wide, but the tokenizer was fitted on width "
      f"{width}; encode with the features it was fitted on"
    )
  for start in range(0, len(vectors_NxF), 16 * BLOCK_SIZE):
    bad_B = ~np.isfinite(vectors_NxF[start : start + 16 * BLOCK_SIZE]).all(axis=1)
    if bad_B.any():
      raise ValueError(
        f"item vectors hold NaN or infinity in row {start + int(bad_B.argmax())}; check the "
        "features of that item"
      )
  return vectors_NxF


def checked(tokenizer: Tokenizer, width: Callable[[Params], int]) -> Tokenizer:
  """The tokenizer with its inputs checked here, so that its own functions can trust them.

  Args:
    tokenizer: its functions get float32 vectors and int32 codes.
    width: F of the vectors that parameters were fitted on.

  Returns:
    The same tokenizer, whose functions raise ValueError for vectors that `check_vectors` refuses,
    for codes that are not integers in [0, V) of shape [N, L], and for a level that does not exist.
  """
  num_levels, codebook_size = tokenizer.num_levels, tokenizer.codebook_size
  plain_decode, plain_costs = tokenizer.decode, tokenizer.costs

  def fit(key: jax.Array, vectors_NxF: Array) -> Params:
    return tokenizer.fit(key, check_vectors(vectors_NxF))

  def encode(params: Params, vectors_NxF: Array) -> Array:
    return tokenizer.encode(params, check_vectors(vectors_NxF, width(params)))

  def decode(params: Params, codes_NxL: Array) -> Array:
    assert plain_decode is not None
    return plain_decode(params, check_codes(codes_NxL, codebook_size, num_levels))

  def costs(params: Params, vectors_NxF: Array, codes_NxL: Array, level: int) -> Array:
    assert plain_costs is not None
    if not 0 <= level < num_levels:
      raise ValueError(f"level {level} is outside 0..{num_levels - 1}")
    vectors_NxF = check_vectors(vectors_NxF, width(params))
    codes_NxL = as_integers(codes_NxL, "tokens")
    if codes_NxL.shape != (len(vectors_NxF), num_levels):
      raise ValueError(
        f"{len(vectors_NxF)} vectors do not match codes of shape {codes_NxL.shape}; give codes "
        f"[items, {num_levels}]"
      )
    as_codes(codes_NxL[:, :level], codebook_size)  # the others are not looked at
    return plain_costs(params, vectors_NxF, codes_NxL.astype(np.int32), level)

  return tokenizer._replace(
    fit=fit,
    encode=encode,
    decode=None if plain_decode is None else decode,
    costs=None if plain_costs is None else costs,
  )


def row_blocks(num_rows: int) -> list[slice]:
  """The rows, BLOCK_SIZE at a time."""
  return [slice(start, start + BLOCK_SIZE) for start in range(0, num_rows, BLOCK_SIZE)]


def map_blocks(
  f: Callable[..., Any],
  *rows_NxX: np.ndarray,
  block_size: int = BLOCK_SIZE,
  mesh: Mesh | None = None,
) -> Any:
  """Applies a jitted function of rows to blocks of rows of one size, the last one padded.

  Args:
    f: (rows_BxX, …) → a pytree of arrays [B, …].
    *rows_NxX: arrays with N rows each, memory-mapped or not.
    block_size: B, rounded up to what the devices of the mesh can share.
    mesh: devices that the rows of a block are spread over, by its 'data' axis; None leaves them
      on the host. Every process has all rows and gets all results.

  Returns:
    The pytree of NumPy arrays [N, …].
  """
  block_size = shared_size(block_size, mesh)
  num_rows = len(rows_NxX[0])
  blocks = []
  for start in range(0, num_rows, block_size):
    parts = [rows[start : start + block_size] for rows in rows_NxX]
    missing = block_size - len(parts[0])
    if missing:
      parts = [np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)]) for x in parts]
    blocks.append(f(*(spread_rows(x, mesh) for x in parts)))
  return jax.tree.map(lambda *x: np.concatenate([_on_host(b) for b in x])[:num_rows], *blocks)


def shared_size(block_size: int, mesh: Mesh | None) -> int:
  """The size, rounded up to a multiple of the devices along a mesh's 'data' axis."""
  return block_size if mesh is None else -(-block_size // mesh.shape["data"]) * mesh.shape["data"]


def spread_rows(rows_NxX: np.ndarray, mesh: Mesh | None) -> Array:
  """Rows over a mesh's 'data' axis, which divides N; as they are without a mesh."""
  if mesh is None:
    return rows_NxX
  return jax.make_array_from_callback(rows_NxX.shape, batch_sharding(mesh), lambda i: rows_NxX[i])


def _on_host(x: Any) -> np.ndarray:
  """The whole array, also of parts that other processes hold."""
  if isinstance(x, jax.Array) and not x.is_fully_addressable:
    return multihost_utils.process_allgather(x, tiled=True)
  return np.asarray(x)
