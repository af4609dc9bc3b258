"""Several runs compared by their semantic IDs and by what they recommend."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.evaluation.details import SPLIT
from sidrec.evaluation.intervals import REFERENCE
from sidrec.evaluation.overlap import in_common
from sidrec.report.beyond import exposure
from sidrec.report.charts.points import Named, points
from sidrec.report.finished import WAY, FinishedRun
from sidrec.report.html import Html, Part, figure, pair, paragraph, section, table
from sidrec.run.train import make_model
from sidrec.training.checkpoint import load_params


def tokenizers(runs: Sequence[FinishedRun]) -> Html:
  """The quality of the IDs of each run, and how much their first codes agree."""
  header = ["run", "tokenizer", "levels × codes", "used", "perplexity", "shared", "lost", "near"]
  rows: list[Sequence[Part]] = [header]
  rows += [[run.name, run.config.tokenizer.name, *_quality(run.quality)] for run in runs]
  agreement = _matrix(runs, _agreement)
  return section(
    "Their semantic IDs",
    paragraph(
      "Of codes as they are written, without the digits that only tell apart items of equal codes. "
      "Used: the share of codes that some item has; perplexity: how many would be in use if all "
      "were used evenly; both are means over levels. Shared: items whose codes another item has, "
      "too. Lost: the variance of the vectors that codes do not keep. Near: the share of an item's "
      "nearest items that have its first code."
    ),
    table("Quality of the IDs", rows, names=2),
    table(
      "Agreement of first codes: adjusted mutual information of two runs' clusters, 0 for chance "
      "and 1 for the same clusters",
      agreement,
    ),
  )


def _quality(quality: Any) -> list[str]:
  levels, near = quality["levels"], quality["neighbours"]
  lost = quality["unexplained_variance"]
  return [
    f"{quality['num_levels']} × {quality['codebook_size']:,}",
    f"{np.mean([level['share_used'] for level in levels]):.1%}",
    f"{np.mean([level['perplexity'] for level in levels]):,.1f}",
    f"{quality['collision_rate']:.1%}",
    "–" if lost is None else f"{lost:.1%}",
    "–" if near is None else f"{near['depths'][0]['share']:.1%}",
  ]


def _agreement(first: FinishedRun, other: FinishedRun) -> float:
  # Here, because it takes a second to import.
  from sklearn.metrics import adjusted_mutual_info_score

  codes = (run.ids.codes[:, 0] for run in (first, other))
  return float(adjusted_mutual_info_score(*codes))


def what_they_show(runs: Sequence[FinishedRun]) -> Html:
  """How much the lists have in common, who finds whose targets, and what is shown."""
  lists = {run.name: run.details.lists[REFERENCE][WAY].item_UxK for run in runs}
  target_U = runs[0].details.users.target_U
  hits = {name: (item_UxK == target_U[:, None]).any(axis=1) for name, item_UxK in lists.items()}
  common = _matrix(runs, lambda a, b: overlap(lists[a.name], lists[b.name]))
  alone = _matrix(runs, lambda a, b: float(np.mean(hits[a.name] & ~hits[b.name])))
  rows: list[Sequence[Part]] = [["run", "coverage@10", "Gini", "novelty (bits)"]]
  for run in runs:
    found = exposure(lists[run.name], run.popularity_N)
    rows.append([run.name, f"{found.coverage:.4f}", f"{found.gini:.4f}", f"{found.novelty:.2f}"])
  return section(
    "What they recommend",
    paragraph("Lists of ten for all test users, items of the history taken out."),
    pair(
      table("Share of a list of ten that two runs have in common, whatever the order", common),
      table("Share of users whose target the row's run finds and the column's does not", alone),
    ),
    table("What the lists show of the catalogue", rows),
  )


def overlap(one_UxK: np.ndarray, other_UxK: np.ndarray) -> float:
  """The mean share of items that two lists of a user have in common, of the longer one."""
  longer_U = np.maximum((one_UxK != NO_ITEM).sum(axis=1), (other_UxK != NO_ITEM).sum(axis=1))
  return float(np.mean(in_common(one_UxK, other_UxK) / np.maximum(longer_U, 1)))


def _matrix(
  runs: Sequence[FinishedRun], measure: Callable[[FinishedRun, FinishedRun], float]
) -> list[Sequence[Part]]:
  """A figure for each pair of runs."""
  rows: list[Sequence[Part]] = [["run", *(run.name for run in runs)]]
  for one in runs:
    rows.append(
      [one.name, *("–" if one is other else f"{measure(one, other):.4f}" for other in runs)]
    )
  return rows


def sizes(runs: Sequence[FinishedRun]) -> Html:
  """Quality against the bytes that a run needs for an item."""
  rows: list[Sequence[Part]] = [["run", "NDCG@10", "parameters", "trie", "bytes an item"]]
  named = []
  for run in runs:
    params, trie = bytes_of(run)
    each, num_items = (params + trie) / run.protocol.num_items, run.protocol.num_items
    ndcg = run.results[REFERENCE][SPLIT][WAY]["ndcg@10"]
    named.append(Named(run.name, each, ndcg))
    rows.append(
      [run.name, f"{ndcg:.4f}", f"{params / 1e3:,.0f} kB", f"{trie / 1e3:,.0f} kB", f"{each:,.0f}"]
    )
  label = "NDCG@10 against bytes an item: parameters and trie, by the number of items"
  chart = points(named, ("bytes an item", "NDCG@10"), label, front="less")
  return section(
    "Quality and size",
    paragraph(
      f"Parameters as they are stored and the trie of the search, divided by the {num_items:,} "
      "items. The dashed line joins the runs that no other beats in both."
    ),
    pair(figure(chart, label + "."), table("Sizes", rows)),
  )


def bytes_of(run: FinishedRun) -> tuple[int, int]:
  """Of the parameters, and of the trie."""
  params = load_params(run.chain["train"].file("recommender"))
  _, trie = make_model(run.config, run.ids)
  total = (sum(int(x.nbytes) for x in jax.tree.leaves(tree)) for tree in (params, trie))
  return next(total), next(total)
