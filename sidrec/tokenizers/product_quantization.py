"""Product quantization: the vector space is split into L parts, each with a codebook of its own.

After Jégou et al., 'Product quantization for nearest neighbor search' (TPAMI 2011).
The rotation is the parametric solution of Ge et al., 'Optimized product quantization'
(CVPR 2013): principal directions, dealt to the parts so that each gets an equal
share. No level depends on another, so codes have no order of importance.

D is the width of the widest part; narrower ones are padded to it with zeros.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.codes import check_sizes
from sidrec.tokenizers.base import Params, Tokenizer, checked, map_blocks, row_blocks
from sidrec.tokenizers.kmeans.kmeans import kmeans, nearest

# The codebooks are fitted to at most that many items per code.
FIT_SAMPLE = 256

# Directions with less than this part of the largest variance count as rounding noise.
MIN_VARIANCE = 1e-6


def product_quantization(
  num_levels: int, codebook_size: int, iterations: int, *, rotation: bool = True
) -> Tokenizer:
  """Product quantization as a tokenizer.

  Parameters are {'mean_F', 'basis_FxLxD', 'codebooks_LxVxD'}; the basis has
  orthonormal columns, apart from padding of zeros. The cost of a code is the squared
  distance between its codeword and the item's part; an item's costs, summed over
  the levels, are the squared error of what its codes decode to.

  Args:
    num_levels: L; parts differ in width by at most 1, so F need not be a multiple of L.
    codebook_size: V.
    iterations: of k-means, at most.
    rotation: whether parts are principal directions; else runs of neighbouring columns.

  Returns:
    A tokenizer whose functions raise ValueError as `checked` says, and in `fit` for vectors
    narrower than L.

  Raises:
    ValueError: if a size makes no sense.
  """
  check_sizes(num_levels, codebook_size)
  if iterations < 1:
    raise ValueError(f"iterations is {iterations}; give at least 1")

  def fit(key: jax.Array, vectors_NxF: np.ndarray) -> Params:
    num_items, width = vectors_NxF.shape
    if width < num_levels:
      raise ValueError(
        f"item vectors are {width} wide, too narrow for the parts of {num_levels} levels; give "
        f"wider features, or at most {width} levels"
      )
    mean_F = np.asarray(vectors_NxF.mean(axis=0, dtype=np.float64)).astype(np.float32)
    if rotation:
      variances_F, directions_FxF = _principal_directions(vectors_NxF, mean_F)
      basis_FxLxD = _basis(directions_FxF, allocate(variances_F, num_levels))
    else:
      basis_FxLxD = _basis(np.eye(width), np.array_split(np.arange(width), num_levels))

    sample_key, kmeans_key = jax.random.split(key)
    sample_RxF = vectors_NxF
    if num_items > FIT_SAMPLE * codebook_size:
      shape = (FIT_SAMPLE * codebook_size,)
      rows = jax.random.choice(sample_key, num_items, shape, replace=False)
      sample_RxF = vectors_NxF[np.sort(np.asarray(rows))]
    points_RxLxD = map_blocks(functools.partial(_project, mean_F, basis_FxLxD), sample_RxF)
    codebooks_VxD = [
      kmeans(level_key, jnp.asarray(points_RxLxD[:, level]), codebook_size, iterations)[0]
      for level, level_key in enumerate(jax.random.split(kmeans_key, num_levels))
    ]
    return {
      "mean_F": jnp.asarray(mean_F),
      "basis_FxLxD": jnp.asarray(basis_FxLxD),
      "codebooks_LxVxD": jnp.stack(codebooks_VxD),
    }

  tokenizer = Tokenizer(
    "product_quantization", num_levels, codebook_size, fit, _encode, _decode, _costs
  )
  return checked(tokenizer, width=lambda params: len(params["mean_F"]))


def allocate(variances_F: np.ndarray, num_parts: int) -> list[np.ndarray]:
  """Deals principal directions to parts with balanced products of variances.

  Each direction in turn, the largest variance first, goes to the part whose product
  is smallest so far and that is not full (Ge et al. 2013, section 3.2.2). Variances are taken
  relative to the smallest one, so that the products grow whatever the scale.

  Args:
    variances_F: eigenvalues of the covariance, in any order.
    num_parts: L, at most F.

  Returns:
    L arrays of rows of `variances_F`, int64, whose lengths differ by at most 1.
  """
  variances_F = np.maximum(variances_F, max(MIN_VARIANCE * np.max(variances_F), 1e-30))
  logs_F = np.log(variances_F) - np.log(variances_F.min())
  size, longer = divmod(len(logs_F), num_parts)
  parts: list[list[int]] = [[] for _ in range(num_parts)]
  products = [0.0] * num_parts
  for row in np.argsort(-logs_F, kind="stable").tolist():
    # Only as many parts as there are directions left over may grow by one more.
    full = size + (sum(len(part) > size for part in parts) < longer)
    open_parts = [part for part in range(num_parts) if len(parts[part]) < full]
    chosen = min(open_parts, key=lambda part: (products[part], len(parts[part])))
    parts[chosen].append(row)
    products[chosen] += logs_F[row]
  return [np.array(part) for part in parts]


def _basis(directions_FxF: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
  """The directions that span each part, padded to one number by zeros: float32 [F, L, D]."""
  basis_FxLxD = np.zeros((len(directions_FxF), len(parts), max(map(len, parts))), np.float32)
  for level, columns in enumerate(parts):
    basis_FxLxD[:, level, : len(columns)] = directions_FxF[:, columns]
  return basis_FxLxD


def _principal_directions(
  vectors_NxF: np.ndarray, mean_F: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Variances [F] along the principal directions, the columns of [F, F]; float64."""
  width = vectors_NxF.shape[1]
  scatter_FxF = np.zeros((width, width))
  for rows in row_blocks(len(vectors_NxF)):
    centred_BxF = vectors_NxF[rows] - mean_F[None, :]
    scatter_FxF += centred_BxF.T @ centred_BxF
  return np.linalg.eigh(scatter_FxF / len(vectors_NxF))


def _encode(params: Params, vectors_NxF: np.ndarray) -> np.ndarray:
  return map_blocks(functools.partial(_encode_block, params), vectors_NxF)


def _decode(params: Params, codes_NxL: np.ndarray) -> np.ndarray:
  return map_blocks(functools.partial(_decode_block, params), codes_NxL)


def _costs(
  params: Params, vectors_NxF: np.ndarray, codes_NxL: np.ndarray, level: int
) -> np.ndarray:
  del codes_NxL
  basis_FxD, codebook_VxD = params["basis_FxLxD"][:, level], params["codebooks_LxVxD"][level]
  block = functools.partial(_block_costs, params["mean_F"], basis_FxD, codebook_VxD)
  return map_blocks(block, vectors_NxF)


@jax.jit
def _project(mean_F: jax.Array, basis_FxLxD: jax.Array, vectors_BxF: jax.Array) -> jax.Array:
  """The parts of vectors: float32 [B, L, D]."""
  centred_BxF = vectors_BxF - mean_F[None, :]
  return jnp.einsum("bf,fld->bld", centred_BxF, basis_FxLxD, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _encode_block(params: Params, vectors_BxF: jax.Array) -> jax.Array:
  points_BxLxD = _project(params["mean_F"], params["basis_FxLxD"], vectors_BxF)
  by_level = (points_BxLxD.swapaxes(0, 1), params["codebooks_LxVxD"])
  return jax.lax.map(lambda level: nearest(*level), by_level).T


@jax.jit
def _decode_block(params: Params, codes_BxL: jax.Array) -> jax.Array:
  codewords_LxBxD = jax.vmap(lambda book_VxD, codes_B: book_VxD[codes_B])(
    params["codebooks_LxVxD"], codes_BxL.T
  )
  vectors_BxF = jnp.einsum(
    "lbd,fld->bf", codewords_LxBxD, params["basis_FxLxD"], precision=jax.lax.Precision.HIGHEST
  )
  return vectors_BxF + params["mean_F"][None, :]


@jax.jit
def _block_costs(
  mean_F: jax.Array, basis_FxD: jax.Array, codebook_VxD: jax.Array, vectors_BxF: jax.Array
) -> jax.Array:
  points_BxD = _project(mean_F, basis_FxD[:, None, :], vectors_BxF)[:, 0]
  # Distances do not change when everything is shifted, but less is lost in |x|² - 2xc + |c|².
  origin_1xD = codebook_VxD.mean(0, keepdims=True)
  points_BxD, codebook_VxD = points_BxD - origin_1xD, codebook_VxD - origin_1xD
  cross_BxV = jnp.dot(points_BxD, codebook_VxD.T, precision=jax.lax.Precision.HIGHEST)
  lengths_B, lengths_V = jnp.square(points_BxD).sum(-1), jnp.square(codebook_VxD).sum(-1)
  return jnp.maximum(lengths_B[:, None] - 2 * cross_BxV + lengths_V[None, :], 0)
