"""The console script `sidrec`, and `python -m sidrec`."""

import difflib
import importlib
import sys
from collections.abc import Sequence

from sidrec.command.commands import COMMANDS, Command, Program


def main() -> int:
  """Runs the command that the arguments name; returns the exit status."""
  return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
  """`main` with arguments."""
  if not arguments or arguments[0] in ("-h", "--help", "help"):
    from sidrec.command import help as texts

    print(texts.overview())
    return 0
  if arguments[0] == "--version":
    from sidrec import __version__

    print(f"sidrec {__version__}")
    return 0
  name, *rest = arguments
  command = COMMANDS.get(name)
  if command is None:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return _refused(f"there is no command '{name}'{hint} sidrec --help lists them")
  return _program(command, rest) if isinstance(command, Program) else _mode(name, command, rest)


def _program(program: Program, arguments: list[str]) -> int:
  if program.takes_run and arguments and not arguments[0].startswith("-"):
    arguments[0] = f"--workdir={arguments[0]}"
  return importlib.import_module(program.module).main([*program.first, *arguments])


def _mode(name: str, command: Command, arguments: list[str]) -> int:
  from absl import app, flags

  from sidrec import flags as door_flags
  from sidrec import main as door
  from sidrec.command import help as texts
  from sidrec.command.translate import translated

  if {"-h", "--help"} & set(arguments):
    print(texts.of_command(name, command))
    return 0
  booleans = {flag: flags.FLAGS[flag].boolean for flag in flags.FLAGS}
  try:
    argv = ["sidrec", *translated(name, command, arguments, booleans)]
  except (ValueError, OSError) as error:
    return _refused(str(error))
  sys.argv = argv  # where ml_collections looks for the settings that are changed
  app.run(door.main, argv=argv, flags_parser=door_flags.parse)
  return 0


def _refused(sentence: str) -> int:
  print(f"sidrec: {sentence}", file=sys.stderr)
  return 1
