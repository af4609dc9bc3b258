"""An update's report: how the updated model compares with others, and what is decided."""

import dataclasses
import json
import time
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sidrec.core.settings import to_dict
from sidrec.data.dataset import Dataset
from sidrec.models.transfer import UNKNOWN
from sidrec.run.generations import Chain, Generation
from sidrec.run.load import recommender_by, recommender_of, trained_of
from sidrec.run.record import Inputs
from sidrec.run.settings import RunConfig
from sidrec.run.stage import run
from sidrec.run.train import TRAIN
from sidrec.update import compare
from sidrec.update.candidates import Candidates
from sidrec.update.drift import measure_drift
from sidrec.update.logs import Growth
from sidrec.update.report import FILES, decide, write_report
from sidrec.update.shapes import in_equal_shapes

FROM_ZERO = "from_zero"  # folder of the run that is compared, while it is made
TRAINED = "trained.json"  # what the update was trained on


class Updated(NamedTuple):
  """An update before it is promoted."""

  chain: Chain
  before: Chain
  new: Dataset
  growth: Growth
  cpu_seconds: dict[str, float]  # part of the work → what it took


class Choices(NamedTuple):
  """What the user decides."""

  force: bool  # promotes a model that is worse, too
  from_zero: bool  # whether a model trained from zero is compared, too


def reported(
  make: Candidates, config: RunConfig, workdir: epath.Path, updated: Updated, choices: Choices
) -> Generation:
  """Compares the updated model with others and decides: the output with the report."""
  settings = {"nightly": to_dict(config.nightly), "search": config.search.what_ranks()}
  inputs = Inputs(
    {**settings, **choices._asdict()},
    {"train": updated.chain["train"].record.identity},
    {},
    {"before": updated.before["train"].record.identity},
  )

  def build(folder: epath.Path) -> None:
    growth, trained_folder = updated.growth, updated.chain["train"]
    trained = json.loads(trained_folder.file(TRAINED).read_bytes())
    seconds = {"training": trained["cpu_seconds"], **updated.cpu_seconds}
    found = _compared(config, workdir, updated, seconds, from_zero=choices.from_zero)
    content = {
      "decision": decide(found, config.nightly, force=choices.force),
      "log": {
        "events": len(growth.new_T),
        "new events": int(growth.new_T.sum()),
        "users": updated.new.histories.num_users,
        "new users": growth.new_users,
        "items": updated.new.items.num_items,
        "new items": int((growth.old_row_N == UNKNOWN).sum()),
        "gone items": growth.gone_items,
      },
      "trained": trained,
      "newest events": found,
      "drift": measure_drift(config, updated.chain, updated.new),
      "cpu_seconds": seconds,
    }
    write_report(folder, content, config.nightly)

  return make.make("update", inputs, FILES, build)


def _compared(
  config: RunConfig,
  workdir: epath.Path,
  updated: Updated,
  seconds: dict[str, float],
  *,
  from_zero: bool,
) -> dict[str, Any]:
  """The updated model, the one before and perhaps one from zero on the newest events."""
  began, results = time.process_time(), config.search.results
  config = dataclasses.replace(config, search=config.search.uncertified)
  task = compare.newest_task(updated.new, updated.growth, config.nightly.users, config.seed)
  of_before = compare.in_rows_of(task.held_out, updated.growth.old_row_N)
  chains = updated.before, updated.chain
  models = in_equal_shapes([trained_of(config, chain) for chain in chains])
  old, made = (
    recommender_by(config, chain, trained._replace(params=compare.placed(config, trained.params)))
    for chain, trained in zip(chains, models, strict=True)
  )
  of_system: dict[str, np.ndarray] = {
    "updated": compare.metric_of(made, task.held_out, results),
    "before": compare.metric_of(old, of_before, results),
  }
  seconds["comparison"] = round(time.process_time() - began, 2)
  if from_zero:
    began = time.process_time()
    folder = workdir / FROM_ZERO
    anew = recommender_of(config, run(TRAIN, config, folder))
    seconds["training from zero"] = round(time.process_time() - began, 2)
    of_system["from zero"] = compare.metric_of(anew, task.held_out, results)
    folder.rmtree()
  known_U = updated.growth.old_row_N[task.held_out.target_U] != UNKNOWN
  return compare.figures(task, known_U, of_system)
