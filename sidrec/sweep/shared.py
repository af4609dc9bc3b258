"""What trials have in common is computed once: their data, and the IDs of equal tokenizers.

  <sweep>/shared/tokenize-1a2b3c4d/   a run up to this stage, for each kind of settings
  <sweep>/trials/7/                   a trial; its first stages are copies of those, or hard links

A run knows by its records what it is built on, so that a trial finds these stages done, and would
do them again if they were not its own.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

from etils import epath

from sidrec.run.generations import STAGES as GENERATIONS
from sidrec.run.generations import Chain, Generation
from sidrec.run.prepare import PREPARE
from sidrec.run.record import as_json
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Manner, Stage, stages_to
from sidrec.run.stages import run_to
from sidrec.run.tokenize import TOKENIZE

SHARED = "shared"


def prepared(config: RunConfig, sweep: epath.Path) -> Generation:
  """The data of all trials, made if it is not there."""
  return _to(PREPARE, config, sweep, {})["prepare"]


def share_stages(config: RunConfig, sweep: epath.Path, trial: epath.Path) -> None:
  """Puts the data and the IDs that a trial needs into its folder; makes what is not there yet.

  Another process that makes the same is waited for.
  """
  data = _to(PREPARE, config, sweep, {})
  _adopt(_to(TOKENIZE, config, sweep, data), trial)


def _to(stage: Stage, config: RunConfig, sweep: epath.Path, before: Chain) -> Chain:
  settings = {name: as_json(s.settings(config)) for name, s in stages_to(stage, config).items()}
  text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
  # As deep as a trial's folder: settings keep paths relative to the folder.
  folder = sweep / SHARED / f"{stage.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
  _adopt(before, folder)
  # The trials send what a tracker shows of a shared stage.
  untracked = config if config.track == "tensorboard" else dataclasses.replace(config, track="none")
  return run_to(stage.name, untracked, folder, Manner(wait=True))


def _adopt(chain: Chain, run: epath.Path) -> None:
  """Copies generations into a run, under the same name; those that are there stay."""
  for generation in chain.values():
    goal = Path(run) / GENERATIONS / generation.folder.name
    if goal.exists():
      continue
    goal.parent.mkdir(parents=True, exist_ok=True)
    draft = goal.with_name(f".{goal.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(generation.folder, draft, copy_function=_link)
    os.replace(draft, goal)


def _link(source: str, goal: str) -> None:
  """A hard link, for nothing changes a finished file in place; a copy where there are no links."""
  try:
    os.link(source, goal)
  except OSError:
    shutil.copy2(source, goal)
