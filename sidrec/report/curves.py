"""Learning curves, from the logs that trainings leave in their folders."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.charts.svg import key
from sidrec.report.finished import FinishedRun
from sidrec.report.html import Html, figure, pair, paragraph, section, tag

_MOST = 6  # lines of one chart

# Log's name → training.
_TRAININGS = {
  "recommender": "Recommender",
  "sasrec": "SASRec",
  "bsarec": "BSARec",
  "tokenizer": "Tokenizer",
}

Log = Mapping[str, list[tuple[float, float]]]  # name → (step, value), in order of steps


class _Panel(NamedTuple):
  """A chart that may be drawn: what belongs on it."""

  pattern: str  # of the names
  y: str
  words: str
  highest: str = ""  # the name whose highest value is marked


_PANELS = (
  _Panel(r"train/loss(_level_\d+|_item\w*)?", "loss", "Training loss"),
  _Panel(
    r"valid/(ndcg|recall)@10",
    "metric",
    "Recall and NDCG of the users that validate",
    "valid/ndcg@10",
  ),
  _Panel(r"(train|valid)/reconstruction", "share", "Variance that reconstruction loses"),
  _Panel(r"valid/collision_rate", "share of items", "Items that share their codes"),
  _Panel(r"train/perplexity_\d+", "perplexity", "Perplexity of the codes of each level"),
)


def curves(run: FinishedRun) -> Html:
  """A chart of losses and one of validations for each training that left a log."""
  parts = []
  for stage in ("tokenize", "train", "sasrec", "bsarec"):
    if stage in run.chain:
      for name, log in read_log(run.chain[stage].folder / "metrics.jsonl").items():
        charts = [made for panel in _PANELS if (made := _chart(panel, log, name))]
        if charts:
          parts += [tag("h3", _TRAININGS.get(name, name)), pair(*charts)]
  if not parts:
    parts = [paragraph("No log of a training lies in this run, so there is nothing to draw.")]
  return section("Learning curves", *parts)


def read_log(path: epath.Path) -> dict[str, Log]:
  """Training → what it logged; empty where there is no file. Unreadable lines are left out."""
  found: dict[str, dict[str, dict[float, float]]] = {}
  text = path.read_bytes().decode(errors="replace") if path.exists() else ""
  for line in text.splitlines():
    try:
      entry = json.loads(line)
      step, stage = float(entry.pop("step")), str(entry.pop("stage"))
    except (ValueError, KeyError, AttributeError, TypeError):
      continue  # cut off by a kill
    for name, value in entry.items():
      if isinstance(value, (int, float)):
        found.setdefault(stage, {}).setdefault(name, {})[step] = float(value)
  return {
    stage: {name: sorted(points.items()) for name, points in names.items()}
    for stage, names in found.items()
  }


def _chart(panel: _Panel, log: Log, training: str) -> Html | None:
  names = sorted(name for name in log if re.fullmatch(panel.pattern, name))[:_MOST]
  if not names:
    return None
  series = []
  for name in names:
    steps, values = zip(*log[name], strict=True)
    best = int(np.argmax(values)) if name == panel.highest else None
    series.append(Line(_shown(name, names), steps, values, best=best, dotted=len(values) < 40))
  label = (
    f"{_TRAININGS.get(training, training)}: {panel.words[0].lower()}{panel.words[1:]}, by step"
  )
  chart = lines(series, Axes("step", panel.y, from_zero=panel.y != "metric"), label)
  caption = label + "." + (_best_words(log, panel.highest) if panel.highest in names else "")
  return figure(chart, caption, *key([one.name for one in series]))


def _best_words(log: Log, name: str) -> str:
  points: Sequence[tuple[float, float]] = log[name]
  step, value = max(points, key=lambda point: (point[1], -point[0]))
  return f" The large point marks the best NDCG@10, {value:.4f} at step {step:,.0f}."


def _shown(name: str, names: Sequence[str]) -> str:
  """'train/loss_level_0' as 'level 1', for levels count from 1 on the page."""
  part, _, what = name.partition("/")
  if level := re.fullmatch(r"loss_level_(\d+)", what):
    return f"level {int(level[1]) + 1}"
  if level := re.fullmatch(r"perplexity_(\d+)", what):
    return f"level {level[1]}"
  what = {"ndcg@10": "NDCG@10", "recall@10": "Recall@10"}.get(what, what.replace("_", " "))
  return what if len({n.partition("/")[0] for n in names}) == 1 else f"{what}, {part}"
