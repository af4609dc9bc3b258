"""Item vectors from which items are consumed near each other."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator, eigsh

from sidrec.data.dataset import Histories
from sidrec.features.pairs import near_pairs
from sidrec.features.settings import CooccurrenceConfig

# A dense SVD of a matrix this small takes well under a second and handles every rank.
_DENSE_UP_TO = 256


def following_counts(histories: Histories, num_items: int, window: int) -> sp.csr_array:
  """How often item j follows item i within a user's next `window` interactions.

  Each occurrence weighs 1 / distance. An item that follows itself is left out: it says nothing
  about other items.

  Args:
    histories: packed histories; pass the training view.
    num_items: N.
    window: largest distance that counts, in interactions; 1 or more.

  Returns:
    float32 sparse [N, N], row i for the earlier item.

  Raises:
    ValueError: for an interaction outside the catalogue.
  """
  counts_NxN = sp.csr_array((num_items, num_items), dtype=np.float32)
  for distance, earlier, later in near_pairs(histories, num_items, window):
    weight = np.full(len(earlier), 1.0 / distance, np.float32)
    counts_NxN = counts_NxN + sp.csr_array((weight, (earlier, later)), shape=counts_NxN.shape)
  return counts_NxN


def following_similarity(
  counts_NxN: sp.csr_array, histories: Histories, num_items: int, exponents: tuple[float, float]
) -> sp.csr_array:
  """How strongly item j follows item i: c(i, j) / (n(i)^a n(j)^b).

  Here n counts an item's interactions. With a = b = 1/2 this is the cosine form; with b = 0 popular
  items follow as often as they do.

  Args:
    counts_NxN: c, of `following_counts`.
    histories: what was counted.
    num_items: N.
    exponents: a and b.

  Returns:
    float32 sparse [N, N], row i for the earlier item.
  """
  count_N = np.maximum(np.bincount(histories.item_T, minlength=num_items), 1.0)
  of_earlier_NxN, of_later_NxN = (sp.diags_array(count_N**-exponent) for exponent in exponents)
  return sp.csr_array(of_earlier_NxN @ counts_NxN @ of_later_NxN, dtype=np.float32)


def positive_pmi(counts_NxN: sp.csr_array, smoothing: float = 0.75) -> sp.csr_array:
  """Positive pointwise mutual information of a co-occurrence matrix (Levy & Goldberg 2014).

  max(0, log(p(i, j) / (p(i) p_s(j)))), where p_s is proportional to the column sums raised to
  `smoothing`, which keeps rare items from looking informative (Levy, Goldberg & Dagan 2015).

  Args:
    counts_NxN: non-negative sparse [N, N].
    smoothing: exponent of the context distribution.

  Returns:
    float64 sparse [N, N], only positive entries stored.
  """
  counts = sp.coo_array(counts_NxN, dtype=np.float64)
  row_N = np.asarray(counts.sum(axis=1)).ravel()
  context_N = np.asarray(counts.sum(axis=0)).ravel() ** smoothing
  i, j = counts.coords
  pmi = np.log(counts.data / (row_N[i] * context_N[j]) * context_N.sum())
  positive = pmi > 0
  return sp.csr_array((pmi[positive], (i[positive], j[positive])), shape=counts.shape)


def cooccurrence_vectors(
  histories: Histories, num_items: int, config: CooccurrenceConfig
) -> np.ndarray:
  """The truncated SVD u·√s of the items' symmetric positive PMI matrix, rows of L2 norm 1.

  Repeated calls give the same vectors: the start vector, the draws and the signs are fixed.

  Args:
    histories: packed histories; pass the training view, since this learns from all it is given.
    num_items: N.
    config: the settings. A catalogue of rank below `config.dim`, D, leaves the last columns zero.

  Returns:
    vectors_NxD float32. An item that never occurs near another is a row of zeros, and so is an
    item of a group that is too small for the D strongest directions.

  Raises:
    ValueError: for an interaction outside the catalogue.
  """
  following_NxN = following_counts(histories, num_items, config.window)
  ppmi_NxN = positive_pmi(following_NxN + following_NxN.T)

  vectors_NxD = np.zeros((num_items, config.dim))
  related = np.flatnonzero(np.diff(ppmi_NxN.indptr))
  if len(related) == 0:
    return vectors_NxD.astype(np.float32)
  u, s = _top_singular(sp.csr_array(ppmi_NxN[related]), config.dim)
  # Directions beyond the rank are rounding noise.
  rank = np.count_nonzero(s > 1e-6 * s[0])
  u = u[:, :rank]
  u *= np.sign(u[np.abs(u).argmax(axis=0), np.arange(rank)])
  rows = u * np.sqrt(s[:rank])
  norm = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
  # So are the rows of items that none of the directions reaches.
  vectors_NxD[related, :rank] = np.where(norm > 1e-9 * np.sqrt(s[0]), rows / norm, 0.0)
  return vectors_NxD.astype(np.float32)


def _top_singular(matrix: sp.csr_array, count: int) -> tuple[np.ndarray, np.ndarray]:
  """The left singular vectors and values of at most `count` largest values, largest first."""
  rows, columns = matrix.shape  # pyrefly: ignore
  smaller = min(rows, columns)
  if smaller <= max(_DENSE_UP_TO, count):
    u, s, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    return u[:, :count], s[:count]
  # As scipy.sparse.linalg.svds, which lets nobody set the seed of ARPACK. Where few singular values
  # differ, as among users who share no item, ARPACK begins again from vectors that it draws.
  tall = matrix if rows >= columns else matrix.T
  gram = aslinearoperator(tall.T) @ aslinearoperator(tall)
  start = np.ones(smaller) / np.sqrt(smaller)
  right, _ = np.linalg.qr(eigsh(gram, k=count, v0=start, rng=0)[1])
  left, s, right_of_them = np.linalg.svd(tall @ right, full_matrices=False)
  return (left if rows >= columns else right @ right_of_them.T), s
