"""Vectors in two dimensions: PCA, then t-SNE (van der Maaten & Hinton, JMLR 2008).

Here X stands for the two axes and for components.
"""

import numpy as np
from threadpoolctl import threadpool_limits

NEAREST = 5  # fitted vectors that another one is placed between
_COMPONENTS, _PERPLEXITY, _STEPS = 50, 30.0, 500


def places_of(vectors_RxF: np.ndarray, num_fitted: int, seed: int = 0) -> np.ndarray:
  """The places of vectors, near each other where the vectors are: float32 [R, 2].

  One thread computes, so that the same machine gives the same places again.

  Args:
    vectors_RxF: floats, not all equal.
    num_fitted: how many of the first ones t-SNE places, at least 4, and 5 where there are others;
      the others lie at the mean of the nearest of these.
    seed: of t-SNE.
  """
  from sklearn.decomposition import PCA  # here, because it takes a second to import
  from sklearn.manifold import TSNE

  vectors_RxF = np.asarray(vectors_RxF, np.float64)
  fitted = vectors_RxF[:num_fitted]
  with threadpool_limits(1):
    components = min(_COMPONENTS, *fitted.shape)
    pca = PCA(components, svd_solver="full").fit(fitted)
    reduced_RxX = pca.transform(vectors_RxF).astype(np.float32)
    tsne = TSNE(
      2,
      perplexity=min(_PERPLEXITY, (len(fitted) - 1) / 3),
      max_iter=_STEPS,
      init="pca" if components > 1 else "random",
      random_state=seed,
    )
    place_RxX = tsne.fit_transform(reduced_RxX[:num_fitted])
    others = _between(reduced_RxX[num_fitted:], reduced_RxX[:num_fitted], place_RxX)
  return np.concatenate([place_RxX, others]).astype(np.float32)


def _between(query: np.ndarray, fitted: np.ndarray, place: np.ndarray) -> np.ndarray:
  """The mean place of each query's nearest among the fitted: float [queries, 2]."""
  found = []
  for start in range(0, len(query), 1000):
    part = query[start : start + 1000]
    distance = np.square(fitted).sum(axis=1) - 2 * part @ fitted.T
    nearest = np.argpartition(distance, NEAREST, axis=1)[:, :NEAREST]
    found.append(place[nearest].mean(axis=1))
  return np.concatenate(found) if found else np.zeros((0, 2), np.float32)
