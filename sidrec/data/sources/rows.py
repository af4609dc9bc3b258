"""The contract of a table in a file: named columns of text, read in blocks of rows.

A file may be larger than memory: a block holds a thousand rows. Larger blocks are slower, for
their values do not stay in the processor's cache.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

BLOCK_ROWS = 1 << 10

Block = list[Sequence[str]]  # one sequence of values per column, all of one length


class Rows(NamedTuple):
  """A table with named columns; a missing value is ''."""

  file: Path
  names: Sequence[str]  # of all columns
  blocks: Callable[[Sequence[str]], Iterator[Block]]  # the columns of these names
  where: Callable[[int], str]  # a row, from 0 → its place, for messages
  dates: frozenset[str] = frozenset()  # columns that hold ISO dates because the file says so


def require_columns(rows: Rows, wanted: Mapping[str, str]) -> None:
  """Raises ValueError for the first wanted column (role → name) that a table lacks."""
  for role, name in wanted.items():
    count = list(rows.names).count(name)
    if count == 1:
      continue
    if count:
      raise ValueError(f"{rows.file} has {count} columns called {name!r}; rename all but one")
    nearest = difflib.get_close_matches(name, rows.names, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(
      f"{rows.file} has no column {name!r}, which was to be its {role}; {hint}it has: "
      f"{', '.join(rows.names)}"
    )
