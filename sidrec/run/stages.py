"""All stages of a run, in the order that data flows through them."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from sidrec.core.atomic import write_whole_text
from sidrec.core.settings import to_dict
from sidrec.parallel.hosts import from_primary
from sidrec.run import stage as stage_lib
from sidrec.run.evaluate import EVALUATE
from sidrec.run.prepare import PREPARE
from sidrec.run.sasrec import SASREC
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.train import TRAIN

STAGES = {stage.name: stage for stage in (PREPARE, TOKENIZE, TRAIN, SASREC, EVALUATE)}


def run_to(last: str, config: RunConfig | ConfigDict, workdir: Path | str) -> str:
  """Runs the stages that `last` builds on, and `last`; what is done and unchanged is kept.

  Args:
    last: a name in STAGES.
    config: the settings of the run.
    workdir: its folder, made if it is not there.

  Returns:
    The fingerprint of the last stage.

  Raises:
    ValueError, FileNotFoundError: as `stage.run` does.
  """
  workdir, settings = Path(workdir), run_config(config)

  def write_config() -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_dict(settings), indent=2, ensure_ascii=False)
    write_whole_text(workdir / "config.json", text + "\n")

  from_primary(write_config)
  return stage_lib.run(STAGES[last], settings, workdir)
