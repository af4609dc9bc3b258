"""The newest sound checkpoint: the primary host looks for it and shares what it found."""

import math
import sys
from typing import Any, NamedTuple

from orbax.checkpoint import v1 as ocp

from sidrec.parallel.hosts import from_primary, is_primary
from sidrec.training.checksums import METADATA, find_damage


class Found(NamedTuple):
  """What the primary host found among the checkpoints of a folder."""

  step: int | None  # the newest sound one
  damaged: list[tuple[int, str]]  # newer ones that are not sound, newest first, and why
  after: list[int]  # those to delete if the run continues from `step`


def find_newest(checkpointer: ocp.training.Checkpointer, upto: float = math.inf) -> Found:
  """Finds the newest sound checkpoint up to step `upto`, reading all of its files.

  All processes must call it; all get the same, or an OSError if files cannot be read for now.
  """

  def search() -> dict[str, Any]:
    steps = sorted((checkpoint.step for checkpoint in checkpointer.checkpoints), reverse=True)
    damaged = []
    for step in (step for step in steps if step <= upto):
      try:
        damage = _find_damage(checkpointer, step)
      except OSError as error:
        return {
          "error": f"cannot read checkpoint {checkpointer.directory / str(step)}: {error}; nothing"
          " was deleted: start again when it can be read, or delete that folder to go on from the"
          " one before"
        }
      if damage is None:
        return Found(step, damaged, [later for later in steps if later > step])._asdict()
      damaged.append((step, damage))
    return Found(None, damaged, steps)._asdict()

  answer = from_primary(search)
  if "error" in answer:
    raise OSError(answer["error"])
  return Found(**answer)


def _find_damage(checkpointer: ocp.training.Checkpointer, step: int) -> str | None:
  damage = find_damage(checkpointer.directory / str(step))
  if damage is not None:
    return damage
  # Orbax counts every folder with a number for its name. One that a copy or a
  # deletion left incomplete lacks some of its metadata, if not its checksums.
  try:
    stored = checkpointer.metadata(step)
  except (FileNotFoundError, ValueError):
    return "it is not complete"
  return None if stored.metadata is not None and stored.custom_metadata else "it is not complete"


def check_none_damaged(checkpointer: ocp.training.Checkpointer, found: Found) -> None:
  """Raises ValueError rather than start over: the user may save something by hand."""
  if found.damaged:
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


def delete_step(checkpointer: ocp.training.Checkpointer, step: int) -> None:
  """Deletes a checkpoint."""
  if is_primary():
    # First, so that a deletion that is cut short leaves nothing that looks complete.
    (checkpointer.directory / str(step) / METADATA).unlink(missing_ok=True)
  checkpointer.delete(step, missing_ok=True)
