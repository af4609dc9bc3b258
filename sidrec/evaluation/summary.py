"""What a person wants to know first: is the recommender better than the best baseline?"""

from collections.abc import Mapping

import numpy as np

from sidrec.core.tables import aligned_table
from sidrec.evaluation.bootstrap import RESAMPLES
from sidrec.evaluation.intervals import REFERENCE, columns_of, lead, titles_of
from sidrec.evaluation.protocol import METRICS
from sidrec.evaluation.report import Results

_SPLIT, _WAY, _METRIC = "test", "masked", "ndcg@10"  # of the headline


def summary_text(
  results: Results, per_user: Mapping[str, np.ndarray], resamples: int = RESAMPLES
) -> str:
  """The test results of all systems in a narrow table, and the headline.

  Args:
    results: system → split → way → metric → mean.
    per_user: 'system/split/way/metric' → [U].
    resamples: of the bootstrap.
  """
  columns = columns_of(per_user)
  rows = [["test", *titles_of(columns)]]
  for system, splits in results.items():
    ways = splits.get(_SPLIT, {})
    found = (ways.get(way, {}).get(metric) for way, metric in columns)
    rows.append([system, *("-" if x is None else f"{x:.4f}" for x in found)])
  return "\n\n".join(filter(None, [aligned_table(rows, 1), headline(results, per_user, resamples)]))


def headline(
  results: Results, per_user: Mapping[str, np.ndarray], resamples: int = RESAMPLES
) -> str:
  """One sentence: the recommender against the best other system, by NDCG@10 on the test items.

  The others are compared on the same measure, so that the best of them is the hardest to beat.
  Returns '' if there is nothing to compare.
  """

  def path(system: str) -> str:
    return f"{system}/{_SPLIT}/{_WAY}/{_METRIC}"

  means = {
    system: splits[_SPLIT][_WAY][_METRIC]
    for system, splits in results.items()
    if path(system) in per_user and _METRIC in splits.get(_SPLIT, {}).get(_WAY, {})
  }
  others = {system: mean for system, mean in means.items() if system != REFERENCE}
  if REFERENCE not in means or not others:
    return ""
  best = max(others, key=others.__getitem__)
  found = lead(per_user[path(REFERENCE)], per_user[path(best)], resamples=resamples)
  verdict = (
    "is better than" if found.low > 0 else "is worse than" if found.high < 0 else "ties with"
  )
  name = METRICS[_METRIC]
  return (
    f"{REFERENCE} {verdict} {best}, the best baseline: {name} {means[REFERENCE]:.4f} against "
    f"{others[best]:.4f},\n{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] "
    "(95% interval over users; seen items masked)."
  )
