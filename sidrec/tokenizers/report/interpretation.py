"""What the codes of semantic IDs mean: the categories, decades and titles of their items.

Read in three ways: the first code; the second code whatever the first, which has a meaning of
its own where levels are residuals in one space, but not where each prefix is divided anew; and
the first two codes together. X stands for categories or decades.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from sidrec.core.codes import Groups, group
from sidrec.data.dataset import Items
from sidrec.tokenizers.report.cluster_metrics import item_labels

NUM_CATEGORIES = 3
NUM_DECADES = 2
NUM_EXAMPLES = 3
WIDTH = 100  # of the table

READINGS = {
  "first": "first codes",
  "second": "second codes, whatever the first",
  "first_two": "first two codes of at least 2 items",
}


class Labels(NamedTuple):
  """What items may be called."""

  names_X: np.ndarray  # str
  has_NxX: sp.csr_array  # 1 for each label of an item


def interpret(
  codes_NxL: np.ndarray, items: Items, popularity_N: np.ndarray | None = None
) -> dict[str, Any]:
  """Describes codes by the items that have them.

  Categories and decades are chosen by share · log(lift), their part of the Kullback-Leibler
  divergence from the catalogue, so that what is frequent everywhere does not come first.

  Args:
    codes_NxL: integers.
    items: the catalogue; any value may be missing.
    popularity_N: how often each item was chosen in training, say.

  Returns:
    A dict that JSON takes: 'items' is N; 'examples_are' is 'most popular' if popularity is given,
    else 'first'; 'first', 'second' and 'first_two' are lists of {'codes', 'items', 'categories',
    'decades', 'examples'}, most items first. There, 'codes' is [a], [None, b] or [a, b], the last
    only for two items or more. 'categories' (up to 3; every category of an item counts) and
    'decades' (up to 2) are lists of {'name', 'share', 'lift'}: the share among the items where
    any is known, and that divided by the same for the whole catalogue; only those of two items
    with a lift above 1, if there are any. 'examples' are up to 3 titles, or item ids where the
    title is unknown.
  """
  rank_N = np.zeros(items.num_items) if popularity_N is None else -np.asarray(popularity_N, float)
  categories, decades = category_labels(items), decade_labels(items)

  def read(part_NxL: np.ndarray, at_least: int = 1) -> list[dict[str, Any]]:
    groups = group(part_NxL)
    member_GxN = _members(groups)
    categories_C = marks(member_GxN, categories, NUM_CATEGORIES)
    decades_G = marks(member_GxN, decades, NUM_DECADES)
    examples_G = _examples(groups, items, rank_N)
    return [
      {
        "codes": part_NxL[groups.order_N[groups.start_G[g]]].tolist(),
        "items": int(groups.size_G[g]),
        "categories": categories_C[g],
        "decades": decades_G[g],
        "examples": examples_G[g],
      }
      for g in np.argsort(-groups.size_G, kind="stable")
      if groups.size_G[g] >= at_least
    ]

  several = codes_NxL.shape[1] > 1
  second = read(codes_NxL[:, 1:2]) if several else []
  return {
    "items": items.num_items,
    "examples_are": "first" if popularity_N is None else "most popular",
    "first": read(codes_NxL[:, :1]),
    "second": [{**entry, "codes": [None, *entry["codes"]]} for entry in second],
    "first_two": read(codes_NxL[:, :2], at_least=2) if several else [],
  }


def interpretation_table(found: dict[str, Any], rows: int = 10) -> str:
  """The `rows` largest codes of each reading, a line of at most 100 columns each."""
  blocks = []
  for reading, title in READINGS.items():
    entries = found[reading]
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


def interpretation_text(found: dict[str, Any]) -> str:
  """Everything that `interpret` found, as the content of a text file."""
  lines = [
    f"What the codes of {found['items']:,} items mean.",
    "Percentages: the code's items with that category or decade, among those where one is known.",
    "In brackets: how many times the share in the whole catalogue that is.",
    f"Examples: the {found['examples_are']} items of the code.",
  ]
  for reading, title in READINGS.items():
    if found[reading]:
      heading = f"{title[0].upper()}{title[1:]} ({len(found[reading]):,})"
      lines += ["", heading, "=" * len(heading)]
    for entry in found[reading]:
      lines.append(f"{_codes(entry)}: {entry['items']:,} item{'s' * (entry['items'] > 1)}")
      lines += [f"    {_words(entry[key])}" for key in ("categories", "decades") if entry[key]]
      lines.append(f"    e.g. {'; '.join(entry['examples'])}")
  return "\n".join(lines) + "\n"


def category_labels(items: Items) -> Labels:
  """The categories that have a name, once for an item even if it lists one twice."""
  item_E = np.repeat(np.arange(items.num_items), np.diff(items.category_offsets_Np1))
  shape = (items.num_items, len(items.categories_C))
  has_NxX = sp.csr_array((np.ones(len(item_E)), (item_E, items.category_E)), shape=shape)
  has_NxX.data[:] = 1
  named = np.flatnonzero(items.categories_C != "")
  return Labels(items.categories_C[named], sp.csr_array(has_NxX[:, named]))


def decade_labels(items: Items) -> Labels:
  """The decade of each item, where its year is known."""
  decade_N = item_labels(items).get("decade", np.full(items.num_items, ""))
  known = np.flatnonzero(decade_N != "")
  names_X, decade = np.unique(decade_N[known], return_inverse=True)
  shape = (items.num_items, len(names_X))
  return Labels(names_X, sp.csr_array((np.ones(len(known)), (known, decade)), shape=shape))


def _members(groups: Groups) -> sp.csr_array:
  start_Gp1 = np.append(groups.start_G, len(groups.order_N))
  return sp.csr_array(
    (np.ones(len(groups.order_N)), groups.order_N, start_Gp1),
    shape=(len(groups.start_G), len(groups.order_N)),
  )


def marks(member_GxN: sp.csr_array, labels: Labels, count: int) -> list[list[dict[str, Any]]]:
  """The labels that mark each group of items most: up to `count` {'name', 'share', 'lift'}."""
  known_N = np.diff(labels.has_NxX.indptr) > 0
  known_G = member_GxN @ known_N.astype(float)
  count_GxX = sp.csr_array(member_GxN @ labels.has_NxX)
  count_GxX.sort_indices()  # for one order of ties everywhere
  catalogue_X = np.asarray(labels.has_NxX.sum(axis=0)).reshape(-1) / max(known_N.sum(), 1)
  found = []
  for g, known in enumerate(known_G):
    span = slice(count_GxX.indptr[g], count_GxX.indptr[g + 1])
    column, number = count_GxX.indices[span], count_GxX.data[span]
    share = number / max(known, 1)
    lift = share / catalogue_X[column]
    order = np.lexsort((-share, -share * np.log(lift)))
    telling = order[(lift[order] > 1) & (number[order] >= min(2, known))]
    chosen = telling if len(telling) else order
    found.append(
      [
        {"name": str(labels.names_X[column[c]]), "share": float(share[c]), "lift": float(lift[c])}
        for c in chosen[:count]
      ]
    )
  return found


def _examples(groups: Groups, items: Items, rank_N: np.ndarray) -> list[list[str]]:
  """Titles of each group's items of the least rank."""
  best_N = np.lexsort((rank_N, groups.group_N))  # stable: equal items stay in order
  found = []
  for start, size in zip(groups.start_G, groups.size_G, strict=True):
    chosen = best_N[start : start + min(size, NUM_EXAMPLES)].tolist()
    titles = [" ".join(str(items.titles_N[item]).split()) for item in chosen]
    found.append(
      [title or f"item {items.ids_N[item]}" for title, item in zip(titles, chosen, strict=True)]
    )
  return found


def _codes(entry: dict[str, Any]) -> str:
  """'45', '* 7' or '45 7'."""
  return " ".join("*" if code is None else str(code) for code in entry["codes"])


def _words(named: list[dict[str, Any]]) -> str:
  """'Romance 61% (x3.1), Drama 55% (x1.4)'."""
  return ", ".join(f"{row['name']} {row['share']:.0%} (x{row['lift']:.1f})" for row in named)


def _clip(line: str) -> str:
  return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
