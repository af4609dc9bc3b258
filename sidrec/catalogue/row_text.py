"""The text of files with an entry for each item, such as JSON objects of millions of items."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

ROWS_AT_ONCE = 65536  # bounds the memory that writing a large file takes


def row_text(form: str, columns: Sequence[Sequence[Any] | np.ndarray]) -> Iterator[str]:
  """The rows of a table as text, with ', ' between them, in parts of many rows.

  Args:
    form: of a row, for the operator %; a place for each column.
    columns: of equal length.
  """
  for start in range(0, len(columns[0]), ROWS_AT_ONCE):
    here = [column[start : start + ROWS_AT_ONCE] for column in columns]
    lists = [part.tolist() if isinstance(part, np.ndarray) else part for part in here]
    values = tuple(chain.from_iterable(zip(*lists, strict=True)))
    # One formatting for all rows takes a third of the time that one for each row takes.
    yield (", " if start else "") + ", ".join([form] * len(lists[0])) % values
