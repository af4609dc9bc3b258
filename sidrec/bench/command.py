"""What commands of the benchmarks share: their flags, one sentence for an error, a JSON file."""

import contextlib
import json
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from absl import app, flags

from sidrec.core.atomic import PathLike, write_whole_text


class _NumbersParser(flags.ListParser):
  """Reads whole numbers."""

  def __init__(self, least: int):
    super().__init__()
    self._least = least
    self.syntactic_help = f"whole numbers from {least}, separated by commas"

  def parse(self, argument: Any) -> Any:
    try:
      numbers = tuple(int(word) for word in super().parse(argument))
    except ValueError:
      numbers = ()
    if not numbers or min(numbers) < self._least:
      raise ValueError(f"give {self.syntactic_help}")
    return numbers


def define_numbers(
  name: str, default: Sequence[int], help_text: str, values: flags.FlagValues, least: int = 1
) -> None:
  """Adds a flag to `values` that takes whole numbers from `least`, such as --items=1000,10000."""
  parser, serializer = _NumbersParser(least), flags.CsvListSerializer(",")
  flags.DEFINE(parser, name, list(default), help_text, flag_values=values, serializer=serializer)


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
