"""Several runs by quality and users a second."""

from collections.abc import Sequence

import numpy as np

from sidrec.evaluation.details import SPLIT
from sidrec.evaluation.intervals import REFERENCE
from sidrec.evaluation.search_cost import SearchCost
from sidrec.report.beams import how_to_measure
from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.charts.points import Named, points
from sidrec.report.charts.svg import key
from sidrec.report.finished import WAY, FinishedRun
from sidrec.report.html import Html, Part, figure, pair, paragraph, section, table

_TITLE = "Quality and speed"


def speeds(runs: Sequence[FinishedRun]) -> Html:
  """NDCG@10 against users a second: of the runs as they are, and by number of beams."""
  measured = [(run, run.cost) for run in runs if run.cost is not None]
  missing = [run.name for run in runs if run.cost is None]
  note = paragraph(how_to_measure(missing)) if missing else None
  if not measured:
    return section(_TITLE, note)
  rows: list[Sequence[Part]] = [["run", "measured on", "beams", "NDCG@10", "users/s"]]
  named = []
  for run, cost in measured:
    own = cost.with_beams(run.config.search.beams)
    ndcg = run.results[REFERENCE][SPLIT][WAY]["ndcg@10"]
    named.append(Named(run.name, own.users_per_second, ndcg))
    speed = f"{own.users_per_second:,.0f}"
    rows.append([run.name, cost.hardware, f"{own.beams:,}", f"{ndcg:.4f}", speed])
  numbers = table(
    "Users a second with each run's own beams; NDCG@10 on the test set, masked", rows, 2
  )
  charts = None
  if len({cost.hardware for _, cost in measured}) > 1:
    charts = paragraph(
      "These runs were measured on different hardware, so their speeds say nothing of each other "
      "and are not drawn; sidrec search-cost RUN measures again, on the hardware that it runs on."
    )
  elif len(measured) > 1:
    label = "NDCG@10 on the test set, masked, against users a second, with each run's own beams"
    caption = label + ". The dashed line joins the runs that no other beats in both."
    chart = points(named, ("users/s", "NDCG@10"), label, front="more")
    charts = pair(figure(chart, caption), _by_beams(measured))
  return section(_TITLE, note, charts, numbers)


def _by_beams(measured: Sequence[tuple[FinishedRun, SearchCost]]) -> Html:
  users = measured[0][1].users_R
  if not all(np.array_equal(cost.users_R, users) for _, cost in measured):
    return paragraph(
      "Their curves by number of beams are of different users, so they are not drawn together; "
      "measure them with equal evaluation.search_cost.users."
    )
  series = []
  for run, cost in measured:
    speed = [count.users_per_second for count in cost.counts]
    ndcg = [float(count.metrics["ndcg@10"].mean()) for count in cost.counts]
    series.append(Line(run.name, speed, ndcg, dotted=True))
  label = f"NDCG@10 of {len(users):,} validation users against users a second"
  chart = lines(series, Axes("users/s", "NDCG@10"), label)
  caption = f"{label}: a point for each number of beams, fewer to the right."
  return figure(chart, caption, *key([one.name for one in series]))
