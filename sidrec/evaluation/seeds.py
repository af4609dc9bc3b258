"""Several runs of one protocol that differ in their seed: means, and how sure they are."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sidrec.evaluation.report import Results

# A run's name → its {'protocol': …, 'results': …}, as in evaluation.json.
Runs = Mapping[str, Mapping[str, Any]]


class OverSeeds(NamedTuple):
  """A metric over runs."""

  mean: float
  standard_error: float | None  # of the mean; None for a single run, which cannot tell
  num_seeds: int

  def __str__(self) -> str:
    """'0.3056 ± 0.0012', or '0.3056' where one run leaves the error unknown."""
    error = "" if self.standard_error is None else f" ± {self.standard_error:.4f}"
    return f"{self.mean:.4f}{error}"


SeedResults = dict[str, dict[str, dict[str, dict[str, OverSeeds]]]]


def over_seeds(runs: Runs) -> SeedResults:
  """Mean and standard error of every metric: system → split → way → metric → `OverSeeds`.

  The standard error is s / sqrt(n), with the n - 1 form of the deviation s. A system that some
  runs lack is averaged over the others, and `num_seeds` says over how many.

  Args:
    runs: name → {'protocol', 'results'}; one run for each seed.

  Raises:
    ValueError: without runs, or if their protocols differ.
  """
  check_same_protocol(runs)
  values: dict[tuple[str, str, str, str], list[float]] = {}
  for run in runs.values():
    for path, value in flat_results(run["results"]).items():
      values.setdefault(path, []).append(value)
  results: SeedResults = {}
  for (system, split, way, metric), found in values.items():
    ways = results.setdefault(system, {}).setdefault(split, {})
    ways.setdefault(way, {})[metric] = summary(found)
  return results


def summary(values: list[float]) -> OverSeeds:
  """Mean and standard error of one value a seed."""
  count = len(values)
  error = float(np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else None
  return OverSeeds(float(np.mean(values)), error, count)


def flat_results(results: Results) -> dict[tuple[str, str, str, str], float]:
  """{(system, split, way, metric): value}."""
  return {
    (system, split, way, metric): value
    for system, splits in results.items()
    for split, ways in splits.items()
    for way, metrics in ways.items()
    for metric, value in metrics.items()
  }


def check_same_protocol(runs: Runs) -> None:
  """Checks that the runs measured the same thing.

  Raises:
    ValueError: without runs; or naming two runs, and the first field in which they differ.
  """
  if not runs:
    raise ValueError("no runs to average over; give at least one")
  (first, reference), *others = runs.items()
  for name, run in others:
    before, after = reference["protocol"], run["protocol"]
    for field in {**before, **after}:
      if before.get(field) != after.get(field):
        raise ValueError(
          f"{first} and {name} were measured by different protocols: {field} is "
          f"{before.get(field)!r} in one and {after.get(field)!r} in the other; average only runs "
          "that differ in their seed"
        )
