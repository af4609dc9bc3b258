"""The help of the program and of each command."""

import textwrap

from absl import flags

from sidrec.command.commands import COMMANDS, Command

_WIDTH = 96


def overview() -> str:
  """All commands, a line each."""
  width = max(map(len, COMMANDS))
  lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
  return "\n".join(
    [
      "sidrec: generative recommendation with semantic IDs",
      "",
      "  sidrec COMMAND [CONFIG or RUN] [--flag=value …] [--setting=value …]",
      "",
      "CONFIG is a shipped config such as demo or ml1m:tiny, or a Python file. RUN is the folder",
      "of a run, such as runs/demo. Start with: sidrec run demo",
      "",
      *lines,
      "",
      "sidrec COMMAND --help has flags, defaults and examples; sidrec --version the version.",
    ]
  )


def of_command(name: str, command: Command) -> str:
  """What a command does, how it is called, and its flags with their defaults."""
  lines = [f"sidrec {name} [CONFIG or RUN] [--flag=value …] [--setting=value …]", ""]
  lines += [command.summary, "", "Examples:", *(f"  {example}" for example in command.examples)]
  lines += ["", "Flags:"]
  for flag in command.flags:
    lines += _described(flags.FLAGS[flag])
  lines += ["", "Settings are those of the config: --train.steps=100 changes config.train.steps."]
  lines += ["sidrec configs show CONFIG prints them all."]
  return "\n".join(lines)


def _described(flag: flags.Flag) -> list[str]:
  text = (
    str(flag.help).removeprefix("recommend: ").removeprefix("evaluate: ").removeprefix("sweep: ")
  )
  if flag.default is not None:
    text += f" (default: {flag.default_unparsed})"
  head = f"  --{flag.name}"
  if len(head) > 22:
    return [head, *textwrap.wrap(text, _WIDTH, initial_indent=" " * 24, subsequent_indent=" " * 24)]
  return textwrap.wrap(
    f"{head:22}  {text}", _WIDTH, subsequent_indent=" " * 24, drop_whitespace=True
  )
