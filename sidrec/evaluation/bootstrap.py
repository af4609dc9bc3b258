"""How much a mean over users would vary with other users: the bootstrap over users.

Here X counts resamples, and G groups of users with equal values.

A resample draws U users with replacement. Its mean depends only on how often each distinct value
was drawn, and these G counts are multinomial. Recall@k has 2 distinct values, ndcg@10 has 11, and
a difference of two ndcg@10 has at most 121, whatever U is.
"""

from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
# Counts in one block of resamples: 32 MiB of int64.
_MAX_COUNTS = 1 << 22
# Distinct values that are drawn one by one. Metrics of ranks have few; a plugin's may have a value
# for each user, and then resamples of millions would take hours.
_MAX_VALUES = 20_000


class Interval(NamedTuple):
  """The mean over users, and how it varies between samples of users."""

  mean: float
  standard_error: float
  low: float  # 95% percentile interval
  high: float


class Difference(NamedTuple):
  """The mean over users of one system's metric minus another's."""

  mean: float
  standard_error: float
  low: float  # 95% percentile interval
  high: float
  p_value: float  # two-sided, from how often a resample's mean lacks the sign of `mean`


def bootstrap_mean(value_U: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
  """The percentile interval of a mean (Efron & Tibshirani, 'An Introduction to the Bootstrap').

  Args:
    value_U: [U], a metric of each user.
    resamples: X.
    seed: of the resamples; equal seeds give equal intervals.

  Raises:
    ValueError: for no users, another shape, a value that is not finite, or fewer than 2 resamples.
  """
  value_U = _checked(value_U)
  return Interval(float(value_U.mean()), *_spread(resampled_means(value_U, resamples, seed)))


def bootstrap_difference(
  value_U: np.ndarray, other_U: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
  """The paired bootstrap of mean(value) - mean(other): a user is drawn for both or neither.

  The two-sided p-value is 2 (1 + r) / (1 + X), at most 1, where r of the X resamples have a
  difference of 0 or of the other sign than the measured one. It is never 0, since the measured
  sample counts as a resample (Davison & Hinkley 1997, 4.2).

  Args:
    value_U: [U], a metric of each user under one system.
    other_U: [U], the same metric of the same users under the other.
    resamples: X.
    seed: of the resamples.

  Raises:
    ValueError: as for `bootstrap_mean`, or if the two differ in length.
  """
  value_U, other_U = _checked(value_U), _checked(other_U)
  if len(value_U) != len(other_U):
    raise ValueError(
      f"a paired bootstrap needs the same users twice, not {len(value_U)} and {len(other_U)}"
    )
  difference_U = value_U - other_U
  mean = float(difference_U.mean())
  mean_X = resampled_means(difference_U, resamples, seed)
  reversed_count = int(np.count_nonzero(mean_X * np.sign(mean) <= 0))
  p_value = min(1.0, 2 * (1 + reversed_count) / (1 + resamples))
  return Difference(mean, *_spread(mean_X), p_value)


def resampled_means(value_U: np.ndarray, resamples: int, seed: int) -> np.ndarray:
  """The mean of each resample of users: float64 [X].

  With more than 20,000 distinct values the means are drawn from the normal distribution that they
  follow then, by the central limit theorem.
  """
  if resamples < 2:
    raise ValueError(f"the bootstrap needs 2 resamples or more, not {resamples}")
  value_G, count_G = np.unique(value_U, return_counts=True)
  num_users = len(value_U)
  rng = np.random.default_rng(seed)
  if len(value_G) > _MAX_VALUES:
    return rng.normal(value_U.mean(), value_U.std() / np.sqrt(num_users), resamples)
  block = max(1, _MAX_COUNTS // len(value_G))
  means = []
  for start in range(0, resamples, block):
    size = min(block, resamples - start)
    drawn_XxG = rng.multinomial(num_users, count_G / num_users, size)
    means.append(drawn_XxG @ value_G / num_users)
  return np.concatenate(means)


def _checked(value_U: np.ndarray) -> np.ndarray:
  value_U = np.asarray(value_U, np.float64)
  if value_U.ndim != 1 or len(value_U) == 0:
    raise ValueError(f"the bootstrap needs one value for each user, not shape {value_U.shape}")
  if not np.isfinite(value_U).all():
    raise ValueError("the bootstrap needs finite values; one user's is not")
  return value_U


def _spread(mean_X: np.ndarray) -> tuple[float, float, float]:
  """Standard error, low and high end of the 95% interval."""
  low, high = np.quantile(mean_X, [0.025, 0.975])
  return float(mean_X.std(ddof=1)), float(low), float(high)
