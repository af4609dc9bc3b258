"""Category paths as the first levels of an ID; what the category leaves goes to another tokenizer.

A path has P whole numbers, such as genre and decade (see sidrec.features.category_paths). A
tokenizer is given one array, so the paths travel in its first P columns.

Letters: N items, P path levels, F vector width without the path (PF: with it),
L levels, V codes per level, M distinct prefixes of the paths seen in the fit,
Q distinct paths.
"""

import tempfile

import jax
import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from sidrec.core.codes import as_codes, as_integers, check_sizes
from sidrec.tokenizers.base import BLOCK_SIZE, Array, Params, Tokenizer, check_codes, check_vectors

# Larger whole numbers have gaps in float32.
MAX_CODEBOOK_SIZE = 2**24

# Stands in a prefix for the levels below it.
NO_CODE = -1


def with_paths(
  path_NxP: ArrayLike, vectors_NxF: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
  """Paths and vectors side by side, as the category tokenizer takes them.

  Args:
    path_NxP: integers in [0, 2**24).
    vectors_NxF: float32.
    out: where to write, say a memory-mapped array; None for a new array.

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
  parts = [path_NxP.astype(np.float32), np.asarray(vectors_NxF)]
  if out is None:
    return np.concatenate(parts, axis=1, dtype=np.float32)
  return np.concatenate(parts, axis=1, out=out)


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

  Parameters are {'prefixes_MxP', int32, levels below a prefix being -1;
  'centroids_MxF'; 'rest', if there is one}. `decode` gives the paths in the first
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
    A tokenizer over vectors_NxPF. Its functions raise ValueError as `split_paths`
    and `rest` do, for path codes outside [0, V), and for vectors without a column
    beside the path.

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
  num_levels = num_path_levels + (rest.num_levels if rest is not None else 0)

  def checked(vectors_NxPF: Array, width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    checked_NxPF = check_vectors(vectors_NxPF, width)
    if checked_NxPF.shape[1] <= num_path_levels:
      raise ValueError(
        f"item vectors are {checked_NxPF.shape[1]} wide, but {num_path_levels} columns are the "
        "path; give vectors beside it, with sidrec.tokenizers.category.with_paths"
      )
    path_NxP, vectors_NxF = split_paths(checked_NxPF, num_path_levels)
    return as_codes(path_NxP, codebook_size), vectors_NxF

  def fit(key: jax.Array, vectors_NxPF: Array) -> Params:
    path_NxP, vectors_NxF = checked(vectors_NxPF)
    prefixes_MxP, centroids_MxF = _prefix_means(path_NxP, vectors_NxF)
    params: Params = {"prefixes_MxP": prefixes_MxP, "centroids_MxF": centroids_MxF}
    if rest is not None:
      # What is too large for memory before the subtraction is so after it.
      left_NxF = _empty(vectors_NxF.shape, on_disk=isinstance(vectors_NxPF, np.memmap))
      prefix_N = _longest_prefixes(prefixes_MxP, path_NxP)
      for rows in _row_blocks(len(path_NxP)):
        left_NxF[rows] = vectors_NxF[rows] - centroids_MxF[prefix_N[rows]]
      params["rest"] = rest.fit(key, left_NxF)
    return params

  def encode(params: Params, vectors_NxPF: Array) -> np.ndarray:
    path_NxP, vectors_NxF = checked(vectors_NxPF, _width(params))
    if rest is None:
      return path_NxP
    centroids_MxF = np.asarray(params["centroids_MxF"])
    prefix_N = _longest_prefixes(params["prefixes_MxP"], path_NxP)
    rest_NxL = [
      np.asarray(rest.encode(params["rest"], vectors_NxF[rows] - centroids_MxF[prefix_N[rows]]))
      for rows in _row_blocks(len(path_NxP))
    ]
    return np.concatenate([path_NxP, np.concatenate(rest_NxL)], axis=1)

  def decode(params: Params, codes_NxL: Array) -> np.ndarray:
    codes_NxL = check_codes(codes_NxL, num_levels, codebook_size)
    path_NxP = codes_NxL[:, :num_path_levels]
    prefix_N = _longest_prefixes(params["prefixes_MxP"], path_NxP)
    vectors_NxF = np.asarray(params["centroids_MxF"])[prefix_N]
    if rest is not None and rest.decode is not None:
      vectors_NxF += np.asarray(rest.decode(params["rest"], codes_NxL[:, num_path_levels:]))
    return with_paths(path_NxP, vectors_NxF)

  def costs(params: Params, vectors_NxPF: Array, codes_NxL: Array, level: int) -> Array:
    assert rest is not None
    assert rest.costs is not None
    if not 0 <= level < num_levels:
      raise ValueError(f"level {level} is outside 0..{num_levels - 1}")
    path_NxP, vectors_NxF = checked(vectors_NxPF, _width(params))
    if level < num_path_levels:
      cost_NxV = np.full((len(path_NxP), codebook_size), np.inf, np.float32)
      np.put_along_axis(cost_NxV, path_NxP[:, level : level + 1], 0, axis=1)
      return cost_NxV
    codes_NxL = check_codes(codes_NxL, num_levels, codebook_size)
    centroids_MxF = np.asarray(params["centroids_MxF"])
    prefix_N = _longest_prefixes(params["prefixes_MxP"], codes_NxL[:, :num_path_levels])
    cost_NxV = [
      rest.costs(
        params["rest"],
        vectors_NxF[rows] - centroids_MxF[prefix_N[rows]],
        codes_NxL[rows, num_path_levels:],
        level - num_path_levels,
      )
      for rows in _row_blocks(len(path_NxP))
    ]
    return np.concatenate([np.asarray(block) for block in cost_NxV])

  def _width(params: Params) -> int:
    return num_path_levels + params["centroids_MxF"].shape[1]

  has_costs = rest is not None and rest.costs is not None
  return Tokenizer(
    "category", num_levels, codebook_size, fit, encode, decode, costs if has_costs else None
  )


def _prefix_means(path_NxP: np.ndarray, vectors_NxF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Every prefix of the paths, int32 [M, P], and the mean of its items, float32 [M, F]."""
  paths_QxP, path_N = _distinct(path_NxP)
  sums_QxF = np.zeros((len(paths_QxP), vectors_NxF.shape[1]))
  for rows in _row_blocks(len(path_NxP)):
    here, place_B = np.unique(path_N[rows], return_inverse=True)
    sums_QxF[here] += _indicator(place_B, len(here)) @ vectors_NxF[rows]
  counts_Q = np.bincount(path_N, minlength=len(paths_QxP))

  prefixes, means = [], []
  for depth in range(path_NxP.shape[1] + 1):
    cut_QxP = paths_QxP.copy()
    cut_QxP[:, depth:] = NO_CODE
    prefixes_MxP, prefix_Q = _distinct(cut_QxP)
    members_MxQ = _indicator(prefix_Q, len(prefixes_MxP))
    prefixes.append(prefixes_MxP)
    means.append((members_MxQ @ sums_QxF) / (members_MxQ @ counts_Q)[:, None])
  return np.concatenate(prefixes), np.concatenate(means).astype(np.float32)


def _longest_prefixes(prefixes_MxP: Array, path_NxP: np.ndarray) -> np.ndarray:
  """The row of the longest known prefix of each path: int64 [N]."""
  row_of = {tuple(prefix): row for row, prefix in enumerate(np.asarray(prefixes_MxP).tolist())}
  paths_QxP, path_N = _distinct(path_NxP)
  rows_Q = np.empty(len(paths_QxP), np.int64)
  for number, path in enumerate(paths_QxP.tolist()):
    depth = len(path)
    while (prefix := (*path[:depth], *[NO_CODE] * (len(path) - depth))) not in row_of:
      depth -= 1  # ends at depth 0, the prefix of every path
    rows_Q[number] = row_of[prefix]
  return rows_Q[path_N]


def _distinct(path_NxP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The distinct paths in order, int32 [Q, P], and the row there of each path, int64 [N]."""
  paths_QxP, path_N = np.unique(path_NxP, axis=0, return_inverse=True)
  return paths_QxP, path_N.reshape(-1)  # NumPy 2.0.0 gives it a second axis


def _indicator(group_B: np.ndarray, num_groups: int) -> sp.csr_array:
  """The 0/1 matrix [groups, B] of who belongs to which group; float64."""
  return sp.csr_array(
    (np.ones(len(group_B)), (group_B, np.arange(len(group_B)))), shape=(num_groups, len(group_B))
  )


def _row_blocks(num_rows: int) -> list[slice]:
  return [slice(start, start + BLOCK_SIZE) for start in range(0, num_rows, BLOCK_SIZE)]


def _empty(shape: tuple[int, ...], on_disk: bool) -> np.ndarray:
  """An array to fill: float32, on disk in a file that vanishes with it."""
  if not on_disk:
    return np.empty(shape, np.float32)
  with tempfile.TemporaryFile() as file:
    return np.memmap(file, np.float32, "w+", shape=shape)
