"""From a command's arguments to those of `sidrec.main`."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from sidrec.command.commands import Command
from sidrec.command.target import config_of_run, flags_of
from sidrec.run.settings import RunConfig

_SETTINGS = tuple(field.name for field in dataclasses.fields(RunConfig))


def translated(
  name: str, command: Command, arguments: Sequence[str], booleans: Mapping[str, bool]
) -> list[str]:
  """The flags of `sidrec.main` for `sidrec NAME TARGET --flag=… --setting=…`.

  A name that is a flag of the command stays; every other name is a setting, `--train.steps=100`
  for `--config.train.steps=100`.

  Args:
    name: of the command.
    command: what it takes.
    arguments: what follows its name.
    booleans: every flag of `sidrec.main`, and whether it is a boolean one.

  Raises:
    ValueError: for arguments that make no sense.
    FileNotFoundError: for a target that is not there.
  """
  flags, settings = [f"--mode={command.mode}"], []
  rest = list(arguments)
  if rest and not rest[0].startswith("-"):
    flags += flags_of(rest.pop(0))
  while rest:
    argument = rest.pop(0)
    if not argument.startswith("--") or argument == "--":
      raise ValueError(
        f"'{argument}' belongs to nothing; the config or run comes first, then flags"
      )
    flag, equals, value = argument[2:].partition("=")
    taken = _place(name, command, flag, booleans)
    if not equals and rest and not rest[0].startswith("--") and not booleans.get(taken, False):
      equals, value = "=", rest.pop(0)
    whole = f"{flag}{equals}{value}"
    (flags if taken else settings).append(f"--{whole}" if taken else f"--config.{whole}")
  return [*_with_config(name, command, flags), *settings]


def _with_config(name: str, command: Command, flags: list[str]) -> list[str]:
  """The flags, with the config of the run that --workdir names where no other is given."""
  workdirs = [flag.partition("=")[2] for flag in flags if flag.startswith("--workdir=")]
  if len(workdirs) > 1:
    raise ValueError(f"{' and '.join(workdirs)} are two folders; a command works on one run")
  if any(flag.startswith("--config=") for flag in flags):
    return flags
  if not workdirs:
    raise ValueError(f"sidrec {name} needs a config or the folder of a run: {command.examples[0]}")
  return [f"--config={config_of_run(workdirs[0])}", *flags]


def _place(name: str, command: Command, flag: str, booleans: Mapping[str, bool]) -> str:
  """The flag of `sidrec.main` that is meant, or '' for a setting."""
  known = flag if flag in booleans else flag.removeprefix("no")
  if known in command.flags:
    return known
  if flag == "config" or flag.startswith("config."):
    return flag
  if known in booleans:
    raise ValueError(f"sidrec {name} takes no --{known}; see sidrec {name} --help")
  if "." not in flag.partition("=")[0] and flag not in _SETTINGS:
    near = difflib.get_close_matches(flag, [*command.flags, *_SETTINGS], n=1)
    hint = f"did you mean --{near[0]}?" if near else f"see sidrec {name} --help"
    raise ValueError(f"sidrec {name} takes no --{flag}; {hint}")
  return ""
