"""Lines of Amazon's published files: one object each, as JSON or, before 2018, a Python literal."""

import ast
import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from sidrec.data.sources.file_lines import open_bytes
from sidrec.data.sources.json_values import HALF, PAIR
from sidrec.data.sources.shown import brief

_HALF = re.compile(HALF.encode())
_PAIR_OR_ESCAPE = re.compile(rb"\\\\|" + PAIR.encode())


def has_half(line: bytes) -> bool:
  """Whether a line spells half of a surrogate pair, which is no character."""
  return b"\\u" in line and bool(_HALF.search(_PAIR_OR_ESCAPE.sub(b"", line)))


def numbered_lines(file: epath.Path) -> Iterator[tuple[int, bytes]]:
  """The lines of a file, counted from 1, without the blanks around them; empty ones are left out.

  Args:
    file: plain or gzip (its name ends in .gz).

  Raises:
    ValueError: if it should be gzip and is not, or is cut off.
  """
  with open_bytes(file) as stream:
    for number, line in enumerate(stream, 1):
      if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
      if line := line.strip():
        yield number, line


def parse_line(file: epath.Path, number: int, line: bytes) -> dict[str, Any]:
  """The object that a line holds.

  Raises:
    ValueError: naming file, line number and content, if it holds none.
  """
  found, fault = None, "expected an object with names"
  try:
    found = json.loads(line.decode("utf-8"))
  except UnicodeDecodeError as error:
    fault = f"not UTF-8 ({error.reason})"
  except (ValueError, RecursionError) as error:
    try:
      found = ast.literal_eval(line.decode("utf-8"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
      fault = f"neither JSON ({brief(error)}) nor a Python literal"
  if isinstance(found, dict):
    return found
  raise ValueError(f"{file}:{number}: {fault}: {line[:200].decode('utf-8', 'replace')!r}")
