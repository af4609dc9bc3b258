"""Outputs of stages that an update makes: whole before they count, and counted in one moment.

A candidate lies in a stage's next folder. Its record holds checksums of all that it wrote, but no
time at which it was finished, so nothing that loads the run sees it. `promote` adds that time.
Hence an update that is killed leaves the run as it was, and finds again what was whole.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.run import generations as folders
from sidrec.run.config_file import CONFIG, config_text
from sidrec.run.generations import Generation
from sidrec.run.record import Inputs, Record, write_record
from sidrec.run.settings import RunConfig


class Candidates:
  """Makes candidates in a run's folder."""

  def __init__(self, config: RunConfig, workdir: epath.Path):
    """Takes the settings that are written next to each of them."""
    self._config, self._workdir = config, workdir

  def make(
    self,
    stage: str,
    inputs: Inputs,
    outputs: Sequence[str],
    build: Callable[[epath.Path], object],
  ) -> Generation:
    """The candidate with these inputs, or a finished output with the same ones.

    Args:
      stage: whose output it is.
      inputs: all that decides it.
      outputs: what `build` writes.
      build: writes into the folder, where an interrupted attempt may have left files. It is not
        called where a whole output is there.
    """
    there = folders.generations(self._workdir, stage)
    equal = [g for g in there if g.record.inputs.equal(inputs)]
    whole = [g for g in equal if g.record.outputs and not g.lost()]
    if whole:
      return whole[-1]
    begun = next((g for g in reversed(equal) if not g.is_finished), None)
    folder = begun.folder if begun else folders.new_folder(self._workdir, stage)
    write_record(folder, Record(stage, inputs))
    build(folder)
    write_whole_text(folder / CONFIG, config_text(self._config, self._workdir))
    sums = folders.checksums_of(folder, [*outputs, CONFIG])
    write_record(folder, Record(stage, inputs, sums))
    return folders.open_generation(self._workdir, folder.name)


def promote(candidate: Generation) -> Generation:
  """Lets a whole output count from now on, if it does not yet."""
  if candidate.is_finished:
    return candidate
  now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
  record = dataclasses.replace(candidate.record, finished=now)
  write_record(candidate.folder, record)
  return candidate._replace(record=record)


def drop_unwanted(workdir: epath.Path, stages: Sequence[str], wanted: Sequence[Generation]) -> None:
  """Deletes what earlier updates made and nobody will promote any more.

  A stage that a plain run began keeps its folder, to go on with.
  """
  numbers = {(g.record.stage, g.number) for g in wanted}
  for stage in stages:
    for generation in folders.generations(workdir, stage):
      record = generation.record
      is_candidate = bool(record.outputs) or record.inputs.update is not None
      if is_candidate and not record.finished and (stage, generation.number) not in numbers:
        folders.delete(generation)
