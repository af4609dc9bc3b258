"""The newest sound checkpoint: the primary host looks for it and informs the others."""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from orbax.checkpoint import v1 as ocp

from sidrec.parallel.hosts import from_primary, is_primary
from sidrec.training.checksums import find_damage


class Found(NamedTuple):
  """What the primary host found among the checkpoints of a folder."""

  step: int | None  # the newest that is sound
  damaged: list[tuple[int, str]]  # newer ones that are not, newest first, and what is wrong
  after: list[int]  # all that have to go for the run to go on from `step`


def find_newest(checkpointer: ocp.training.Checkpointer, upto: float = math.inf) -> Found:
  """Finds the newest sound checkpoint that is not after step `upto`, reading all of its files.

  To be called by all processes; all get the same.

  Raises:
    OSError: if files cannot be read for now, on all processes.
  """

  def look() -> tuple[int | None, list[tuple[int, str]], list[int]]:
    steps = sorted((checkpoint.step for checkpoint in checkpointer.checkpoints), reverse=True)
    damaged = []
    for step in steps:
      if step > upto:
        continue
      damage = _find_damage(checkpointer, step)
      if damage is None:
        return step, damaged, [later for later in steps if later > step]
      damaged.append((step, damage))
    return None, damaged, steps

  return Found(*_ask_lead(look))


def check_any_sound(checkpointer: ocp.training.Checkpointer, found: Found) -> None:
  """Refuses to start over: that would delete a run of which something may be saved by hand."""
  if found.step is None and found.damaged:
    damages = "; ".join(f"step {step}: {damage}" for step, damage in found.damaged)
    raise ValueError(
      f"no checkpoint in {checkpointer.directory} is sound ({damages});"
      " delete that folder to start again"
    )


def warn_of_damage(checkpointer: ocp.training.Checkpointer, found: Found) -> None:
  """Says on stderr which checkpoints are skipped, why, and which one is used instead."""
  if not is_primary():
    return
  instead = "there is none before it" if found.step is None else f"using step {found.step} instead"
  for step, damage in found.damaged:
    path = checkpointer.directory / str(step)
    print(f"sidrec: checkpoint {path} is damaged: {damage}; {instead}", file=sys.stderr, flush=True)


def _find_damage(checkpointer: ocp.training.Checkpointer, step: int) -> str | None:
  path = checkpointer.directory / str(step)
  try:
    damage = find_damage(path)
  except OSError as error:
    raise OSError(
      f"cannot read checkpoint {path}: {error}; nothing was deleted: start again when it can"
      " be read, or delete that folder to go on from the one before"
    ) from error
  if damage is not None:
    return damage
  # Orbax counts every folder with a number for its name. One that a copy or a
  # deletion left incomplete lacks some of its metadata, if not its checksums.
  try:
    stored = checkpointer.metadata(step)
  except (FileNotFoundError, ValueError):
    return "it is not complete"
  return None if stored.metadata is not None and stored.custom_metadata else "it is not complete"


def _ask_lead(look: Callable[[], Any]) -> Any:
  """What `look` returns on the primary host, or the OSError that it raises there, for all."""

  def told() -> dict[str, Any]:
    try:
      return {"value": look()}
    except OSError as error:
      return {"error": str(error)}

  answer = from_primary(told)
  if "error" in answer:
    raise OSError(answer["error"])
  return answer["value"]
