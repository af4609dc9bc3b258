"""Item vectors from which items are consumed near each other.

Letters: N items, D vector width, T interactions of all users together.
"""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from sidrec.data.dataset import Histories

# A dense SVD of a matrix this small takes well under a second and handles every rank.
_DENSE_UP_TO = 256


def following_counts(histories: Histories, num_items: int, window: int) -> sp.csr_array:
  """How often item j follows item i within a user's next `window` interactions.

  Each occurrence weighs 1 / distance. An item that follows itself is left out: it says nothing
  about other items.

  Args:
    histories: packed histories; pass the training view.
    num_items: N.
    window: largest distance that counts, in interactions.

  Returns:
    float32 sparse [N, N], row i for the earlier item.

  Raises:
    ValueError: for a window below 1 or an interaction outside the catalogue.
  """
  if window < 1:
    raise ValueError(f"the co-occurrence window must be 1 or more, not {window}")
  item_T = histories.item_T
  if len(item_T) and (item_T.min() < 0 or item_T.max() >= num_items):
    raise ValueError(f"histories name an item outside the catalogue of {num_items} items")
  user_T = np.repeat(np.arange(histories.num_users), histories.lengths_U)
  counts_NxN = sp.csr_array((num_items, num_items), dtype=np.float32)
  # One distance at a time: memory stays in proportion to T, not to T × window.
  for distance in range(1, window + 1):
    earlier, later = item_T[:-distance], item_T[distance:]
    kept = (user_T[:-distance] == user_T[distance:]) & (earlier != later)
    weight = np.full(np.count_nonzero(kept), 1.0 / distance, np.float32)
    pairs = (earlier[kept], later[kept])
    counts_NxN = counts_NxN + sp.csr_array((weight, pairs), shape=counts_NxN.shape)
  return counts_NxN


def positive_pmi(
  counts_NxN: sp.csr_array, shift: float = 1.0, smoothing: float = 0.75
) -> sp.csr_array:
  """Shifted positive pointwise mutual information of a co-occurrence matrix.

  max(0, log(p(i, j) / (p(i) p_s(j))) - log(shift)), where p_s is proportional to the column
  sums raised to `smoothing`, which keeps rare items from looking informative
  (Levy & Goldberg 2014; Levy, Goldberg & Dagan 2015).

  Args:
    counts_NxN: non-negative sparse [N, N].
    shift: the number of negative samples it stands for; 1 shifts by nothing.
    smoothing: exponent of the context distribution.

  Returns:
    float64 sparse [N, N], only positive entries stored.
  """
  counts = sp.coo_array(counts_NxN, dtype=np.float64)
  row_N = np.asarray(counts.sum(axis=1)).ravel()
  context_N = np.asarray(counts.sum(axis=0)).ravel() ** smoothing
  i, j = counts.coords
  pmi = np.log(counts.data / (row_N[i] * context_N[j]) * context_N.sum()) - np.log(shift)
  positive = pmi > 0
  return sp.csr_array((pmi[positive], (i[positive], j[positive])), shape=counts.shape)


def cooccurrence_vectors(
  histories: Histories,
  num_items: int,
  dim: int = 64,
  window: int = 5,
  shift: float = 1.0,
  smoothing: float = 0.75,
) -> np.ndarray:
  """The truncated SVD u·√s of the items' symmetric positive PMI matrix, rows of L2 norm 1.

  See `following_counts` for the co-occurrence and `positive_pmi` for the sources. Repeated calls
  give the same vectors: the start vector and the signs are fixed.

  Args:
    histories: packed histories; pass the training view, since this learns from all it is given.
    num_items: N.
    dim: D. A catalogue of rank below D leaves the last columns zero.
    window: largest distance at which two interactions of a user co-occur.
    shift: see `positive_pmi`.
    smoothing: see `positive_pmi`.

  Returns:
    vectors_NxD float32. An item that never occurs near another is a row of zeros, as
    is one of a group so small that the D strongest directions do not reach it.

  Raises:
    ValueError: for a dim or window below 1, or an interaction outside the catalogue.
  """
  if dim < 1:
    raise ValueError(f"the co-occurrence dim must be 1 or more, not {dim}")
  following_NxN = following_counts(histories, num_items, window)
  ppmi_NxN = positive_pmi(following_NxN + following_NxN.T, shift, smoothing)

  vectors_NxD = np.zeros((num_items, dim))
  related = np.flatnonzero(np.diff(ppmi_NxN.indptr))
  if len(related) == 0:
    return vectors_NxD.astype(np.float32)
  u, s = _top_singular(sp.csr_array(ppmi_NxN[related]), dim)
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
  u, s, _ = svds(matrix, k=count, v0=np.ones(smaller) / np.sqrt(smaller))
  order = np.argsort(-s)
  return u[:, order], s[order]
