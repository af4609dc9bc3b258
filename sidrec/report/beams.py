"""What more beams find, and what they cost: on validation users, because it is for choosing."""

from collections.abc import Sequence

from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from sidrec.evaluation.protocol import METRICS
from sidrec.evaluation.search_cost import BeamCount, SearchCost
from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.charts.svg import key
from sidrec.report.finished import FinishedRun
from sidrec.report.html import Html, Part, figure, join, pair, paragraph, section, table, tag
from sidrec.report.results import interval

_TITLE = "Beams"


def beams(run: FinishedRun) -> Html:
  """Recall, NDCG, the share of the exact ten, and users a second by the number of beams."""
  cost = run.cost
  if cost is None:
    return section(_TITLE, paragraph(how_to_measure([run.name])))
  own = cost.with_beams(run.config.search.beams)
  users = f"{len(cost.users_R):,} validation user{'s' * (len(cost.users_R) > 1)}, drawn at random"
  words = (
    "At each level of the semantic ID a search keeps so many prefixes. More beams find more of "
    "what the model ranks highest, and take longer. These figures are for choosing a number of "
    f"beams, so they are those of {users}, and not of the test users of the other sections. Items "
    f"of the history are taken out. This run searches with {own.beams:,} beams."
  )
  speed = (
    "Users a second are those of whole lists for many users at once, from cutting the histories on "
    "the host to the lists there; compiled before, the median of "
    f"{len(own.seconds)} passes over all of them, different beams in turn. In brackets stand the "
    "slowest and the fastest pass: if they lie far apart, the machine had other work. Measured on: "
    f"{cost.hardware}."
  )
  return section(
    _TITLE,
    paragraph(words),
    pair(_quality(cost, users), _speed(cost)),
    _exact(cost),
    table(f"Searches of {users}", _rows(cost, own), names=0),
    paragraph(speed),
  )


def how_to_measure(names: Sequence[str]) -> str:
  """The sentence where something was not measured."""
  return (
    f"Recall by number of beams and users a second were not measured for {', '.join(names)}; "
    "sidrec search-cost RUN, or --mode=search_cost, measures them and draws the report again."
  )


def _quality(cost: SearchCost, users: str) -> Html:
  series = []
  for metric, title in METRICS.items():
    found = [bootstrap_mean(count.metrics[metric]) for count in cost.counts]
    ranges = [(x.low, x.high) for x in found]
    series.append(Line(title, _beams(cost), [x.mean for x in found], ranges, dotted=True))
  label = f"Recall@10 and NDCG@10 of {users}, by number of beams"
  chart = lines(series, Axes("beams", "metric", from_zero=True), label)
  caption = (
    label + ". Intervals are those over users; all searches are of the same users, so differences "
    "between them are surer than that."
  )
  return figure(chart, caption, *key([one.name for one in series]))


def _speed(cost: SearchCost) -> Html:
  label = "Users a second, by number of beams, from the slowest to the fastest pass"
  speeds, ranges = [x.users_per_second for x in cost.counts], [x.speeds for x in cost.counts]
  series = Line("users/s", _beams(cost), speeds, ranges, dotted=True)
  return figure(lines([series], Axes("beams", "users/s", from_zero=True), label), label + ".")


def _exact(cost: SearchCost) -> Html:
  if cost.no_exact or not cost.exact_X.sum():
    why = cost.no_exact or "the exact lists are empty"
    return paragraph(f"The share of the exact ten is not known, because {why}.")
  shares = [cost.share_of_exact(count) or 0.0 for count in cost.counts]
  label = "Share of the model's exact ten that a search finds, by number of beams"
  chart = lines(
    [Line("sidrec", _beams(cost), shares, dotted=True)],
    Axes("beams", "share", from_zero=True),
    label,
  )
  num = len(cost.exact_X)
  words = (
    f"The exact ten are the best of all items by the model's own scores, for {num:,} of these "
    "users: every item was scored, and nothing of the search was used. Where the curve is at 1, "
    "more beams change nothing. Below it, they change the lists, but not always to the better: "
    "recall says whether they do."
  )
  return pair(figure(chart, label + "."), paragraph(words))


def _between(low: float, high: float) -> Html:
  return tag("span", f"[{low:,.0f}, {high:,.0f}]", class_="range-text")


def _beams(cost: SearchCost) -> list[float]:
  return [float(count.beams) for count in cost.counts]


def _rows(cost: SearchCost, own: BeamCount) -> list[Sequence[Part]]:
  header = ["beams", *METRICS.values(), f"NDCG@10 minus that of {own.beams:,} beams"]
  rows: list[Sequence[Part]] = [[*header, "of the exact ten", "users/s"]]
  for count in cost.counts:
    means = [bootstrap_mean(count.metrics[metric]) for metric in METRICS]
    gap = bootstrap_difference(count.metrics["ndcg@10"], own.metrics["ndcg@10"])
    share = cost.share_of_exact(count)
    rows.append(
      [
        f"{count.beams:,}",
        *(join([f"{x.mean:.4f} ", interval(x.low, x.high)]) for x in means),
        "–" if count is own else join([f"{gap.mean:+.4f} ", interval(gap.low, gap.high, "+")]),
        "–" if share is None else f"{share:.1%}",
        join([f"{count.users_per_second:,.0f} ", _between(*count.speeds)]),
      ]
    )
  return rows
