"""Residual k-means: each level clusters what the levels before left of the vectors.

After residual vector quantization (Chen, Guan and Wang, 2010) with a k-means codebook per level.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sidrec.core.codes import check_sizes
from sidrec.tokenizers.base import (
  BLOCK_SIZE,
  Array,
  Params,
  Tokenizer,
  checked,
  map_blocks,
  shared_size,
  spread_rows,
)
from sidrec.tokenizers.kmeans import balanced
from sidrec.tokenizers.kmeans.kmeans import first_smallest, kmeans, relative_distances

# Codebooks are learnt from at most that many items per code; all items are then assigned.
FIT_SAMPLE = 256

# Lloyd's iterations with bounded clusters, after those without bounds.
BALANCED_ITERATIONS = 4


def residual_kmeans(
  num_levels: int,
  codebook_size: int,
  iterations: int,
  balance_slack: float = 0.0,
  mesh: Mesh | None = None,
) -> Tokenizer:
  """Residual k-means as a tokenizer.

  Its parameters are the codebooks, float32 'centroids_LxVxF', and the squared radii within which
  codes are given, float32 'radius_LxV' (inf without balance).

  Args:
    num_levels: L.
    codebook_size: V.
    iterations: of Lloyd's algorithm, at most, per level.
    balance_slack: at every level, no code is given to more than this times N / V items, rounded
      up; see `balanced` for equal vectors. At least 1, or 0 for no such bound.
    mesh: devices that items are spread over; None for one device.

  Returns:
    A tokenizer whose functions raise ValueError as `checked` says.

  Raises:
    ValueError: for a setting that makes no sense.
  """
  check_settings(num_levels, codebook_size, iterations, balance_slack)
  tokenizer = Tokenizer(
    name="residual_kmeans",
    num_levels=num_levels,
    codebook_size=codebook_size,
    fit=functools.partial(_fit, mesh, num_levels, codebook_size, iterations, balance_slack),
    encode=functools.partial(_encode, mesh),
    decode=_decode,
    costs=functools.partial(_costs, mesh),
  )
  return checked(tokenizer, width=lambda params: params["centroids_LxVxF"].shape[2])


def check_settings(
  num_levels: int, codebook_size: int, iterations: int, balance_slack: float
) -> None:
  """Raises ValueError for settings of a k-means tokenizer that make no sense."""
  check_sizes(num_levels, codebook_size)
  if iterations < 0:
    raise ValueError(f"iterations must not be negative, but is {iterations}")
  balanced.check_slack(balance_slack)


def sample_rows(num_rows: int, size: int, key: jax.Array) -> np.ndarray:
  """At most `size` of the rows, evenly spread and in order, one from each stretch: int64."""
  if num_rows <= size:
    return np.arange(num_rows)
  place = np.arange(size) + np.asarray(jax.random.uniform(key, (size,)), np.float64)
  return np.minimum((place * (num_rows / size)).astype(np.int64), num_rows - 1)


def balanced_kmeans(
  centroids_VxF: np.ndarray, points_NxF: np.ndarray, slack: float, mesh: Mesh | None = None
) -> np.ndarray:
  """Moves k-means centroids to where bounded clusters have their means: float32 [V, F]."""
  num_clusters = len(centroids_VxF)
  most = balanced.capacity(len(points_NxF), num_clusters, slack)
  for _ in range(BALANCED_ITERATIONS):
    _, codes_N = balanced.fill(
      _proposer(points_NxF, centroids_VxF, mesh=mesh), len(points_NxF), num_clusters, most
    )
    order_N = np.argsort(codes_N, kind="stable")
    counts_V = np.bincount(codes_N, minlength=num_clusters)
    used_V = counts_V > 0
    starts = (np.cumsum(counts_V) - counts_V)[used_V]
    sums = np.add.reduceat(points_NxF[order_N], starts, axis=0)
    centroids_VxF = centroids_VxF.copy()
    centroids_VxF[used_V] = sums / counts_V[used_V, None].astype(np.float32)
  return centroids_VxF


def _fit(
  mesh: Mesh | None,
  num_levels: int,
  codebook_size: int,
  iterations: int,
  slack: float,
  key: jax.Array,
  items_NxF: np.ndarray,
) -> Params:
  sample_key, key = jax.random.split(key)
  rows_R = sample_rows(len(items_NxF), FIT_SAMPLE * codebook_size, sample_key)
  residual_RxF = np.array(items_NxF[rows_R])
  centroids, radii = [], []
  for level_key in jax.random.split(key, num_levels):
    found_VxF, _ = _kmeans(level_key, residual_RxF, codebook_size, iterations, mesh)
    centroids_VxF = np.array(found_VxF)
    radius_V = np.full(codebook_size, np.inf, np.float32)
    if slack:
      centroids_VxF = balanced_kmeans(centroids_VxF, residual_RxF, slack, mesh)
      propose = _proposer(items_NxF, centroids_VxF, centroids, radii, mesh)
      most = balanced.capacity(len(items_NxF), codebook_size, slack)
      radius_V, _ = balanced.fill(propose, len(items_NxF), codebook_size, most)
    centroids.append(centroids_VxF)
    radii.append(radius_V)
    step = functools.partial(_quantize, centroids_VxF=centroids_VxF, radius_V=radius_V)
    residual_RxF = map_blocks(lambda x, step=step: step(x)[2], residual_RxF, mesh=mesh)
  return {"centroids_LxVxF": np.stack(centroids), "radius_LxV": np.stack(radii)}


def _kmeans(
  key: jax.Array, points_RxF: np.ndarray, num_clusters: int, iterations: int, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array]:
  """`kmeans` on one device, or of points spread over a mesh and filled up to share evenly."""
  if mesh is None:
    return kmeans(key, points_RxF, num_clusters, iterations)
  missing = shared_size(len(points_RxF), mesh) - len(points_RxF)
  spread_RxF = spread_rows(np.pad(points_RxF, ((0, missing), (0, 0))), mesh)
  return kmeans(key, spread_RxF, num_clusters, iterations, len(points_RxF), mesh)


def _encode(mesh: Mesh | None, params: Params, vectors_NxF: np.ndarray) -> np.ndarray:
  centroids_LxVxF, radius_LxV = _levels(params)

  def block(residual_BxF: Array) -> jax.Array:
    codes = []
    for centroids_VxF, radius_V in zip(centroids_LxVxF, radius_LxV, strict=True):
      code_B, _, residual_BxF = _quantize(residual_BxF, centroids_VxF, radius_V)
      codes.append(code_B)
    return jnp.stack(codes, axis=1)

  return map_blocks(block, vectors_NxF, mesh=mesh)


def _decode(params: Params, codes_NxL: np.ndarray) -> np.ndarray:
  centroids_LxVxF = np.asarray(params["centroids_LxVxF"])
  decoded_NxF = np.zeros((len(codes_NxL), centroids_LxVxF.shape[2]), np.float32)
  for centroids_VxF, codes_N in zip(centroids_LxVxF, codes_NxL.T, strict=True):
    decoded_NxF += centroids_VxF[codes_N]
  return decoded_NxF


def _costs(
  mesh: Mesh | None, params: Params, vectors_NxF: np.ndarray, codes_NxL: np.ndarray, level: int
) -> np.ndarray:
  """Squared distances of what the levels above left to the codewords: float32 [N, V]."""
  centroids_LxVxF, _ = _levels(params)

  def block(residual_BxF: Array, codes_BxL: Array) -> jax.Array:
    for above in range(level):
      residual_BxF = residual_BxF - centroids_LxVxF[above][codes_BxL[:, above]]
    return _distances(residual_BxF, centroids_LxVxF[level])

  return map_blocks(block, vectors_NxF, codes_NxL, mesh=mesh)


def _levels(params: Params) -> tuple[list[jax.Array], list[jax.Array]]:
  """The codebooks and the radii on the device, by level."""
  return [jnp.asarray(x) for x in params["centroids_LxVxF"]], [
    jnp.asarray(x) for x in params["radius_LxV"]
  ]


def _proposer(
  points_NxF: np.ndarray,
  centroids_VxF: np.ndarray,
  centroids_above: list[np.ndarray] | tuple = (),
  radii_above: list[np.ndarray] | tuple = (),
  mesh: Mesh | None = None,
) -> balanced.Propose:
  """Proposals of points to the codes of a level, by their residuals after the levels above."""

  def propose(rows_R: np.ndarray, radius_V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def block(rows_B: np.ndarray) -> tuple[jax.Array, jax.Array]:
      residual_BxF = spread_rows(points_NxF[rows_B], mesh)
      for above_VxF, above_V in zip(centroids_above, radii_above, strict=True):
        residual_BxF = _quantize(residual_BxF, above_VxF, above_V)[2]
      return _quantize(residual_BxF, centroids_VxF, radius_V)[:2]

    return map_blocks(block, rows_R, block_size=shared_size(BLOCK_SIZE, mesh))

  return propose


@jax.jit
def _quantize(
  residual_BxF: jax.Array, centroids_VxF: jax.Array, radius_V: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """One level: codes int32 [B], squared distances [B], and what is left, [B, F].

  All levels, in fitting and in encoding, go through this one program, so that they agree.
  """
  relative_VxB, shared_B = relative_distances(residual_BxF, centroids_VxF)

  def bounded() -> tuple[jax.Array, jax.Array]:
    return balanced.nearest_accepting(relative_VxB + shared_B[None], radius_V)

  def unbounded() -> tuple[jax.Array, jax.Array]:
    code_B, least_B = first_smallest(relative_VxB)
    return code_B, least_B + shared_B

  code_B, distance_B = jax.lax.cond(jnp.isfinite(radius_V).any(), bounded, unbounded)
  return code_B, distance_B, residual_BxF - centroids_VxF[code_B]


@jax.jit
def _distances(residual_BxF: jax.Array, centroids_VxF: jax.Array) -> jax.Array:
  """Squared distances, float32 [B, V]."""
  relative_VxB, shared_B = relative_distances(residual_BxF, centroids_VxF)
  return jnp.maximum(relative_VxB + shared_B[None], 0).T
