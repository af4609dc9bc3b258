"""Category paths as the first levels of an ID; what the category leaves goes to another tokenizer.

A path has P whole numbers, such as genre and decade (see sidrec.features.category_paths). A
tokenizer is given one array, so the paths travel in its first P columns: PF is the width with
them. G are the distinct prefixes of the paths seen in the fit, X distinct paths.
"""

import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from sidrec.core.codes import as_codes, as_integers, check_sizes
from sidrec.tokenizers.base import Array, Params, Tokenizer, checked, row_blocks

# Larger whole numbers have gaps in float32.
MAX_CODEBOOK_SIZE = 2**24

# Stands in a prefix for the levels below it.
NO_CODE = -1


def with_paths(path_NxP: ArrayLike, vectors_NxF: np.ndarray) -> np.ndarray:
  """Paths and vectors side by side, as the category tokenizer takes them.

  Args:
    path_NxP: integers in [0, 2**24).
    vectors_NxF: float32.

  Returns:
    vectors_NxPF float32.

  Raises:
    ValueError: for other shapes, or a path that is not made of such integers.
  """
  path_NxP = as_codes(as_integers(path_NxP, "path codes"), MAX_CODEBOOK_SIZE)
  if path_NxP.ndim != 2 or np.ndim(vectors_NxF) != 2 or len(path_NxP) != len(vectors_NxF):
    raise ValueError(
      f"paths have shape {path_NxP.shape} and vectors {np.shape(vectors_NxF)}; give "
      "[items, path levels] and [items, width]"
    )
  return np.concatenate([path_NxP.astype(np.float32), vectors_NxF], axis=1, dtype=np.float32)


def split_paths(vectors_NxPF: np.ndarray, num_path_levels: int) -> tuple[np.ndarray, np.ndarray]:
  """The two arguments of `with_paths`: path_NxP int32, and a view of the vectors_NxF.

  Raises:
    ValueError: if a path column holds something else than whole numbers from 0 on.
  """
  path_NxP = np.asarray(vectors_NxPF[:, :num_path_levels])
  whole_NxP = np.rint(path_NxP)
  bad_NxP = (whole_NxP != path_NxP) | (path_NxP < 0) | (path_NxP >= MAX_CODEBOOK_SIZE)
  if bad_NxP.any():
    row, level = (int(axis[0]) for axis in np.nonzero(bad_NxP))
    raise ValueError(
      f"the path of row {row} holds {path_NxP[row, level]:g} in column {level}, which is not a "
      f"code; put the {num_path_levels} path codes before the vectors, with "
      "sidrec.tokenizers.category.with_paths"
    )
  return whole_NxP.astype(np.int32), vectors_NxPF[:, num_path_levels:]


def category(num_path_levels: int, codebook_size: int, rest: Tokenizer | None = None) -> Tokenizer:
  """Category paths as a tokenizer.

  The first P codes of an item are its path. The rest is what `rest` makes of the
  item's vector minus the mean vector of its path; a path that the fit did not see
  takes the mean of its longest prefix that the fit did see, at worst of all items.
  Without a `rest`, an ID is the path alone, and the running number that makes IDs
  unique (sidrec.catalogue.collisions.add_extra_digit) tells items of a path apart.
  What the path leaves of a memory-mapped catalogue is kept in a temporary file
  while the rest is fitted.

  Parameters are {'prefixes_GxP', int32, levels below a prefix being -1;
  'centroids_GxF'; 'rest', if there is one}. `decode` gives the paths in the first
  columns again, and as vector the path's mean plus what `rest` decodes; a rest
  that cannot decode adds nothing. The cost of a path code is 0 for the item's own
  and inf for any other; below the path costs are those of `rest`, for the
  vector minus the mean of the path *in the codes*. There are no costs without a
  `rest`, or if it has none: a path must not change.

  Args:
    num_path_levels: P.
    codebook_size: V, at most 2**24.
    rest: a tokenizer with the same V; None for none.

  Returns:
    A tokenizer over vectors_NxPF. Its functions raise ValueError as `checked`, `split_paths`
    and `rest` do, for path codes outside [0, V), and for vectors without a column
    after the path.

  Raises:
    ValueError: if a size makes no sense, or `rest` has another V or codes rows by number.
  """
  check_sizes(num_path_levels, codebook_size)
  if codebook_size > MAX_CODEBOOK_SIZE:
    raise ValueError(f"codebook_size is {codebook_size}; category paths take at most 2**24")
  if rest is not None and rest.codebook_size != codebook_size:
    raise ValueError(
      f"the category path has {codebook_size} codes per level, but {rest.name!r} after it has "
      f"{rest.codebook_size}; give both the same codebook_size"
    )
  if rest is not None and rest.name == "radix":
    raise ValueError(
      "base conversion numbers the whole catalogue and knows no categories; leave the rest out "
      "and let the extra digit number the items of each path"
    )
  made = _PathThenRest(num_path_levels, codebook_size, rest)
  tokenizer = Tokenizer(
    name="category",
    num_levels=num_path_levels + (rest.num_levels if rest is not None else 0),
    codebook_size=codebook_size,
    fit=made.fit,
    encode=made.encode,
    decode=made.decode,
    costs=made.costs if rest is not None and rest.costs is not None else None,
  )
  return checked(tokenizer, lambda params: num_path_levels + params["centroids_GxF"].shape[1])


class _PathThenRest(NamedTuple):
  """The functions of the tokenizer, with what they share."""

  num_path_levels: int
  codebook_size: int
  rest: Tokenizer | None

  def fit(self, key: jax.Array, vectors_NxPF: np.ndarray) -> Params:
    path_NxP, vectors_NxF = self._split(vectors_NxPF)
    prefixes_GxP, centroids_GxF = _prefix_means(path_NxP, vectors_NxF)
    params: Params = {"prefixes_GxP": prefixes_GxP, "centroids_GxF": centroids_GxF}
    if self.rest is None:
      return params
    left_NxF = _empty_like(vectors_NxF)
    for rows, left_BxF in _left_by_path(params, path_NxP, vectors_NxF):
      left_NxF[rows] = left_BxF
    return {**params, "rest": self.rest.fit(key, left_NxF)}

  def encode(self, params: Params, vectors_NxPF: np.ndarray) -> np.ndarray:
    path_NxP, vectors_NxF = self._split(vectors_NxPF)
    if self.rest is None:
      return path_NxP
    below = [
      np.asarray(self.rest.encode(params["rest"], left_BxF))
      for _, left_BxF in _left_by_path(params, path_NxP, vectors_NxF)
    ]
    return np.concatenate([path_NxP, np.concatenate(below)], axis=1)

  def decode(self, params: Params, codes_NxL: np.ndarray) -> np.ndarray:
    path_NxP, below = np.split(codes_NxL, [self.num_path_levels], axis=1)
    vectors_NxF = np.asarray(params["centroids_GxF"])[_longest_prefixes(params, path_NxP)]
    if self.rest is not None and self.rest.decode is not None:
      vectors_NxF += np.asarray(self.rest.decode(params["rest"], below))
    return with_paths(path_NxP, vectors_NxF)

  def costs(
    self, params: Params, vectors_NxPF: np.ndarray, codes_NxL: np.ndarray, level: int
  ) -> Array:
    assert self.rest is not None
    assert self.rest.costs is not None
    path_NxP, vectors_NxF = self._split(vectors_NxPF)
    if level < self.num_path_levels:
      cost_NxV = np.full((len(path_NxP), self.codebook_size), np.inf, np.float32)
      np.put_along_axis(cost_NxV, path_NxP[:, level : level + 1], 0, axis=1)
      return cost_NxV
    path_NxP, below = np.split(codes_NxL, [self.num_path_levels], axis=1)
    level -= self.num_path_levels
    cost_NxV = [
      np.asarray(self.rest.costs(params["rest"], left_BxF, below[rows], level))
      for rows, left_BxF in _left_by_path(params, path_NxP, vectors_NxF)
    ]
    return np.concatenate(cost_NxV)

  def _split(self, vectors_NxPF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paths int32 [N, P], and a view of the vectors."""
    if vectors_NxPF.shape[1] <= self.num_path_levels:
      raise ValueError(
        f"item vectors are {vectors_NxPF.shape[1]} wide, but {self.num_path_levels} columns are "
        "the path; give vectors after it, with sidrec.tokenizers.category.with_paths"
      )
    path_NxP, vectors_NxF = split_paths(vectors_NxPF, self.num_path_levels)
    return as_codes(path_NxP, self.codebook_size), vectors_NxF


def _left_by_path(
  params: Params, path_NxP: np.ndarray, vectors_NxF: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields blocks of rows, and their vectors minus the mean vector of the path."""
  centroids_GxF = np.asarray(params["centroids_GxF"])
  prefix_N = _longest_prefixes(params, path_NxP)
  for rows in row_blocks(len(path_NxP)):
    yield rows, vectors_NxF[rows] - centroids_GxF[prefix_N[rows]]


def _prefix_means(path_NxP: np.ndarray, vectors_NxF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Every prefix of the paths, int32 [G, P], and the mean of its items, float32 [G, F]."""
  paths_XxP, path_N = _distinct(path_NxP)
  sums_XxF = np.zeros((len(paths_XxP), vectors_NxF.shape[1]))
  for rows in row_blocks(len(path_NxP)):
    here, place_B = np.unique(path_N[rows], return_inverse=True)
    sums_XxF[here] += _indicator(place_B, len(here)) @ vectors_NxF[rows]
  counts_X = np.bincount(path_N, minlength=len(paths_XxP))

  prefixes, means = [], []
  for depth in range(path_NxP.shape[1] + 1):
    cut_XxP = paths_XxP.copy()
    cut_XxP[:, depth:] = NO_CODE
    prefixes_GxP, prefix_X = _distinct(cut_XxP)
    members_GxX = _indicator(prefix_X, len(prefixes_GxP))
    prefixes.append(prefixes_GxP)
    means.append((members_GxX @ sums_XxF) / (members_GxX @ counts_X)[:, None])
  return np.concatenate(prefixes), np.concatenate(means).astype(np.float32)


def _longest_prefixes(params: Params, path_NxP: np.ndarray) -> np.ndarray:
  """The row of the longest known prefix of each path: int64 [N]."""
  prefixes = np.asarray(params["prefixes_GxP"]).tolist()
  row_of = {tuple(prefix): row for row, prefix in enumerate(prefixes)}
  paths_XxP, path_N = _distinct(path_NxP)
  rows_X = np.empty(len(paths_XxP), np.int64)
  for number, path in enumerate(paths_XxP.tolist()):
    depth = len(path)
    while (prefix := (*path[:depth], *[NO_CODE] * (len(path) - depth))) not in row_of:
      depth -= 1  # ends at depth 0, the prefix of every path
    rows_X[number] = row_of[prefix]
  return rows_X[path_N]


def _distinct(path_NxP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The distinct paths in order, int32 [X, P], and the row there of each path, int64 [N]."""
  paths_XxP, path_N = np.unique(path_NxP, axis=0, return_inverse=True)
  return paths_XxP, path_N.reshape(-1)  # NumPy 2.0.0 gives it a second axis


def _indicator(group_B: np.ndarray, num_groups: int) -> sp.csr_array:
  """The 0/1 matrix [groups, B] of who belongs to which group; float64."""
  return sp.csr_array(
    (np.ones(len(group_B)), (group_B, np.arange(len(group_B)))), shape=(num_groups, len(group_B))
  )


def _empty_like(vectors_NxF: np.ndarray) -> np.ndarray:
  """A float32 array to fill; for a memory-mapped one it is in a file that vanishes with it."""
  if not isinstance(vectors_NxF, np.memmap):
    return np.empty(vectors_NxF.shape, np.float32)
  with tempfile.TemporaryFile() as file:
    return np.memmap(file, np.float32, "w+", shape=vectors_NxF.shape)
