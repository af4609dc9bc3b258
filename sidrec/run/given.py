"""What requests give, as Python has it: lists, original ids, numbers."""

import math
import numbers
from typing import Any

import numpy as np


def listed(what: str, values: Any) -> list[Any]:
  """The values of a list, a tuple, an array or a column.

  Raises:
    TypeError: for text, mappings, sets and what is no list.
  """
  if isinstance(values, (str, bytes, dict, set, frozenset)) or not hasattr(values, "__iter__"):
    raise TypeError(f"{what} are a {type(values).__name__}; give a list")
  return values.tolist() if isinstance(values, np.ndarray) else list(values)


def name_of(what: str, value: Any) -> str:
  """An original id as text: 7, '7' and a numpy 7 are one id.

  Raises:
    TypeError: for anything else than text and whole numbers.
  """
  if isinstance(value, str):
    return str(value)
  if isinstance(value, numbers.Integral) and not isinstance(value, bool):
    return str(int(value))
  raise TypeError(
    f"{what} hold {value!r:.40}, which is {type(value).__name__}; give original ids as text or "
    "whole numbers"
  )


def actions_of(values: Any, count: int) -> list[str | None]:
  """Names of actions, one for each item; None, or NaN as Pandas has it, where unknown.

  Raises:
    TypeError, ValueError: for what is no list, no text, or another count.
  """
  found = listed("actions", values)
  if len(found) != count:
    raise ValueError(f"{len(found)} actions are given for {count} items; give one for each")
  found = [None if value is None or value != value else value for value in found]
  for value in found:
    if value is not None and not isinstance(value, str):
      raise TypeError(f"actions hold {value!r:.40}; give names, and None where unknown")
  return found


def numbers_of(what: str, values: Any, count: int) -> list[float]:
  """Times, or ratings, which may be None or NaN where unknown, one for each item.

  Raises:
    TypeError, ValueError: for what is no list, no number, or another count.
  """
  found = listed(what, values)
  if len(found) != count:
    raise ValueError(f"{len(found)} {what} are given for {count} items; give one for each")
  if what == "ratings":
    found = [math.nan if value is None else value for value in found]
  for value in found:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      raise TypeError(f"{what} hold {value!r:.40}; give numbers")
  as_floats = [_as_float(value) for value in found]
  for value in as_floats:
    if what == "times" and not 0 <= value < 1e12:
      raise ValueError(f"times hold {value:g}; give seconds since 1970")
    if math.isinf(value):
      raise ValueError(f"{what} hold {value:g}; give numbers")
  return as_floats


def _as_float(value: Any) -> float:
  """The number; infinity for a whole one of hundreds of digits."""
  try:
    return float(value)
  except OverflowError:
    return math.inf if value > 0 else -math.inf
