"""Whether runs may be compared: the same users, the same data, the same protocol."""

from collections.abc import Sequence

import numpy as np

from sidrec.report.finished import FinishedRun

# What a protocol says of the systems that were measured, and not of the task.
OF_SYSTEMS = ("num_results", "num_beams", "exact", "scores", "score_ties", "cold", "request_time")
OF_SYSTEMS += ("own_baselines", "own_metrics")


def check_same(runs: Sequence[FinishedRun]) -> None:
  """Raises ValueError with the first difference between a run and the first."""
  first = runs[0]
  for run in runs[1:]:
    why = _difference(first, run)
    if why:
      raise ValueError(f"{first.name} and {run.name} cannot be compared: {why}")


def _difference(first: FinishedRun, run: FinishedRun) -> str:
  """The first difference, in words; empty if there is none."""
  ours, its = first.dataset.histories, run.dataset.histories
  if not np.array_equal(ours.user_ids_U, its.user_ids_U):
    return (
      f"their users differ ({ours.num_users:,} and {its.num_users:,}); give runs on one data set"
    )
  if not np.array_equal(first.dataset.items.ids_N, run.dataset.items.ids_N):
    return "their items differ; give runs on one data set"
  if not (
    np.array_equal(ours.offsets_Up1, its.offsets_Up1) and np.array_equal(ours.item_T, its.item_T)
  ):
    return "the histories of their users differ; give runs on one data set"
  before, after = first.protocol._asdict(), run.protocol._asdict()
  for field, value in before.items():
    if field not in OF_SYSTEMS and after[field] != value:
      return f"they were measured by different protocols: {field} is {value!r} and {after[field]!r}"
  for name, own in first.protocol.own_metrics.items():
    if run.protocol.own_metrics.get(name, own) != own:
      return f"their metrics {name!r} are not the same: the plugin's code or settings differ"
  kinds = {x.config.model.inputs.asked for x in (first, run)} - {""}
  if len(kinds) > 1:
    return "one was asked at the target's time and the other was not (model.inputs.request_time)"
  return ""
