"""Numbers that are written as text, with what stands for a missing one."""

from collections.abc import Sequence

import numpy as np

from sidrec.data.sources.rows import Rows

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "\\n"})


def is_missing(text: str) -> bool:
  """Whether a text stands for no number: empty, or NA, NaN, null, None, \\N in any case."""
  return text.strip().lower() in _MISSING


def floats(texts: Sequence[str], what: str, rows: Rows, first: int) -> np.ndarray:
  """Finite numbers, NaN where one is missing: float64 [len(texts)].

  Args:
    texts: a column of a block.
    what: the column means, for the message.
    rows: the table, to name the place of a fault.
    first: the row of the table that texts[0] stands in.

  Raises:
    ValueError: for text that is neither a finite number nor missing.
  """
  try:
    number_T = np.fromiter(map(float, texts), np.float64, len(texts))
  except ValueError:
    number_T = np.array([_number(text) for text in texts], np.float64)
  # Python reads 1_000 as a number, tables do not.
  if np.isinf(number_T).any() or has_underscore(texts):
    wrong = (place for place, text in enumerate(texts) if "_" in text or np.isinf(_number(text)))
    place = next(wrong)
    raise ValueError(f"{rows.where(first + place)}: the {what} {texts[place][:200]!r} is no number")
  return number_T


def has_underscore(texts: Sequence[str]) -> bool:
  """Whether any of the texts has an underscore."""
  return "_" in "".join(texts)


def _number(text: str) -> float:
  """A number, NaN for a missing one, infinity for anything else."""
  try:
    return float("nan" if is_missing(text) else text)
  except ValueError:
    return float("inf")
