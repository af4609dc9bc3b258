"""All stages of a run, in the order that data flows through them."""

from typing import Any

from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.core.tables import aligned_table
from sidrec.run import stage as stage_lib
from sidrec.run.evaluate import EVALUATE
from sidrec.run.generations import Chain, generations
from sidrec.run.prepare import PREPARE
from sidrec.run.record import as_json
from sidrec.run.sasrec import BSAREC, SASREC
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.track import tracked
from sidrec.run.train import TRAIN

STAGES = {stage.name: stage for stage in (PREPARE, TOKENIZE, TRAIN, SASREC, BSAREC, EVALUATE)}


def run_to(
  last: str,
  config: RunConfig | ConfigDict,
  workdir: PathLike,
  manner: stage_lib.Manner = stage_lib.AS_NEEDED,
) -> Chain:
  """Runs the stages that `last` builds on, and `last`; what is done and unchanged is kept.

  Args:
    last: a name in STAGES.
    config: the settings of the run.
    workdir: its folder, made if it is not there.
    manner: what to do again, and whether to wait for another process.

  Returns:
    The generations of these stages, by name.

  Raises:
    ValueError, FileNotFoundError, BlockingIOError: as `stage.run` does.
    ImportError, OSError: if the tracker of `config.track` cannot be used.
  """
  config, workdir = run_config(config), as_path(workdir)
  if last == PREPARE.name:
    return stage_lib.run(PREPARE, config, workdir, manner)
  with tracked(config, workdir, lambda: deciding_settings(config)) as finish:
    chain = stage_lib.run(STAGES[last], config, workdir, manner)
    finish(chain)
  return chain


def deciding_settings(config: RunConfig) -> dict[str, Any]:
  """Stage → the settings that its output depends on; JSON-able."""
  return {
    name: as_json(stage.settings(config))
    for name, stage in stage_lib.stages_to(EVALUATE, config).items()
  }


def status_text(config: RunConfig | ConfigDict, workdir: PathLike) -> str:
  """A table of the stages of a run: what is done, and what would be done again and why.

  What the last update decided follows, if there was one.
  """
  rows = stage_lib.status(EVALUATE, run_config(config), as_path(workdir))
  table = aligned_table([("stage", "newest", "state"), *rows])
  updates = [g for g in generations(as_path(workdir), "update") if g.is_finished]
  if not updates:
    return table
  said = updates[-1].file("update.txt").read_bytes().decode().partition("\n")[0]
  return f"{table}\n\nlast {said} ({updates[-1].record.finished})"
