"""The page of a sweep, `report.html` in its folder."""

import warnings
from collections.abc import Sequence
from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.report.charts.history import Attempt, history
from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.charts.parallel import Axis, parallel
from sidrec.report.charts.svg import key
from sidrec.report.html import Html, Part, figure, pair, paragraph, section, table, tag
from sidrec.report.page import page
from sidrec.report.write import REPORT
from sidrec.sweep.study import import_optuna
from sidrec.sweep.table import CAUTION, Tried, commands, counted, finished, rows, shown, tried

_CURVES = 6  # trials whose learning curves are drawn
_METRIC = "NDCG@10 on validation"


def write_page(study: Any, workdir: epath.Path, target: Sequence[str]) -> epath.Path:
  """Writes the page; a reader sees the old or the whole new one. A trial must have finished."""
  path = workdir / REPORT
  write_whole_text(path, page_text(study, workdir, target))
  return path


def page_text(study: Any, workdir: epath.Path, target: Sequence[str]) -> str:
  """The page of a sweep of which at least one trial has finished."""
  trials = tried(study)
  best = finished(trials)[0]
  sections = {
    "Best trials": _best(trials, workdir, target),
    "One after the other": _history(trials),
    "What the settings do": _settings(trials, importances(study)),
    "Trials that failed": _failed(trials),
  }
  top = [
    tag("p", "Sweep", class_="kicker"),
    tag("h1", workdir.name),
    tag(
      "p",
      f"{counted(trials)}. The best is trial {best.number}: {_METRIC} {best.value:.4f}.",
      class_="lede",
    ),
  ]
  drawn = [(name, content) for name, content in sections.items() if content is not None]
  return page(f"{workdir.name}: sidrec sweep", top, drawn)


def importances(study: Any) -> dict[str, float]:
  """Setting → its share in how much trials differ (fANOVA); empty with too few trials."""
  optuna = import_optuna()
  complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
  if len(complete) < 4 or len({t.value for t in complete}) < 2:
    return {}
  evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on parameters that some trials lack
    try:
      found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # no setting is common to all
      return {}
  return {name: float(share) for name, share in found.items()}


def _best(trials: Sequence[Tried], workdir: epath.Path, target: Sequence[str]) -> Html:
  cells: list[Sequence[Part]] = [*rows(trials)]
  best = finished(trials)[0]
  parts = [
    paragraph(f"To {purpose}: ", tag("code", command))
    for purpose, command in commands(best, workdir, target)
  ]
  return section("Best trials", table(_METRIC, cells), paragraph(CAUTION), *parts)


def _history(trials: Sequence[Tried]) -> Html:
  attempts = []
  for trial in trials:
    value = trial.value if trial.value is not None else max(trial.curve.values(), default=None)
    if value is not None:
      words = f"trial {trial.number}, {trial.state}: {value:.4f}; {_words(trial)}"
      attempts.append(Attempt(trial.number, value, words, trial.value is not None))
  chart = history(attempts, ("trial", "NDCG@10"), f"{_METRIC} by trial, and the best so far")
  caption = "Each trial's best value. Rings are trials that ended early, or are not finished."
  parts = [figure(chart, caption)]
  curves = [trial for trial in finished(trials) if len(trial.curve) > 1][:_CURVES]
  if curves:
    series = [
      Line(f"trial {trial.number}", list(trial.curve), list(trial.curve.values()), dotted=True)
      for trial in curves
    ]
    label = f"{_METRIC} by step, of the best trials"
    drawn = lines(series, Axes("step", "NDCG@10"), label)
    parts.append(figure(drawn, f"{label}.", *key([one.name for one in series])))
  return section("One after the other", pair(*parts))


def _settings(trials: Sequence[Tried], shares: dict[str, float]) -> Html | None:
  best = finished(trials)
  names = [name for name in best[0].settings if all(name in trial.settings for trial in best)]
  names.sort(key=lambda name: -shares.get(name, 0.0))
  if not names or len(best) < 2:
    return None
  axes = [Axis(name, [trial.settings[name] for trial in best]) for name in names]
  axes.append(Axis("NDCG@10", [trial.value for trial in best]))
  words = [f"trial {trial.number}: {trial.value:.4f}; {_words(trial)}" for trial in best]
  label = "The settings of each finished trial, and what came out"
  caption = (
    f"{label}: a line is a trial, and the coloured one is the best. Hover over a line to read it."
  )
  parts: list[Part] = [figure(parallel(axes, words, 0, label), caption, wide=True)]
  if shares:
    cells: list[Sequence[Part]] = [["setting", "share"]]
    cells += [[name, f"{share:.0%}"] for name, share in shares.items()]
    parts.append(
      table(
        "How much of the difference between finished trials each setting explains (fANOVA). Few "
        "trials say little.",
        cells,
      )
    )
  return section("What the settings do", *parts)


def _failed(trials: Sequence[Tried]) -> Html | None:
  failed = [trial for trial in trials if trial.state == "failed"]
  if not failed:
    return None
  cells: list[Sequence[Part]] = [["trial", "why", "settings"]]
  cells += [[str(trial.number), trial.why, _words(trial)] for trial in failed]
  return section("Trials that failed", table("Trials without a result", cells, names=3))


def _words(trial: Tried) -> str:
  return ", ".join(f"{name} {shown(value)}" for name, value in trial.settings.items())
