"""The headline, the protocol, and the results with their intervals."""

from collections.abc import Sequence

from sidrec.evaluation.bootstrap import RESAMPLES, Difference, bootstrap_mean
from sidrec.evaluation.details import SPLIT
from sidrec.evaluation.intervals import REFERENCE, columns_of, lead, title_of
from sidrec.evaluation.protocol import METRICS, facts_of
from sidrec.report.charts.forest import Point, Row, forest
from sidrec.report.finished import WAY, FinishedRun, strongest
from sidrec.report.html import (
  Html,
  Part,
  figure,
  join,
  pair,
  paragraph,
  section,
  table,
  tag,
)


def difference(run: FinishedRun, other: str, metric: str, way: str = WAY) -> Difference:
  """The recommender minus another system, paired by user; to the digit what evaluation.txt says."""
  return lead(run.values(REFERENCE, metric, way), run.values(other, metric, way))


def interval(low: float, high: float, sign: str = "") -> Html:
  """'[0.1166, 0.1322]', in soft ink."""
  return tag("span", f"[{low:{sign}.4f}, {high:{sign}.4f}]", class_="range-text")


def top(run: FinishedRun) -> list[Part]:
  """The name, the headline sentence, and the figures that matter most."""
  protocol, other = run.protocol, strongest(run)
  ours = {metric: bootstrap_mean(run.values(REFERENCE, metric)) for metric in METRICS}
  tiles = [
    _tile(f"{METRICS[metric]}, {WAY}", f"{found.mean:.4f}", interval(found.low, found.high))
    for metric, found in ours.items()
  ]
  if other:
    found = difference(run, other, "ndcg@10")
    kind = "good" if found.low > 0 else "bad" if found.high < 0 else None
    shown = tag("span", f"{found.mean:+.4f}", class_=kind)
    tiles.append(_tile(f"NDCG@10 minus {other}'s", shown, interval(found.low, found.high, "+")))
  total = len(run.dataset.histories.item_T)
  tiles.append(
    _tile("users", f"{protocol.num_users:,}", f"{protocol.num_items:,} items, {total:,} events")
  )
  return [
    tag("p", f"Report on a run · data set {protocol.dataset}", class_="kicker"),
    tag("h1", run.name),
    tag("p", headline(run), class_="lede"),
    tag("dl", *tiles, class_="tiles"),
  ]


def _tile(name: str, value: Part, below: Part) -> Html:
  return tag("div", tag("dt", name), tag("dd", value, tag("small", below)))


def headline(run: FinishedRun) -> str:
  """One sentence: the recommender against the strongest other system, also when it loses."""
  other, mean = strongest(run), run.results[REFERENCE][SPLIT][WAY]["ndcg@10"]
  if other is None:
    return f"sidrec reaches NDCG@10 {mean:.4f} on the test set. Nothing else was measured there."
  found = difference(run, other, "ndcg@10")
  numbers = f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
  if found.low > 0:
    verdict = f"sidrec is ahead of {other}, the strongest other system here"
  elif found.high < 0:
    verdict = f"sidrec is behind {other}, the strongest system here"
  else:
    verdict = f"sidrec and {other}, the strongest other system here, cannot be told apart"
  return (
    f"{verdict}: NDCG@10 {mean:.4f} against {run.results[other][SPLIT][WAY]['ndcg@10']:.4f}, a "
    f"difference of {numbers} on the same {run.protocol.num_users:,} users."
  )


def how(run: FinishedRun) -> Html:
  """The protocol, and the settings that matter most."""
  config = run.config
  settings = {
    "tokenizer": f"{config.tokenizer.name}; IDs of {run.ids.codes.shape[1]} tokens with up to "
    f"{run.ids.codebook_size:,} codes each",
    "model": f"setting {config.model.setting}, width {config.model.width}, "
    f"{config.model.encoder_layers} encoder layers, history of {config.model.history_length} items",
    "training": f"up to {config.train.steps:,} steps of {config.train.batch_size} examples, seed "
    f"{config.seed}; the best checkpoint on validation counts",
  }
  return section(
    "How it was measured",
    paragraph(
      "Every user's last item is to be found among all items of the catalogue. Recall@10 is the "
      "share of users whose item is among the first ten; NDCG@10 counts a hit more the higher it "
      "stands. Everything below is about the test split; where nothing else is said, items of the "
      "history are taken out of the lists (masked)."
    ),
    facts(facts_of(run.protocol)),
    tag("h3", "Settings"),
    facts(settings),
  )


def facts(named: dict[str, str]) -> Html:
  """Names and what they stand for."""
  pairs = [part for name, words in named.items() for part in (tag("dt", name), tag("dd", words))]
  return tag("dl", *pairs, class_="facts")


def results(run: FinishedRun) -> Html:
  """All systems with their intervals, and the recommender's lead over each other system."""
  charts = []
  for metric in dict.fromkeys(metric for _, metric in columns_of(run.per_user)):
    title = title_of(metric)
    rows = [
      Row(name, [Point(*_three(bootstrap_mean(run.values(name, metric))))], series=at)
      for at, name in enumerate(run.systems)
      if name in run.measured()
    ]
    label = f"{title} of each system on the test set, masked, with 95% intervals over users"
    charts.append(figure(forest(rows, title, label), label + "."))
  pairs = [pair(*charts[at : at + 2]) for at in range(0, len(charts), 2)]
  return section("Results", *pairs, _means(run), *_leads(run))


def _three(found) -> tuple[float, float, float]:
  return found.mean, found.low, found.high


def _means(run: FinishedRun) -> Html:
  columns = columns_of(run.per_user)
  header = ["system", *(f"{title_of(metric)}, {way}" for way, metric in columns)]
  rows: list[Sequence[Part]] = [header]
  for system in run.systems:
    rows.append([system, *(_mean(run, system, *column) for column in columns)])
  return table("Means over all test users, with 95% intervals over users", rows)


def _mean(run: FinishedRun, system: str, way: str, metric: str) -> Part:
  if system not in run.measured(way):
    return "–"
  found = bootstrap_mean(run.values(system, metric, way))
  return join([f"{found.mean:.4f} ", interval(found.low, found.high)])


def _gap(run: FinishedRun, other: str, way: str, metric: str) -> Part:
  if other not in run.measured(way):
    return "–"
  found = difference(run, other, metric, way)
  parts = f"{found.mean:+.4f} ", interval(found.low, found.high, "+")
  return join([*parts, tag("small", f"p={found.p_value:.4f}")])


def _leads(run: FinishedRun) -> list[Html]:
  others = [system for system in run.systems if system != REFERENCE]
  if not others:
    return [paragraph("No other system was measured in this run, so there is nothing to compare.")]
  columns = columns_of(run.per_user)
  header = ["sidrec minus", *(f"{title_of(metric)}, {way}" for way, metric in columns)]
  table_rows: list[Sequence[Part]] = [header]
  rows = []
  for other in others:
    table_rows.append([other, *(_gap(run, other, *column) for column in columns)])
    if other in run.measured():
      point = Point(*_three(difference(run, other, "ndcg@10")))
      rows.append(Row(other, [point], series=run.systems.index(other)))
  label = "NDCG@10 of sidrec minus that of each other system, masked, paired by user"
  chart = forest(rows, "difference of NDCG@10", label, signed=True)
  note = (
    f"Percentile bootstrap over users, {RESAMPLES:,} resamples; differences are drawn in pairs, so "
    "each user counts for both systems or for neither. p is two-sided. The intervals know nothing "
    "of other seeds."
  )
  return [
    tag("h3", "The lead over each other system"),
    pair(figure(chart, label + "; right of the dashed line sidrec is better."), paragraph(note)),
    table("sidrec minus each other system, on the same users, with 95% intervals", table_rows),
  ]
