"""Random numbers by their place: the draw of a seed and some counters is always the same.

A generator with a state makes an event depend on how many were drawn before it, and so on how users
are cut into chunks. Here each number is a hash of the seed and of whose it is, so that any user's
history can be made alone, and many at once without a loop over them.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), once for each counter.
"""

import enum

import numpy as np
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Stream(enum.IntEnum):
  """What a number is drawn for: the first counter after the seed."""

  IDS = 0
  APPEARS = 1
  WHEN = 2
  FOLLOWS = 3
  USERS = 4
  CENTRES = 5
  NOISE = 6


def hashed(base: np.ndarray | int, *counters: np.ndarray | int) -> np.ndarray:
  """A hash of a seed, or of what this function returned, and counters: uint64, broadcast.

  Args:
    base: whole numbers, or an earlier hash.
    counters: whole numbers of 0 or more.
  """
  state = np.asarray(base).astype(np.uint64)
  for counter in counters:
    # A counter of 0 has to change the state, too.
    step = np.asarray(counter).astype(np.uint64) + np.uint64(1)
    with np.errstate(over="ignore"):  # it wraps around, which NumPy says of single numbers
      state = _mixed(state + step * _GOLDEN)
  return state


def _mixed(state: np.ndarray) -> np.ndarray:
  state = (state ^ (state >> np.uint64(30))) * _FIRST
  state = (state ^ (state >> np.uint64(27))) * _SECOND
  return state ^ (state >> np.uint64(31))


def uniform(base: np.ndarray | int, *counters: np.ndarray | int) -> np.ndarray:
  """Evenly from [0, 1): float64, arguments as `hashed`."""
  return (hashed(base, *counters) >> np.uint64(11)) * 2.0**-53


def exponential(base: np.ndarray | int, *counters: np.ndarray | int) -> np.ndarray:
  """Of mean 1: float64, arguments as `hashed`."""
  return -np.log1p(-uniform(base, *counters))


def normal(base: np.ndarray | int, *counters: np.ndarray | int) -> np.ndarray:
  """Standard normal, by the inverse of its distribution: float64, arguments as `hashed`."""
  # Half a step up: 0 has no quantile.
  return ndtri(uniform(base, *counters) + 2.0**-54)
