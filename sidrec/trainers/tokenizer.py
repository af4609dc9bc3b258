"""Training an RQ-VAE, the one tokenizer that is trained with the engine."""

import functools

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from sidrec.data.batches import shuffled
from sidrec.parallel import mesh as mesh_lib
from sidrec.tokenizers.base import Array, Params
from sidrec.tokenizers.rqvae.rqvae import selection_score
from sidrec.tokenizers.settings import RQVAEConfig
from sidrec.training.logging import make_logger
from sidrec.training.loop import LoopConfig, Records, train
from sidrec.training.optimizer import adamw
from sidrec.training.task import Task


def train_rqvae(
  config: RQVAEConfig,
  task: Task,
  key: jax.Array,
  vectors_NxF: Array,
  *,
  seed: int,
  workdir: epath.Path,
  mesh: Mesh | None = None,
) -> Params:
  """Trains an RQ-VAE; keeps the parameters with the least reconstruction error plus collisions.

  Args:
    config: its shape and how it learns.
    task: of `rqvae_task`.
    key: of the start.
    vectors_NxF: the catalogue.
    seed: of the batches.
    workdir: takes checkpoints and logs.
    mesh: devices that share batches, items and codebooks; the parameters then depend on their
      number, by the order of sums. None for one device; each process does the same work then.
  """
  over = mesh_lib.one_device() if mesh is None else mesh
  mesh_lib.check_batch_size(over, config.batch_size)
  items_NxF = np.asarray(vectors_NxF, np.float32)
  indices_at = shuffled(len(items_NxF), config.batch_size, seed, *mesh_lib.batch_share(over))
  return train(
    task,
    adamw(
      config.learning_rate,
      warmup_steps=100,
      steps=config.steps,
      weight_decay=config.weight_decay,
      clip_norm=1.0,
    ),
    lambda step: {"vectors_BxF": items_NxF[indices_at(step)]},
    lambda params: selection_score(config, params, items_NxF, mesh),
    LoopConfig(
      steps=config.steps,
      steps_per_call=config.steps_per_call,
      validate_every=config.validate_every,
      metric="score",
      maximise=False,
    ),
    key,
    over,
    Records(
      workdir / "tokenizer" / "checkpoints",
      functools.partial(make_logger, workdir, "tokenizer", config.steps),
    ),
  )
