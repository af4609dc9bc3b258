"""sidrec configs: the shipped configs, to list, to read and to copy."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sidrec import shipped_configs
from sidrec.core.tables import aligned_table

_EXAMPLES = """examples:
  sidrec configs
  sidrec configs show ml1m
  sidrec configs copy custom shop.py    then: sidrec run shop.py --data.path=log.csv
"""


def main(argv: Sequence[str]) -> int:
  """Runs `sidrec configs …`; returns the exit status."""
  parser = argparse.ArgumentParser(
    "sidrec configs",
    description="Lists the shipped configs; shows or copies one.",
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  actions = parser.add_subparsers(dest="action", metavar="show | copy")
  actions.add_parser("show", help="what it is for, and all settings").add_argument("name")
  copy = actions.add_parser("copy", help="writes it to a new file of yours")
  copy.add_argument("name")
  copy.add_argument("file", type=Path)
  given = parser.parse_args(argv)
  try:
    match given.action:
      case "show":
        print(shown(given.name))
      case "copy":
        copied(given.name, given.file)
      case _:
        print(listed())
  except (ValueError, OSError) as error:
    print(f"sidrec: {error}", file=sys.stderr)
    return 1
  return 0


def listed() -> str:
  """A table of all configs with the first line of their docstrings."""
  names = shipped_configs.names()
  return aligned_table(
    [("config", "what it is"), *((n, shipped_configs.docstring(n).split("\n")[0]) for n in names)]
  )


def shown(name: str) -> str:
  """The docstring of a config, and every setting; a * marks those that are no defaults.

  Raises:
    ValueError: if no config is called so.
  """
  from sidrec.config import default_config
  from sidrec.core.settings import flatten

  config = flatten(shipped_configs.named_config(name).to_dict())
  defaults = flatten(default_config().to_dict())
  lines = [
    f"{'*' if defaults.get(key) != value else ' '} --{key}={value!r}"
    for key, value in config.items()
  ]
  head = shipped_configs.docstring(name.partition(":")[0])
  return "\n".join([head, "", "All settings; * marks those that differ from the defaults.", *lines])


def copied(name: str, file: Path) -> None:
  """Writes a config to a new file.

  Raises:
    ValueError: if no config is called so, or the file's name is not that of a Python file.
    FileExistsError: if the file is there.
  """
  if file.suffix != ".py":
    raise ValueError(f"{file} is no name of a config; it ends with .py")
  text = shipped_configs.path_of(name).read_text(encoding="utf-8")
  try:
    with file.open("x", encoding="utf-8") as out:
      out.write(text)
  except FileExistsError:
    raise FileExistsError(f"{file} is there already, and stays as it is") from None
  print(f"wrote {file}; run it with: sidrec run {file}")
