"""Category paths: a few facts about an item as whole numbers, one for each of P levels."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sidrec.core.codes import check_sizes
from sidrec.data.dataset import Items
from sidrec.features.columns import category_names, number_text

UNKNOWN = "unknown"  # the name of code 0
OTHER = "other"  # the name of the code that the rarest values share

# Per level, in plain lists and dicts that JSON takes:
#   'name': what the level says of an item, as passed to `category_paths`;
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
  path_NxP = np.zeros((items.num_items, len(labels)), np.int32)
  for column, level in enumerate(labels):
    num_own = len(level["codes"]) - bool(level["other"])
    code_of = {value: code for code, value in enumerate(level["codes"][1:num_own], start=1)}
    code_of |= dict.fromkeys(level["other"], num_own)
    path_NxP[:, column] = [code_of.get(value, 0) for value in _values(items, level["name"])]
  return path_NxP


def _level_labels(name: str, values: list[str], codebook_size: int) -> dict[str, Any]:
  """What the codes of one level mean."""
  counts = Counter(value for value in values if value)
  ordered = sorted(counts, key=lambda value: (-counts[value], value))
  own = ordered if len(ordered) < codebook_size else ordered[: codebook_size - 2]
  other = ordered[len(own) :]
  return {"name": name, "codes": [UNKNOWN, *own, *([OTHER] if other else [])], "other": other}


def _values(items: Items, name: str) -> list[str]:
  """What a level says of each item; '' where unknown."""
  place = _CATEGORY.fullmatch(name)
  if place:
    index = int(place[1]) - 1
    return [names[index] if index < len(names) else "" for names in category_names(items)]
  if name == "decade" and "year" in items.numeric:
    decade_N = np.floor(np.asarray(items.numeric["year"], np.float64) / 10) * 10
    return [f"{text}s" if text else "" for text in map(number_text, decade_N)]
  if name in items.numeric:
    return [number_text(value) for value in items.numeric[name]]
  raise ValueError(f"the items have no {name!r} to make a path level of. {_choices(items)}")


def _choices(items: Items) -> str:
  deepest = int(np.diff(items.category_offsets_Np1).max(initial=0))
  names = [f"category_{place}" for place in range(1, deepest + 1)]
  names += ["decade"] * ("year" in items.numeric) + sorted(items.numeric)
  return f"Choose from: {', '.join(names) or 'nothing; these items have no such columns'}."
