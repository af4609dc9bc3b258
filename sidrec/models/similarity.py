"""How similar items are to the latest items of a history, by the vectors that IDs are made of.

A semantic ID keeps part of what an item's vector says. With `similarity`, a run keeps the vectors,
too, and a search takes them as evidence: a byte for each number, or, with `similarity_bytes`, as so
many codes of a product quantization of directions. For each item j and the latest items i of a
history it is the log of a weighted mean, the a-th latest item weighing DECAY^(a - 1):

  log mean of exp((cos(i, j) - 1) / TEMPERATURE)

An item is most similar to itself, which says nothing of whether it comes again. So the latest items
themselves get what the item that came next had on average in training.

Here A counts the latest items, X items whose similarity is asked for, F numbers of a vector, M
bytes or numbers that are kept of it, and V codewords, of width D.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.columns import gather
from sidrec.data.dataset import Histories
from sidrec.models.histories import LATEST, sums_of
from sidrec.tokenizers.product_quantization import product_quantization

DECAY = 0.7  # weight of an item relative to the next one in the history
TEMPERATURE = 0.05  # of a cosine

# What is kept among the parameters: int8 [N, F] or, of a product quantization, uint8 [N, M] and the
# codewords, float32 [M, V + 1, D]; and float32 [], the mean of what came next.
VECTORS, CODEWORDS, USUAL = "vector", "vector_codeword", "vector_usual"
NEEDED = (VECTORS, USUAL)
COUNTED = (*NEEDED, CODEWORDS)
_CODES, _ITERATIONS = 255, 20  # of the product quantization
_LEAST = 1e-9
_USERS = 4096  # whose latest event the mean is taken of


def tables(
  histories: Histories, vectors_NxF: np.ndarray, num_bytes: int = 0
) -> dict[str, np.ndarray]:
  """The vectors as a search keeps them, and the mean similarity of what came next.

  Args:
    histories: the training view.
    vectors_NxF: of all items; their lengths do not matter.
    num_bytes: that are kept of each item, at most F; 0 for one for each number.

  Raises:
    ValueError: for more bytes than numbers.
  """
  kept = _quantized(vectors_NxF, num_bytes) if num_bytes else _rounded(vectors_NxF)
  return {**kept, USUAL: _usual(histories, kept)}


def _rounded(vectors_NxF: np.ndarray) -> dict[str, np.ndarray]:
  largest_Nx1 = np.abs(vectors_NxF).max(axis=1, keepdims=True)
  return {VECTORS: np.rint(vectors_NxF * (127 / np.maximum(largest_Nx1, _LEAST))).astype(np.int8)}


def _quantized(vectors_NxF: np.ndarray, num_bytes: int) -> dict[str, np.ndarray]:
  """Codes of the directions; the codewords of an item, one behind the other, are its, rotated."""
  width = vectors_NxF.shape[1]
  if num_bytes > width:
    raise ValueError(
      f"model.similarity_bytes is {num_bytes}, and item vectors have {width} numbers; give at most "
      f"{width}, or 0 for a byte each"
    )
  length_Nx1 = np.linalg.norm(vectors_NxF, axis=1, keepdims=True)
  unit_NxF = (vectors_NxF / np.maximum(length_Nx1, _LEAST)).astype(np.float32)
  some_N = length_Nx1[:, 0] > _LEAST
  num_codes = min(_CODES, max(int(some_N.sum()), 1))
  quantizer = product_quantization(num_bytes, num_codes, _ITERATIONS)
  params = quantizer.fit(jax.random.key(0), unit_NxF[some_N] if some_N.any() else unit_NxF)
  mean_MxD = jnp.einsum("f,fmd->md", params["mean_F"], params["basis_FxLxD"])
  codeword_MxVxD = params["codebooks_LxVxD"] + mean_MxD[:, None]  # a rotation keeps cosines
  # One codeword more, of zeros, for items without a vector.
  codeword_MxVp1xD = np.pad(np.asarray(codeword_MxVxD), ((0, 0), (0, 1), (0, 0)))
  code_NxM = np.asarray(quantizer.encode(params, unit_NxF))
  code_NxM = np.where(some_N[:, None], code_NxM, num_codes).astype(np.uint8)
  return {VECTORS: code_NxM, CODEWORDS: codeword_MxVp1xD}


def _usual(histories: Histories, kept: dict[str, np.ndarray]) -> np.ndarray:
  """The mean similarity of users' last items to those before, where they are other items."""
  start_U, stop_U = histories.offsets_Up1[:-1], histories.offsets_Up1[1:]
  user_R = np.flatnonzero(stop_U - start_U > 1)
  user_R = user_R[:: max(len(user_R) // _USERS, 1)]
  last_R = stop_U[user_R] - 1
  from_R = np.maximum(last_R - LATEST, start_U[user_R])
  latest_RxA = gather(histories.item_T, from_R, last_R, LATEST)
  next_R = histories.item_T[last_R]
  is_new_R = (latest_RxA != next_R[:, None]).all(axis=1)
  if not is_new_R.any():
    return np.array(-1 / TEMPERATURE, np.float32)  # of a cosine of 0
  table = {**kept, USUAL: np.float32(0)}
  similarity = jax.jit(log_similarity)(table, latest_RxA[is_new_R], next_R[is_new_R, None])
  return np.array(np.asarray(similarity).mean(dtype=np.float64), np.float32)


def check_kept(params: dict) -> None:
  """Raises ValueError for parameters without vectors, where a search reads them."""
  if missing := [name for name in NEEDED if name not in params]:
    raise ValueError(
      f"the model has similarity, and the parameters lack {missing[0]!r}; add what "
      "sidrec.models.similarity.tables returns, or set search.similarity_weight to 0"
    )


def log_similarity(params: dict, latest_BxA: jax.Array, item_BxX: jax.Array | None) -> jax.Array:
  """The log similarity of some items: float32 [B, X]; of rows that are no items, anything.

  Args:
    params: with what is kept.
    latest_BxA: of `histories.latest_items`, oldest first.
    item_BxX: int32 item rows; None for all, [B, N].
  """
  num_items = len(params[VECTORS])
  latest_BxAxF = _unit_of(params, latest_BxA)
  if item_BxX is None:
    item_NxF = _unit_of(params, jnp.arange(num_items))
    cosine_BxXxA = jnp.einsum("nf,baf->bna", item_NxF, latest_BxAxF)
  else:
    item_BxXxF = _unit_of(params, item_BxX)
    cosine_BxXxA = jnp.einsum("bxf,baf->bxa", item_BxXxF, latest_BxAxF)
  real_BxA = (latest_BxA != NO_ITEM).astype(jnp.float32)
  is_latest_BxX = sums_of(item_BxX, latest_BxA, real_BxA, num_items) > 0
  return jnp.where(is_latest_BxX, params[USUAL], log_mean_near(cosine_BxXxA, latest_BxA))


def log_mean_near(cosine_BxXxS: jax.Array, latest_BxS: jax.Array) -> jax.Array:
  """log of the weighted mean of exp((cosine - 1) / TEMPERATURE): float32 [B, X].

  Args:
    cosine_BxXxS: of each item with each of the latest ones.
    latest_BxS: int32 item rows, oldest first, NO_ITEM after the newest, which weighs most. An empty
      history has 0 throughout.
  """
  real_BxS = latest_BxS >= 0
  age_BxS = real_BxS.sum(axis=1, keepdims=True) - 1 - jnp.arange(latest_BxS.shape[1])[None]
  log_weight_BxS = jnp.where(real_BxS, age_BxS * np.log(DECAY), -jnp.inf)
  total_Bx1 = jax.nn.logsumexp(log_weight_BxS, axis=1, keepdims=True)
  near_BxXxS = (cosine_BxXxS - 1) / TEMPERATURE + log_weight_BxS[:, None]
  similarity_BxX = jax.nn.logsumexp(near_BxXxS, axis=2) - total_Bx1
  return jnp.where(real_BxS.any(axis=1, keepdims=True), similarity_BxX, 0.0)


def _unit_of(params: dict, item: jax.Array) -> jax.Array:
  """The directions of items [...], of any for what is no item: float32 [..., F]."""
  kept = jnp.asarray(params[VECTORS])[jnp.maximum(item, 0)]
  if CODEWORDS in params:
    return _unit(_decoded(jnp.asarray(params[CODEWORDS]), kept))
  return _unit(kept)


def _decoded(codeword_MxVxD: jax.Array, code: jax.Array) -> jax.Array:
  """The codewords of codes [..., M], one behind the other: float32 [..., M · D]."""
  num_parts, num_codes, width = codeword_MxVxD.shape
  part = jax.lax.broadcasted_iota(jnp.int32, code.shape, code.ndim - 1)
  row = num_codes * part + code
  return codeword_MxVxD.reshape(-1, width)[row].reshape(*code.shape[:-1], num_parts * width)


def _unit(vector: jax.Array) -> jax.Array:
  """Of length 1, or 0 for zeros: float32."""
  vector = vector.astype(jnp.float32)
  return vector * jax.lax.rsqrt(jnp.maximum((vector**2).sum(axis=-1, keepdims=True), _LEAST))
