"""Residual quantization: assignment, gradient estimators, and how codebooks learn."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.tokenizers.kmeans.kmeans import first_smallest, kmeans, relative_distances

# distance_VxB → codes_B: how a level hands out its codes.
Assign = Callable[[jax.Array], jax.Array]


class Quantized(NamedTuple):
  """What residual quantization made of latents."""

  codes_LxB: jax.Array  # int32
  residuals_LxBxD: jax.Array  # what each level was given
  codewords_LxBxD: jax.Array  # what each level took away


class Averages(NamedTuple):
  """Moving averages over batches, whose ratio is the codeword (van den Oord et al., 2017)."""

  usage_LxV: jax.Array  # each code's share of the items
  sums_LxVxD: jax.Array  # the sum of each code's residuals, per item of the batch


def distances(residual_BxD: jax.Array, codebook_VxD: jax.Array, distance: str) -> jax.Array:
  """Squared distances of residuals to codewords: float32 [V, B].

  Args:
    residual_BxD: what a level is given.
    codebook_VxD: its codewords.
    distance: 'euclidean'; or 'cosine', which scales both sides to length 1 before
      (so 2 - 2 cos; a zero vector is equally far from all). Only the comparison is by direction:
      codewords keep their own lengths, and are what is subtracted.
  """
  if distance == "cosine":
    residual_BxD, codebook_VxD = _directions(residual_BxD), _directions(codebook_VxD)
  relative_VxB, shared_B = relative_distances(residual_BxD, codebook_VxD)
  return jnp.maximum(relative_VxB + shared_B[None, :], 0)


def nearest_codes(distance_VxB: jax.Array) -> jax.Array:
  """The code at the least distance, the first one on a tie: int32 [B]."""
  return first_smallest(distance_VxB)[0]


def quantize(
  codebooks_LxVxD: jax.Array,
  latents_BxD: jax.Array,
  distance: str = "euclidean",
  assign_L: Sequence[Assign] | None = None,
) -> Quantized:
  """Each level takes a codeword from what the levels before it left.

  Args:
    codebooks_LxVxD: the codewords.
    latents_BxD: what to quantize.
    distance: see `distances`.
    assign_L: how each level chooses by distance; the nearest code if None.
  """
  residual_BxD = latents_BxD
  levels = []
  for codebook_VxD, assign in zip(
    codebooks_LxVxD, assign_L or [nearest_codes] * len(codebooks_LxVxD), strict=True
  ):
    codes_B = assign(distances(*jax.lax.stop_gradient((residual_BxD, codebook_VxD)), distance))
    codewords_BxD = codebook_VxD[codes_B]
    levels.append((codes_B, residual_BxD, codewords_BxD))
    residual_BxD = residual_BxD - codewords_BxD
  return Quantized(*(jnp.stack(field) for field in zip(*levels, strict=True)))


def straight_through(latents_BxD: jax.Array, quantized_BxD: jax.Array) -> jax.Array:
  """The value of `quantized`, with the gradient of the identity on `latents`."""
  return _value_and_path(quantized_BxD, latents_BxD)


def rotation(latents_BxD: jax.Array, quantized_BxD: jax.Array) -> jax.Array:
  """The value of `quantized`, with the gradient of the rotation and scaling of `latents` to it.

  The rotation trick (Fifty et al., 2024, https://arxiv.org/abs/2410.06424, section 4.3). With
  latent z, quantized q, unit vectors ẑ and q̂, and r = (ẑ + q̂) / |ẑ + q̂|, the Jacobian is

    |q| / |z| · (I - 2 r rᵀ + 2 q̂ ẑᵀ),

  which turns ẑ into q̂ in their plane and leaves the rest alone; angles between gradients and
  latents are kept. Opposite vectors have no such plane and are reflected; a zero latent has no
  direction and gets the straight-through gradient.
  """
  fixed_BxD = jax.lax.stop_gradient(latents_BxD)
  target_BxD = jax.lax.stop_gradient(quantized_BxD)
  from_BxD, to_BxD = _directions(fixed_BxD), _directions(target_BxD)
  half_BxD = _directions(from_BxD + to_BxD)
  rotated_BxD = (
    latents_BxD
    - 2 * half_BxD * _dot(half_BxD, latents_BxD)
    + 2 * to_BxD * _dot(from_BxD, latents_BxD)
  )
  length_Bx1 = _lengths(fixed_BxD)
  scale_Bx1 = _lengths(target_BxD) / jnp.where(length_Bx1 > 0, length_Bx1, 1)
  path_BxD = jnp.where(length_Bx1 > 0, scale_Bx1 * rotated_BxD, latents_BxD)
  return _value_and_path(quantized_BxD, path_BxD)


ESTIMATORS = {"straight_through": straight_through, "rotation": rotation}


def batch_averages(quantized: Quantized, num_codes: int) -> Averages:
  """The averages of one batch."""
  batch_size = quantized.codes_LxB.shape[1]
  count = functools.partial(jnp.bincount, length=num_codes)
  add = functools.partial(jax.ops.segment_sum, num_segments=num_codes)
  return Averages(
    jax.vmap(count)(quantized.codes_LxB) / batch_size,
    jax.vmap(add)(quantized.residuals_LxBxD, quantized.codes_LxB) / batch_size,
  )


def averaged_codebooks(averages: Averages, codebooks_LxVxD: jax.Array) -> jax.Array:
  """The codewords that averages stand for; a code that faded to 0 / 0 stays where it is."""
  usage_LxVx1 = averages.usage_LxV[..., None]
  means_LxVxD = averages.sums_LxVxD / jnp.maximum(usage_LxVx1, 1e-20)
  return jnp.where(usage_LxVx1 > 1e-20, means_LxVxD, codebooks_LxVxD)


def kmeans_codebooks(
  key: jax.Array,
  latents_NxD: jax.Array,
  num_levels: int,
  num_codes: int,
  iterations: int,
  distance: str = "euclidean",
) -> jax.Array:
  """Codebooks that start as the k-means of what each level is given: float32 [L, V, D].

  With 'cosine', directions are clustered, and a codeword is the mean of its cluster's residuals.
  """

  def level(residual_NxD: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    points_NxD = _directions(residual_NxD) if distance == "cosine" else residual_NxD
    codebook_VxD, codes_N = kmeans(key, points_NxD, num_codes, iterations)
    if distance == "cosine":
      sums_VxD = jax.ops.segment_sum(residual_NxD, codes_N, num_codes)
      counts_V = jnp.bincount(codes_N, length=num_codes)
      means_VxD = sums_VxD / jnp.maximum(counts_V, 1)[:, None]
      codebook_VxD = jnp.where((counts_V > 0)[:, None], means_VxD, codebook_VxD)
    return _left(residual_NxD, codebook_VxD, distance), codebook_VxD

  return jax.lax.scan(level, latents_NxD, jax.random.split(key, num_levels))[1]


def revive(
  codebooks_LxVxD: jax.Array,
  dead_LxV: jax.Array,
  latents_BxD: jax.Array,
  key: jax.Array,
  distance: str = "euclidean",
) -> jax.Array:
  """Moves dead codes to random residuals of a batch, each to another one if B >= V.

  As SoundStream does (Zeghidour et al., 2021).
  """
  batch_size, num_codes = len(latents_BxD), dead_LxV.shape[1]

  def level(residual_BxD: jax.Array, xs: tuple[jax.Array, jax.Array, jax.Array]):
    codebook_VxD, dead_V, key = xs
    rows_V = jax.random.choice(key, batch_size, (num_codes,), replace=batch_size < num_codes)
    codebook_VxD = jnp.where(dead_V[:, None], residual_BxD[rows_V], codebook_VxD)
    return _left(residual_BxD, codebook_VxD, distance), codebook_VxD

  xs = (codebooks_LxVxD, dead_LxV, jax.random.split(key, len(dead_LxV)))
  return jax.lax.scan(level, latents_BxD, xs)[1]


def perplexities(share_LxV: jax.Array) -> jax.Array:
  """exp of the entropy of each level's shares, float32 [L]; V at most."""
  return jnp.exp(-jax.scipy.special.xlogy(share_LxV, share_LxV).sum(-1))


def unique_share(codes_LxB: jax.Array) -> jax.Array:
  """Distinct tuples per item of the batch."""
  sorted_LxB = jnp.stack(jax.lax.sort(tuple(codes_LxB), num_keys=len(codes_LxB)))
  differs = (sorted_LxB[:, 1:] != sorted_LxB[:, :-1]).any(0).sum()
  return (1 + differs) / codes_LxB.shape[1]


def _left(residual_BxD: jax.Array, codebook_VxD: jax.Array, distance: str) -> jax.Array:
  """What a level leaves to the next one."""
  return residual_BxD - codebook_VxD[nearest_codes(distances(residual_BxD, codebook_VxD, distance))]


def _value_and_path(value_BxD: jax.Array, path_BxD: jax.Array) -> jax.Array:
  """Exactly the one's value, with the other's gradient."""
  return jax.lax.stop_gradient(value_BxD) + (path_BxD - jax.lax.stop_gradient(path_BxD))


def _dot(a_BxD: jax.Array, b_BxD: jax.Array) -> jax.Array:
  return (a_BxD * b_BxD).sum(-1, keepdims=True)


def _lengths(x_BxD: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.square(x_BxD).sum(-1, keepdims=True))


def _directions(x_BxD: jax.Array) -> jax.Array:
  """Scales vectors to length 1; zero vectors stay."""
  length_Bx1 = _lengths(x_BxD)
  return x_BxD / jnp.where(length_Bx1 > 0, length_Bx1, 1)
