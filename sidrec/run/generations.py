"""A run's folder: every stage's output lies in a folder of its own, and no output is overwritten.

  <workdir>/stages/train.1/   what stage 'train' wrote, with its record, `stage.json`
  <workdir>/stages/train.2/   the same after a change: a new generation
  <workdir>/recommender       a link to that of the run that was last brought up to date

A generation counts from the moment that its record says it is finished. The program finds outputs
by their records only; the links are for people, and buckets have none.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from etils import epath

from sidrec.core import checksums
from sidrec.core.paths import is_local
from sidrec.run.record import RECORD, Record, another_version, read_record, write_record

STAGES = "stages"  # the folder of all generations
KEPT = 2  # finished generations of a stage: the newest, and the one before


class Generation(NamedTuple):
  """A folder that holds, or will hold, what one stage wrote."""

  folder: epath.Path
  number: int
  record: Record

  @property
  def is_finished(self) -> bool:
    """Whether all of the output is there."""
    return bool(self.record.finished)

  def file(self, name: str) -> epath.Path:
    """The path of an output, a file or a folder, after a check of its checksums.

    Raises:
      ValueError: if it is damaged or missing.
    """
    expected = {
      file: kept
      for file, kept in self.record.outputs.items()
      if file == name or file.startswith(f"{name}/")
    }
    remedy = f"restore it from a copy, or make it again with --redo={self.record.stage}"
    checksums.verify(self.folder, expected, remedy)
    return self.folder / name

  def lost(self) -> str | None:
    """The first output that is no longer there, if any; their contents are not read."""
    return next((name for name in self.record.outputs if not (self.folder / name).exists()), None)


Chain = Mapping[str, Generation]  # stage → what it wrote; later ones were built on earlier ones


def generations(workdir: epath.Path, stage: str) -> list[Generation]:
  """What there is of a stage, finished or not, oldest first.

  Raises:
    ValueError: for a damaged record, or a folder of another version of sidrec.
  """
  if any(workdir.glob("*.stage.json")):
    raise another_version(workdir)
  numbers = sorted(
    number
    for name, number in map(_parts, _names(workdir))
    if name == stage and not _is_empty(workdir / STAGES / f"{stage}.{number}")
  )
  return [open_generation(workdir, f"{stage}.{number}") for number in numbers]


def all_generations(workdir: epath.Path) -> list[Generation]:
  """What there is of all stages, finished or not; raises as `generations` does."""
  return [
    g
    for stage in {_parts(name)[0] for name in _names(workdir)}
    for g in generations(workdir, stage)
  ]


def open_generation(workdir: epath.Path, name: str) -> Generation:
  """The generation in the folder of this name; raises as `read_record` does."""
  folder = workdir / STAGES / name
  return Generation(folder, _parts(name)[1], read_record(folder))


def new_folder(workdir: epath.Path, stage: str) -> epath.Path:
  """Makes the folder of a stage's next generation."""
  numbers = [number for name, number in map(_parts, _names(workdir)) if name == stage]
  folder = workdir / STAGES / f"{stage}.{max(numbers, default=0) + 1}"
  folder.mkdir(parents=True, exist_ok=True)
  return folder


def checksums_of(folder: epath.Path, outputs: Iterable[str]) -> checksums.Checksums:
  """The checksums of what a stage wrote. Checkpoints have their own, and serve only to go on."""
  sums: checksums.Checksums = {}
  for name in outputs:
    if (folder / name).exists():
      made = checksums.of(folder / name)
      sums |= {name if file == "." else f"{name}/{file}": kept for file, kept in made.items()}
  return {file: kept for file, kept in sums.items() if "checkpoints" not in file.split("/")}


def prune(workdir: epath.Path) -> None:
  """Deletes what no recent result was built on: all but the newest generations of each stage.

  What a stage left behind unfinished stays until the stage is finished.
  """
  there = {stage: generations(workdir, stage) for stage in {_parts(n)[0] for n in _names(workdir)}}
  finished = {stage: [g for g in all_ if g.is_finished] for stage, all_ in there.items()}
  kept = [g for all_ in finished.values() for g in all_[-KEPT:]]
  for generation in kept:  # grows while it is read
    kept += [
      g
      for stage, identity in generation.record.inputs.built_on.items()
      for g in finished.get(stage, [])
      if g.record.identity == identity and g not in kept
    ]
  for stage, all_ in there.items():
    newest = max((g.number for g in finished[stage]), default=0)
    for generation in all_:
      may_go_on = not generation.is_finished and generation.number > newest
      if generation not in kept and not may_go_on:
        delete(generation)


def is_linked(workdir: epath.Path, outputs: Mapping[str, Generation]) -> bool:
  """Whether the links for people lead to these outputs; see `link`."""
  return not _missing_links(workdir, outputs)


def link(workdir: epath.Path, outputs: Mapping[str, Generation]) -> None:
  """Links from the run's folder to outputs by name, where the file system has links."""
  for name, goal in _missing_links(workdir, outputs).items():
    place = Path(workdir / name)
    draft = place.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
    try:
      draft.symlink_to(goal)
      if place.is_dir() and not place.is_symlink():  # of a copy of a run: copying followed the link
        shutil.rmtree(place)
      os.replace(draft, place)
    except OSError:
      draft.unlink(missing_ok=True)


def unlink(workdir: epath.Path, names: Iterable[str]) -> None:
  """Removes links for people; what they lead to stays."""
  for name in names:
    if is_local(workdir) and os.path.islink(workdir / name):
      os.unlink(workdir / name)


def unlink_dangling(workdir: epath.Path) -> None:
  """Removes links for people that lead to nothing any more."""
  if is_local(workdir):
    names = [name for name in os.listdir(workdir) if not os.path.exists(workdir / name)]
    unlink(workdir, names)


def _missing_links(workdir: epath.Path, outputs: Mapping[str, Generation]) -> dict[str, str]:
  """Name → where a link should lead and does not."""
  goals = {
    name: f"{STAGES}/{generation.folder.name}/{name}" for name, generation in outputs.items()
  }
  return {
    name: goal
    for name, goal in goals.items()
    if is_local(workdir) and (workdir / goal).exists()
    if not os.path.islink(workdir / name) or os.readlink(workdir / name) != goal
  }


def delete(generation: Generation) -> None:
  """Deletes a generation; one that is half deleted counts as unfinished."""
  folder = generation.folder
  write_record(folder, Record(generation.record.stage, generation.record.inputs))
  for path in folder.iterdir():
    if path.name != RECORD:
      path.rmtree() if path.is_dir() else path.unlink()
  folder.rmtree()


def _names(workdir: epath.Path) -> list[str]:
  """Of all generations."""
  folder = workdir / STAGES
  names = [path.name for path in folder.iterdir()] if folder.exists() else []
  return [name for name in names if all(_parts(name))]


def _parts(name: str) -> tuple[str, int]:
  """'train.2' → 'train', 2."""
  stage, _, digits = name.rpartition(".")
  return stage, int(digits) if digits.isdecimal() else 0


def _is_empty(folder: epath.Path) -> bool:
  """Whether a run was killed before it wrote its record there."""
  return all(path.name.startswith(".") for path in folder.iterdir())
