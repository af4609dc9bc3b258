"""Several runs of one protocol that differ in their seed: means and their standard errors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sidrec.core.settings import flatten

# A run's name → its {'protocol': …, 'results': …}, as in evaluation.json.
Evaluations = Mapping[str, Mapping[str, Any]]


class OverSeeds(NamedTuple):
  """A metric over runs."""

  mean: float
  standard_error: float | None  # of the mean; None for a single run
  num_seeds: int

  def __str__(self) -> str:
    """'0.3056 ± 0.0012', or '0.3056' for a single run."""
    error = "" if self.standard_error is None else f" ± {self.standard_error:.4f}"
    return f"{self.mean:.4f}{error}"


def over_seeds(evaluations: Evaluations) -> dict[str, OverSeeds]:
  """The mean and standard error of every metric, by its path 'system/split/way/metric'.

  The standard error is s / sqrt(n), where s is the deviation with n - 1. A system that some
  runs lack is averaged over the others; `num_seeds` says how many.

  Args:
    evaluations: one for each seed.

  Raises:
    ValueError: without runs, or if their protocols differ.
  """
  check_same_protocol(evaluations)
  values: dict[str, list[float]] = {}
  for evaluation in evaluations.values():
    for path, value in flatten(evaluation["results"], separator="/").items():
      values.setdefault(path, []).append(value)
  return {path: summary(found) for path, found in values.items()}


def summary(values: list[float]) -> OverSeeds:
  """Mean and standard error of one value for each seed."""
  count = len(values)
  error = float(np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else None
  return OverSeeds(float(np.mean(values)), error, count)


def check_same_protocol(evaluations: Evaluations) -> None:
  """Raises ValueError without runs, or with two runs' names and the first field that differs."""
  if not evaluations:
    raise ValueError("no runs to average over; give at least one")
  (first, reference), *others = evaluations.items()
  for name, evaluation in others:
    before, after = reference["protocol"], evaluation["protocol"]
    for field in {**before, **after}:
      if before.get(field) != after.get(field):
        raise ValueError(
          f"{first} and {name} were measured by different protocols: {field} is "
          f"{before.get(field)!r} in one and {after.get(field)!r} in the other; average only runs "
          "that differ in their seed"
        )
