"""What the codes of semantic IDs mean: the categories, decades and titles of their items.

Read in three ways: the first code; the second code whatever the first, which has a meaning of
its own where levels are residuals in one space, but not where each prefix is divided anew; and
the first two codes together.

Letters: N items, L levels, F vector width, C categories or decades, G groups of items with the
same codes.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from sidrec.core.codes import Groups, as_integers, group
from sidrec.data.dataset import Items
from sidrec.tokenizers.base import BLOCK_SIZE, check_vectors
from sidrec.tokenizers.report.cluster_metrics import item_labels

NUM_CATEGORIES = 3
NUM_DECADES = 2
NUM_EXAMPLES = 3
WIDTH = 100  # of the table


def meanings(
  codes: ArrayLike,
  items: Items,
  popularity: np.ndarray | None = None,
  vectors: np.ndarray | None = None,
) -> dict[str, Any]:
  """Describes codes by the items that have them.

  Categories and decades are chosen by share · log(lift), their part of the Kullback-Leibler
  divergence from the catalogue, so that what is frequent everywhere does not come first.

  Args:
    codes: integer [N, L].
    items: the catalogue; any value may be missing.
    popularity: [N], how often each item was chosen in training, say.
    vectors: float32 [N, F], what was tokenised.

  Returns:
    A dict that JSON takes: 'items' is N; 'examples_are' is 'most central' if vectors are given,
    else 'most popular' if popularity is, else 'first'; 'first', 'second' and 'first_two' are
    lists of {'codes', 'items', 'categories', 'decades', 'examples'}, most items first. There,
    'codes' is [a], [None, b] or [a, b], the last only for two items or more. 'categories' (up
    to 3; every category of an item counts) and 'decades' (up to 2) are lists of {'name',
    'share', 'lift'}: the share among the items where any is known, and that divided by the
    same for the whole catalogue; only those of two items with a lift above 1, if there are any.
    'examples' are up to 3 titles, or item ids where the title is unknown.

  Raises:
    ValueError: if codes, popularity or vectors do not match the items.
  """
  codes_NxL, num_items = as_integers(codes, "tokens"), items.num_items
  if codes_NxL.ndim != 2 or len(codes_NxL) != num_items or not codes_NxL.size:
    raise ValueError(
      f"codes have shape {codes_NxL.shape}; give [items, levels] for the {num_items} items"
    )
  if popularity is not None and np.shape(popularity) != (num_items,):
    raise ValueError(
      f"popularity has shape {np.shape(popularity)}; give a number for each of {num_items} items"
    )
  if vectors is not None:
    vectors = check_vectors(vectors)
    if len(vectors) != num_items:
      raise ValueError(f"{len(vectors)} vectors do not match the codes of {num_items} items")
  categories, decades = _category_table(items), _decade_table(items)

  def read(part_NxL: np.ndarray, any_first: bool, at_least: int = 1) -> list[dict[str, Any]]:
    groups = group(part_NxL)
    member_GxN = _members(groups)
    categories_G = _named(member_GxN, *categories, NUM_CATEGORIES)
    decades_G = _named(member_GxN, *decades, NUM_DECADES)
    examples_G = _examples(groups, items, popularity, vectors)
    lead = [None] if any_first else []
    return [
      {
        "codes": lead + part_NxL[groups.order_N[groups.start_G[g]]].tolist(),
        "items": int(groups.size_G[g]),
        "categories": categories_G[g],
        "decades": decades_G[g],
        "examples": examples_G[g],
      }
      for g in np.argsort(-groups.size_G, kind="stable")
      if groups.size_G[g] >= at_least
    ]

  many = codes_NxL.shape[1] > 1
  otherwise = "first" if popularity is None else "most popular"
  return {
    "items": num_items,
    "examples_are": "most central" if vectors is not None else otherwise,
    "first": read(codes_NxL[:, :1], any_first=False),
    "second": read(codes_NxL[:, 1:2], any_first=True) if many else [],
    "first_two": read(codes_NxL[:, :2], any_first=False, at_least=2) if many else [],
  }


READINGS = {
  "first": "first codes",
  "second": "second codes, whatever the first",
  "first_two": "first two codes of at least 2 items",
}


def meanings_table(meanings: dict[str, Any], rows: int = 10) -> str:
  """The `rows` largest codes of each reading, a line of at most 100 columns each."""
  blocks = []
  for reading, title in READINGS.items():
    entries = meanings[reading]
    if not entries:
      continue
    shown = f", {rows} largest" if rows < len(entries) else ""
    lines = [f"{title} ({len(entries):,}{shown})", f"{'codes':>9} {'items':>6}"]
    for entry in entries[:rows]:
      about = [_words(entry["categories"][:2]), _words(entry["decades"][:1])]
      about.append(f"e.g. {'; '.join(entry['examples'])}")
      text = ", ".join(part for part in about if part)
      lines.append(_clip(f"{_codes(entry):>9} {entry['items']:>6,}  {text}"))
    blocks.append("\n".join(lines))
  return "\n\n".join(blocks)


def meanings_text(meanings: dict[str, Any]) -> str:
  """Everything that `meanings` found, as the content of a text file."""
  lines = [
    f"What the codes of {meanings['items']:,} items mean.",
    "Percentages: the code's items with that category or decade, among those where one is known.",
    "In brackets: how many times the share in the whole catalogue that is.",
    f"Examples: the {meanings['examples_are']} items of the code.",
  ]
  for reading, title in READINGS.items():
    if meanings[reading]:
      heading = f"{title[0].upper()}{title[1:]} ({len(meanings[reading]):,})"
      lines += ["", heading, "=" * len(heading)]
    for entry in meanings[reading]:
      lines.append(f"{_codes(entry)}: {entry['items']:,} item{'s' * (entry['items'] > 1)}")
      lines += [f"    {_words(entry[key])}" for key in ("categories", "decades") if entry[key]]
      lines.append(f"    e.g. {'; '.join(entry['examples'])}")
  return "\n".join(lines) + "\n"


def _category_table(items: Items) -> tuple[np.ndarray, sp.csr_array]:
  """(names_C, hot_NxC): 1 for each category of an item, once if it is listed twice."""
  item_E = np.repeat(np.arange(items.num_items), np.diff(items.category_offsets_Np1))
  shape = (items.num_items, len(items.categories_C))
  hot_NxC = sp.csr_array((np.ones(len(item_E)), (item_E, items.category_E)), shape=shape)
  hot_NxC.data[:] = 1
  return items.categories_C, hot_NxC


def _decade_table(items: Items) -> tuple[np.ndarray, sp.csr_array]:
  """(names_C, hot_NxC): 1 for the decade of an item."""
  decade_N = item_labels(items).get("decade", np.full(items.num_items, ""))
  known = np.flatnonzero(decade_N != "")
  names_C, decade = np.unique(decade_N[known], return_inverse=True)
  shape = (items.num_items, len(names_C))
  return names_C, sp.csr_array((np.ones(len(known)), (known, decade)), shape=shape)


def _members(groups: Groups) -> sp.csr_array:
  """member_GxN: 1 for the items of each group."""
  num_items = len(groups.order_N)
  start_Gp1 = np.append(groups.start_G, num_items)
  shape = (len(groups.start_G), num_items)
  return sp.csr_array((np.ones(num_items), groups.order_N, start_Gp1), shape=shape)


def _named(
  member_GxN: sp.csr_array, names_C: np.ndarray, hot_NxC: sp.csr_array, count: int
) -> list[list[dict[str, Any]]]:
  """What marks each group most: up to `count` {'name', 'share', 'lift'}."""
  known_N = np.diff(hot_NxC.indptr) > 0
  known_G = member_GxN @ known_N.astype(float)
  count_GxC = sp.csr_array(member_GxN @ hot_NxC)
  count_GxC.sort_indices()  # for one order of ties everywhere
  catalogue_C = np.asarray(hot_NxC.sum(axis=0)).reshape(-1) / max(known_N.sum(), 1)
  found = []
  for g, known in enumerate(known_G):
    span = slice(count_GxC.indptr[g], count_GxC.indptr[g + 1])
    column, number = count_GxC.indices[span], count_GxC.data[span]
    share = number / max(known, 1)
    lift = share / catalogue_C[column]
    order = np.lexsort((-share, -share * np.log(lift)))
    telling = order[(lift[order] > 1) & (number[order] >= min(2, known))]
    chosen = telling if len(telling) else order
    found.append(
      [
        {"name": str(names_C[column[c]]), "share": float(share[c]), "lift": float(lift[c])}
        for c in chosen[:count]
      ]
    )
  return found


def _examples(
  groups: Groups, items: Items, popularity: np.ndarray | None, vectors: np.ndarray | None
) -> list[list[str]]:
  """Titles of each group's most central, most popular or first items."""
  group_N = np.empty(len(groups.order_N), int)
  group_N[groups.order_N] = np.repeat(np.arange(len(groups.start_G)), groups.size_G)
  rank_N = np.zeros(len(group_N))
  if vectors is not None:
    rank_N = _distances_to_mean(group_N, groups.size_G, vectors)
  elif popularity is not None:
    rank_N = -np.asarray(popularity, float)
  best_N = np.lexsort((rank_N, group_N))  # stable: equal items stay in order
  found = []
  for start, size in zip(groups.start_G, groups.size_G, strict=True):
    chosen = best_N[start : start + min(size, NUM_EXAMPLES)]
    titles = [" ".join(str(items.titles_N[item]).split()) for item in chosen]
    found.append(
      [title or f"item {items.ids_N[item]}" for title, item in zip(titles, chosen, strict=True)]
    )
  return found


def _distances_to_mean(
  group_N: np.ndarray, size_G: np.ndarray, vectors_NxF: np.ndarray
) -> np.ndarray:
  """Each item's squared distance from the mean vector of its group, float64 [N]."""
  mean_GxF = np.zeros((len(size_G), vectors_NxF.shape[1]), np.float32)
  starts = range(0, len(group_N), BLOCK_SIZE)
  for start in starts:
    group_B = group_N[start : start + BLOCK_SIZE]
    ones_B = np.ones(len(group_B), np.float32)
    shape = (len(size_G), len(group_B))
    member_GxB = sp.csr_array((ones_B, (group_B, np.arange(len(group_B)))), shape=shape)
    mean_GxF += member_GxB @ vectors_NxF[start : start + BLOCK_SIZE]
  mean_GxF /= size_G[:, None].astype(np.float32)
  distance_N = np.empty(len(group_N))
  for start in starts:
    block = slice(start, start + BLOCK_SIZE)
    distance_N[block] = np.square(vectors_NxF[block] - mean_GxF[group_N[block]]).sum(axis=1)
  return distance_N


def _codes(entry: dict[str, Any]) -> str:
  """'45', '* 7' or '45 7'."""
  return " ".join("*" if code is None else str(code) for code in entry["codes"])


def _words(named: list[dict[str, Any]]) -> str:
  """'Romance 61% (x3.1), Drama 55% (x1.4)'."""
  return ", ".join(f"{row['name']} {row['share']:.0%} (x{row['lift']:.1f})" for row in named)


def _clip(line: str) -> str:
  return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
