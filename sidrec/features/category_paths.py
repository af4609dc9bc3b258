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
#   'below': for each parent, that is the codes above joined by blanks ('' at the first level),
#     'codes': the name of each code, 'unknown' first;
#     'other': the values that share the last code, 'other'; empty if each value has its own.
Labels = list[dict[str, Any]]

_CATEGORY = re.compile(r"category_([1-9]\d*)")


def category_paths(
  items: Items, names: Sequence[str], codebook_size: int
) -> tuple[np.ndarray, Labels]:
  """The paths of a catalogue, and what their codes mean.

  Code 0 is for items without a value. The other codes number the values below one parent (the codes
  of the levels above), from the most to the least frequent one there, equally frequent ones in
  alphabetical order. If a parent has more than V - 1 values, the rarest share code V - 1; say so
  with `overflow_notes`.

  Args:
    items: the catalogue; any value may be missing.
    names: one for each level, the coarsest first: 'category_1', 'category_2', … for an item's
      k-th category in the source's order; 'decade' for the decade of its year; or a numeric column
      for its distinct values.
    codebook_size: V.

  Returns:
    path_NxP int32 in [0, V), and labels: `labels[level]['below'][parent]['codes'][code]` names a
    code.

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
  path_NxP, labels = np.zeros((items.num_items, len(names)), np.int32), []
  for level, name in enumerate(names):
    values, parents = _values(items, name), _parents(path_NxP[:, :level])
    families: dict[str, list[str]] = {}
    for parent, value in zip(parents, values, strict=True):
      families.setdefault(parent, []).append(value)
    below = {parent: _name_codes(families[parent], codebook_size) for parent in sorted(families)}
    labels.append({"name": name, "below": below})
    path_NxP[:, level] = _codes(labels[level], parents, values)
  return path_NxP, labels


def paths_with(labels: Labels, items: Items) -> np.ndarray:
  """The paths of items, of that or another catalogue, by labels made before.

  Args:
    labels: what `category_paths` returned, as it was or from JSON.
    items: the items; a value that the labels do not know below its parent gets code 0.

  Returns:
    path_NxP int32.

  Raises:
    ValueError: if the items lack a column that the labels name.
  """
  path_NxP = np.zeros((items.num_items, len(labels)), np.int32)
  for level, of_level in enumerate(labels):
    values = _values(items, of_level["name"])
    path_NxP[:, level] = _codes(of_level, _parents(path_NxP[:, :level]), values)
  return path_NxP


def check_labels(labels: Any) -> Labels:
  """Labels that came from a file; ValueError if they are none."""
  try:
    for level in labels:
      families = [(names["codes"], names["other"]) for names in level["below"].values()]
      texts = [level["name"], *(text for pair in families for names in pair for text in names)]
      if not all(isinstance(text, str) for text in texts):
        raise TypeError
  except (TypeError, KeyError, AttributeError):
    raise ValueError("no list of what category codes mean") from None
  return labels


def overflow_notes(labels: Labels, path_NxP: np.ndarray) -> tuple[str, ...]:
  """A sentence for each level with values that share a code, because they are too many."""
  notes = []
  for level, of_level in enumerate(labels):
    full = {parent: names for parent, names in of_level["below"].items() if names["other"]}
    if not full:
      continue
    num_values = sum(len(names["other"]) for names in full.values())
    parents = _parents(path_NxP[:, :level])
    last = {parent: len(names["codes"]) - 1 for parent, names in full.items()}
    codes = path_NxP[:, level].tolist()
    num_items = sum(last.get(p) == code for p, code in zip(parents, codes, strict=True))
    where = f" below {len(full):,} of {len(of_level['below']):,} parents" if level else ""
    notes.append(
      f"{num_values:,} values of {of_level['name']!r} ({num_items:,} items) share the code "
      f"'{OTHER}'{where}, because a level has too few codes for them; raise "
      "tokenizer.codebook_size to keep them apart"
    )
  return tuple(notes)


def _parents(path_NxP: np.ndarray) -> list[str]:
  """The codes above a level, as labels name them."""
  return [" ".join(map(str, row)) for row in path_NxP.tolist()]


def _codes(of_level: dict[str, Any], parents: list[str], values: list[str]) -> list[int]:
  """The code of each value below its parent; 0 where it is unknown."""
  code_of: dict[str, dict[str, int]] = {}
  for parent, names in of_level["below"].items():
    num_own = len(names["codes"]) - bool(names["other"])
    own = {value: code for code, value in enumerate(names["codes"][1:num_own], start=1)}
    code_of[parent] = own | dict.fromkeys(names["other"], num_own)
  return [
    code_of.get(parent, {}).get(value, 0) for parent, value in zip(parents, values, strict=True)
  ]


def _name_codes(values: list[str], codebook_size: int) -> dict[str, Any]:
  """What the codes below one parent mean."""
  counts = Counter(value for value in values if value)
  ordered = sorted(counts, key=lambda value: (-counts[value], value))
  own = ordered if len(ordered) < codebook_size else ordered[: codebook_size - 2]
  other = ordered[len(own) :]
  return {"codes": [UNKNOWN, *own, *([OTHER] if other else [])], "other": other}


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
