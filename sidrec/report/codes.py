"""The semantic IDs: how each level uses its codes, and what the largest clusters hold."""

import numpy as np

from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.charts.svg import key
from sidrec.report.finished import FinishedRun
from sidrec.report.html import Html, figure, pair, paragraph, section, table
from sidrec.tokenizers.report.interpretation import interpret

_CLUSTERS = 12


def codes(run: FinishedRun) -> Html:
  """Usage and perplexity of each level, and the largest clusters."""
  quality, code_NxL = run.quality, codes_of(run)
  rows = [["level", "codes used", "share", "perplexity", "largest cluster"]]
  for level in quality["levels"]:
    rows.append(
      [
        str(level["level"]),
        f"{level['codes_used']:,} of {quality['codebook_size']:,}",
        f"{level['share_used']:.1%}",
        f"{level['perplexity']:,.1f}",
        f"{level['largest_cluster']:,} items",
      ]
    )
  series = [_usage(level, code_NxL[:, level]) for level in range(code_NxL.shape[1])]
  label = "Items of each code, by level, the fullest codes first"
  chart = lines(series, Axes("codes, by size", "items", from_zero=True), label)
  return section(
    "Semantic IDs",
    paragraph(_summary(run)),
    pair(
      figure(chart, f"{label}.", *key([one.name for one in series])),
      table("How each level uses its codes", rows),
    ),
    _clusters(run, code_NxL),
  )


def codes_of(run: FinishedRun) -> np.ndarray:
  """The codes without the digits that only tell apart items of equal codes: int [N, L]."""
  return run.ids.codes[:, : run.quality["num_levels"]]


def _usage(level: int, code_N: np.ndarray) -> Line:
  count_V = -np.sort(-np.unique(code_N, return_counts=True)[1])
  return Line(f"level {level + 1}", range(1, len(count_V) + 1), count_V.tolist())


def _summary(run: FinishedRun) -> str:
  quality, extra = run.quality, run.ids.codes.shape[1] - run.quality["num_levels"]
  words = [
    f"{quality['items']:,} items have {quality['distinct_ids']:,} distinct tuples of "
    f"{quality['num_levels']} codes; {quality['collision_rate']:.1%} of the items share theirs, at "
    f"most {quality['largest_group']:,} the same."
  ]
  if extra:
    words.append(
      f"{extra} more digit{'s' * (extra > 1)} of each ID tell{'s' * (extra == 1)} them apart."
    )
  if quality["unexplained_variance"] is not None:
    words.append(f"The codes lose {quality['unexplained_variance']:.1%} of the vectors' variance.")
  if quality["neighbours"] is not None:
    first = quality["neighbours"]["depths"][0]
    words.append(
      f"Of an item's {quality['neighbours']['neighbours']} nearest, {first['share']:.1%} have its "
      f"first code ({first['share_shuffled']:.1%} if IDs were shuffled)."
    )
  words.append(
    "Perplexity is how many codes would be in use if all were used evenly with the same entropy."
  )
  return " ".join(words)


def _clusters(run: FinishedRun, code_NxL: np.ndarray) -> Html:
  found = interpret(code_NxL, run.dataset.items, run.popularity_N)
  rows = [["first code", "what marks it", "most popular items", "items"]]
  for entry in found["first"][:_CLUSTERS]:
    marks = [*entry["categories"], *entry["decades"][:1]]
    words = ", ".join(f"{mark['name']} {mark['share']:.0%} (×{mark['lift']:.1f})" for mark in marks)
    rows.append(
      [str(entry["codes"][0]), words or "–", "; ".join(entry["examples"]), f"{entry['items']:,}"]
    )
  caption = (
    f"The {len(rows) - 1} largest clusters of the first level. Percentages: the share of their "
    "items with this category or decade; in brackets, how many times that of the whole catalogue"
  )
  return table(caption, rows, names=3)
