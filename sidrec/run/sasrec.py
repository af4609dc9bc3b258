"""Stages 4 and 5, if wanted: dataset.npz → the parameters of SASRec and BSARec.

Both are the baselines that are trained, and the same model with other settings.
"""

import functools
from typing import Any

from etils import epath

from sidrec.data.events import check_inputs
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.run.generations import Chain
from sidrec.run.prepare import PREPARE, load_prepared
from sidrec.run.settings import BSARecRunConfig, RunConfig, SASRecRunConfig
from sidrec.run.stage import Stage
from sidrec.run.train import deciding, training_users
from sidrec.trainers import sasrec as trainer
from sidrec.training.checkpoint import check_can_save, save_params


def train_sasrec(name: str, config: RunConfig, folder: epath.Path, before: Chain) -> None:
  """Trains the model of the section `name` and writes its parameters."""
  check_can_save(folder)
  if config.mesh.model > 1:
    print(f"{name}: every device holds it whole; mesh.model spreads the recommender alone")
  dataset, c = load_prepared(before), _section(config, name)
  check_inputs(c.model.inputs, dataset, f"config.{name}.model.inputs")
  trainer.check_predicts(c.model, c.train, f"config.{name}")
  trainer.check_lazy_adam(c.model, c.train, f"config.{name}")
  params = trainer.train_sasrec(
    make_sasrec(config, dataset.items.num_items, name),
    c.train,
    dataset.histories,
    config.seed,
    folder,
    name,
    training_users(config, trainer.BATCHES[c.train.predicts]),
    config.search.batch_size,
  )
  save_params(folder / name / "params", params)


def make_sasrec(config: RunConfig, num_items: int, name: str = "sasrec") -> SASRec:
  """The SASRec that the recommender is compared with, or 'bsarec'."""
  return SASRec(SASRecConfig(num_items=num_items, **vars(_section(config, name).model)))


def _section(config: RunConfig, name: str) -> SASRecRunConfig | BSARecRunConfig:
  return config.bsarec if name == "bsarec" else config.sasrec


def _settings(name: str, config: RunConfig) -> dict[str, Any]:
  c = _section(config, name)
  return {"seed": config.seed, name: {"model": deciding(c.model), "train": deciding(c.train)}}


def _stage(name: str) -> Stage:
  return Stage(
    name,
    after=lambda config: (PREPARE,),
    settings=functools.partial(_settings, name),
    outputs=lambda config: (name,),
    build=functools.partial(train_sasrec, name),
  )


SASREC, BSAREC = _stage("sasrec"), _stage("bsarec")


def trained_baselines(config: RunConfig) -> tuple[Stage, ...]:
  """The stages of those that the settings enable."""
  return tuple(stage for stage in (SASREC, BSAREC) if _section(config, stage.name).enabled)
