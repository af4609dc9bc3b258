"""Category paths: a few facts about an item as whole numbers, one for each level.

Letters: N items, P path levels, V codes per level.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from sidrec.core.codes import check_sizes
from sidrec.data.dataset import Items

UNKNOWN = "unknown"  # the name of code 0
OTHER = "other"  # the name of the code that the rarest values share

# Per level, in plain lists and dicts that JSON takes:
#   'name': what the level says of an item, as given to `category_paths`;
#   'codes': the name of each code, 'unknown' first;
#   'other': the values that share the last code, 'other'; empty if each value has its own.
Labels = list[dict[str, Any]]

_CATEGORY = re.compile(r"category_([1-9]\d*)")


def category_paths(
  items: Items, names: Sequence[str], codebook_size: int
) -> tuple[np.ndarray, Labels]:
  """The paths of a catalogue, and what their codes mean.

  Code 0 is for items without a value. The other codes number the values of the whole level, from
  the most to the least frequent one, equally frequent ones in alphabetical order. If there are
  more than V - 1 values, the rarest share code V - 1.

  Args:
    items: the catalogue; any value may be missing.
    names: one for each level, the coarsest first: 'category_1', 'category_2', … for an item's
      k-th category in the source's order; 'decade' for the decade of its year; or a numeric column
      for its distinct values.
    codebook_size: V.

  Returns:
    path_NxP int32 in [0, V), and labels: `labels[level]['codes'][code]` names a code.

  Raises:
    ValueError: for no names, a repeated or unknown one (says which there are), or V < 2.
  """
  names = list(names)
  check_sizes(max(len(names), 1), codebook_size)
  if not names or len(set(names)) < len(names):
    raise ValueError(f"path levels {names} must be at least one, and all different")
  deepest = int(np.diff(items.category_offsets_Np1).max(initial=0))
  for name in names:
    place = _CATEGORY.fullmatch(name)
    if place and int(place[1]) > deepest:
      raise ValueError(
        f"no item has a {name!r}; the most categories an item has is {deepest}. {_choices(items)}"
      )
  labels = [_level_labels(name, _values(items, name), codebook_size) for name in names]
  return paths_with(labels, items), labels


def paths_with(labels: Labels, items: Items) -> np.ndarray:
  """The paths of items, of that or another catalogue, by labels made before.

  Args:
    labels: what `category_paths` returned, as it was or from JSON.
    items: the items; a value that the labels do not know gets code 0.

  Returns:
    path_NxP int32.

  Raises:
    ValueError: if the items lack a column that the labels name.
  """
  levels = []
  for level in labels:
    num_own = len(level["codes"]) - bool(level["other"])
    code_of = {value: code for code, value in enumerate(level["codes"][1:num_own], start=1)}
    code_of |= dict.fromkeys(level["other"], num_own)
    distinct, inverse_N = np.unique(_values(items, level["name"]), return_inverse=True)
    codes = np.array([code_of.get(value, 0) for value in distinct.tolist()], np.int32)
    levels.append(codes[inverse_N])
  return np.stack(levels, axis=1)


def _level_labels(name: str, values_N: np.ndarray, codebook_size: int) -> dict[str, Any]:
  """What the codes of one level mean."""
  distinct, counts = np.unique(values_N[values_N != ""], return_counts=True)
  ordered = distinct[np.argsort(-counts, kind="stable")].tolist()
  own = ordered if len(ordered) < codebook_size else ordered[: codebook_size - 2]
  other = ordered[len(own) :]
  return {"name": name, "codes": [UNKNOWN, *own, *([OTHER] if other else [])], "other": other}


def _values(items: Items, name: str) -> np.ndarray:
  """What a level says of each item: str [N], '' where unknown."""
  place = _CATEGORY.fullmatch(name)
  if place:
    return _nth_category(items, int(place[1]))
  if name == "decade" and "year" in items.numeric:
    decade_N = np.floor(np.asarray(items.numeric["year"], np.float64) / 10) * 10
    return _as_text(decade_N, "s")
  if name in items.numeric:
    return _as_text(np.asarray(items.numeric[name]))
  raise ValueError(f"the items have no {name!r} to make a path level of. {_choices(items)}")


def _nth_category(items: Items, place: int) -> np.ndarray:
  at_N = items.category_offsets_Np1[:-1] + place - 1
  has_N = at_N < items.category_offsets_Np1[1:]
  values_N = np.full(items.num_items, "", items.categories_C.dtype)
  values_N[has_N] = items.categories_C[items.category_E[at_N[has_N]]]
  return values_N


def _as_text(number_N: np.ndarray, suffix: str = "") -> np.ndarray:
  """Numbers as str [N]: whole ones without a point, '' for those that are not finite."""
  distinct, inverse_N = np.unique(number_N, return_inverse=True)
  texts = [
    "" if not np.isfinite(x) else str(int(x) if x == int(x) else x) + suffix for x in distinct
  ]
  return np.array(texts, str)[inverse_N]


def _choices(items: Items) -> str:
  deepest = int(np.diff(items.category_offsets_Np1).max(initial=0))
  names = [f"category_{place}" for place in range(1, deepest + 1)]
  names += ["decade"] * ("year" in items.numeric) + sorted(items.numeric)
  return f"Choose from: {', '.join(names) or 'nothing; these items have no such columns'}."
