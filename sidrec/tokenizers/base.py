"""The tokenizer contract: pure functions over a pytree of parameters.

Letters: N items, F vector width, L levels, V codes per level.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from sidrec.core.codes import as_codes
from sidrec.parallel.mesh import batch_sharding

Array = jax.Array | np.ndarray
Params = Any  # nested dicts of arrays, which Orbax saves and gives back as they were

# Items that are on the device at once. A part of a block is padded to a whole one, so that every
# item goes through the same compiled program and gets the same codes, alone or among millions.
BLOCK_SIZE = 4096


class Tokenizer(NamedTuple):
  """A way to turn item vectors into code tuples, after optax's GradientTransformation.

  Vectors may be a memory-mapped array: no function copies it whole.

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
  """

  name: str
  num_levels: int
  codebook_size: int
  fit: Callable[[jax.Array, Array], Params]
  encode: Callable[[Params, Array], Array]
  decode: Callable[[Params, Array], Array] | None = None
  costs: Callable[[Params, Array, Array, int], Array] | None = None


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


def check_codes(codes_NxL: Array, num_levels: int, codebook_size: int) -> np.ndarray:
  """The codes as int32 [N, L]; ValueError if they are no integers in [0, V) of that shape."""
  checked_NxL = as_codes(codes_NxL, codebook_size)
  if checked_NxL.ndim != 2 or not len(checked_NxL) or checked_NxL.shape[1] != num_levels:
    raise ValueError(f"codes have shape {checked_NxL.shape}; give [items, {num_levels}]")
  return checked_NxL


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
