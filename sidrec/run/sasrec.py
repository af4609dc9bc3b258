"""Stage 4, if wanted: dataset.npz → the parameters of SASRec, the baseline that is trained."""

from typing import Any

from etils import epath

from sidrec.data.batches import packed_batches
from sidrec.data.events import check_inputs
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.run.generations import Chain
from sidrec.run.prepare import PREPARE, load_prepared
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Stage
from sidrec.run.train import deciding, training_users
from sidrec.trainers import sasrec as trainer
from sidrec.training.checkpoint import check_can_save, save_params


def train_sasrec(config: RunConfig, folder: epath.Path, before: Chain) -> None:
  """Trains SASRec and writes its parameters."""
  check_can_save(folder)
  if config.mesh.model > 1:
    print("sasrec: every device holds SASRec whole; mesh.model spreads the recommender alone")
  dataset = load_prepared(before)
  check_inputs(config.sasrec.model.inputs, dataset, "config.sasrec.model.inputs")
  params = trainer.train_sasrec(
    make_sasrec(config, dataset.items.num_items),
    config.sasrec.train,
    dataset.histories,
    config.seed,
    folder,
    make_batches=training_users(config, packed_batches),
    users_at_once=config.search.batch_size,
  )
  save_params(folder / "sasrec" / "params", params)


def make_sasrec(config: RunConfig, num_items: int) -> SASRec:
  """The SASRec that the recommender is compared with."""
  return SASRec(SASRecConfig(num_items=num_items, **vars(config.sasrec.model)))


def _settings(config: RunConfig) -> dict[str, Any]:
  c = config.sasrec
  return {"seed": config.seed, "sasrec": {"model": deciding(c.model), "train": deciding(c.train)}}


SASREC = Stage(
  "sasrec",
  after=lambda config: (PREPARE,),
  settings=_settings,
  outputs=lambda config: ("sasrec",),
  build=train_sasrec,
)
