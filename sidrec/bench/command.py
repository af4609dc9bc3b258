"""What commands of the benchmarks share: flags alone, one sentence for an error, a JSON file."""

import contextlib
import json
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from absl import app

from sidrec.core.atomic import PathLike, write_whole_text


def check_flags_alone(argv: Sequence[str]) -> None:
  """Raises `app.UsageError` for a word of the command line that is no flag."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag")


@contextlib.contextmanager
def one_sentence(*more: type[Exception]) -> Generator[None]:
  """Ends the command with one sentence for what its user can mend: bad input, files, extras.

  Args:
    more: exceptions beside ValueError, OSError and ImportError that say such a thing.
  """
  try:
    yield
  except (ValueError, OSError, ImportError, *more) as error:
    sys.exit(f"sidrec: {error}")


def write_json(path: PathLike | None, figures: Mapping[str, Any]) -> None:
  """Writes the figures to the file of --json, if there is one; ends as `one_sentence` does."""
  if path:
    with one_sentence():
      write_whole_text(path, json.dumps(figures, indent=2) + "\n")
