"""A run's folder: every stage's output lies in a folder of its own, and no output is overwritten.

  <workdir>/stages/train.1/   what stage 'train' wrote, with its record, `stage.json`
  <workdir>/stages/train.2/   the same after a change: a new generation
  <workdir>/recommender       a link to that of the newest finished generation, for people

A generation counts from the moment that its record says it is finished. The program finds outputs
by their records only, never by the links.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sidrec.core.checksums import checksums_of, find_damage
from sidrec.run.record import Record, another_version, read_record

STAGES = "stages"  # the folder of all generations
KEPT = 2  # finished generations of a stage: the newest, and the one before


class Generation(NamedTuple):
  """A folder that holds, or will hold, what one stage wrote."""

  folder: Path
  number: int
  record: Record

  @property
  def is_finished(self) -> bool:
    """Whether all of the output is there."""
    return bool(self.record.finished)

  def file(self, name: str) -> Path:
    """The path of an output, a file or a folder, after a check of its checksums.

    Raises:
      ValueError: if it is damaged or missing.
    """
    expected = {
      file: sums
      for file, sums in self.record.outputs.items()
      if file == name or file.startswith(f"{name}/")
    }
    damage = find_damage(self.folder, expected)
    if damage:
      raise ValueError(
        f"{damage}; restore it from a copy, or make it again with --redo={self.record.stage}"
      )
    return self.folder / name

  def lost(self) -> str | None:
    """The first output that is no longer there, if any; their contents are not read."""
    return next((name for name in self.record.outputs if not (self.folder / name).exists()), None)


Chain = Mapping[str, Generation]  # stage → what it wrote; later ones were built on earlier ones


def generations(workdir: Path, stage: str) -> list[Generation]:
  """What there is of a stage, finished or not, oldest first.

  Raises:
    ValueError: for a damaged record, or a folder of another version of sidrec.
  """
  if any(workdir.glob("*.stage.json")):
    raise another_version(workdir)
  folders = sorted(_folders(workdir, stage), key=_number)
  return [open_generation(workdir, folder.name) for folder in folders]


def open_generation(workdir: Path, name: str) -> Generation:
  """The generation in the folder of this name; raises as `read_record` does."""
  folder = workdir / STAGES / name
  return Generation(folder, _number(folder), read_record(folder))


def new_folder(workdir: Path, stage: str) -> Path:
  """Makes the folder of a stage's next generation."""
  numbers = [_number(path) for path in (workdir / STAGES).glob(f"{stage}.*")]
  folder = workdir / STAGES / f"{stage}.{max(numbers, default=0) + 1}"
  folder.mkdir(parents=True)
  return folder


def checksums(folder: Path, outputs: Iterable[str]) -> dict[str, list[int]]:
  """The checksums of what a stage wrote; folders that are named checkpoints have their own."""
  sums = {}
  for name in outputs:
    if (folder / name).exists():
      sums |= checksums_of(folder, name)
  return {name: sums for name, sums in sums.items() if "checkpoints" not in Path(name).parts}


def prune(workdir: Path) -> None:
  """Deletes what no recent result was built on: all but the newest generations of each stage."""
  for draft in (workdir / STAGES).glob(".*.tmp"):
    shutil.rmtree(draft)
  stages = {path.name.rpartition(".")[0] for path in (workdir / STAGES).iterdir()}
  there = {stage: generations(workdir, stage) for stage in stages}
  finished = {stage: [g for g in all_ if g.is_finished] for stage, all_ in there.items()}
  kept = [g for all_ in finished.values() for g in all_[-KEPT:]]
  for generation in kept:  # grows while it is read
    kept += [
      g
      for stage, identity in generation.record.inputs.built_on.items()
      for g in finished.get(stage, [])
      if g.record.identity == identity and g not in kept
    ]
  newest = {stage: all_[-1].number for stage, all_ in finished.items() if all_}
  for stage, all_ in there.items():
    for generation in all_:
      left_behind = not generation.is_finished and generation.number > newest.get(stage, 0)
      if generation not in kept and not left_behind:
        _delete(generation.folder)


def link(workdir: Path, generation: Generation, names: Iterable[str]) -> None:
  """Links from the run's folder to these outputs, where the file system has links."""
  for name in names:
    target, place = generation.folder / name, workdir / name
    if not target.exists():
      continue
    draft = workdir / f".{name}.{secrets.token_hex(4)}.tmp"
    try:
      draft.symlink_to(os.path.relpath(target, workdir))
      if place.is_dir() and not place.is_symlink():  # a copy of a run that links became part of
        _delete(place)
      os.replace(draft, place)
    except OSError:
      draft.unlink(missing_ok=True)  # people look into stages/ there


def _delete(folder: Path) -> None:
  """Deletes a folder: first it is renamed, so that a half deleted one counts for nothing."""
  draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
  os.replace(folder, draft)
  shutil.rmtree(draft)


def _folders(workdir: Path, stage: str) -> Iterator[Path]:
  for path in (workdir / STAGES).glob(f"{stage}.*"):
    if path.is_dir() and _number(path) and not _is_empty(path):
      yield path


def _is_empty(folder: Path) -> bool:
  """Whether a run was killed before it wrote its record there."""
  return all(path.name.startswith(".") for path in folder.iterdir())


def _number(folder: Path) -> int:
  digits = folder.name.rpartition(".")[2]
  return int(digits) if digits.isdecimal() else 0
