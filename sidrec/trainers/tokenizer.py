"""Training an RQ-VAE, the one tokenizer that is trained with the engine."""

import functools

import jax
import numpy as np
from etils import epath

from sidrec.data.batches import shuffled
from sidrec.parallel import mesh as mesh_lib
from sidrec.tokenizers.base import Array, Params
from sidrec.tokenizers.registry import spare_mesh
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
  model_devices: int = 1,
) -> Params:
  """Trains an RQ-VAE; keeps the parameters with the least reconstruction error plus collisions.

  Args:
    config: its shape and how it learns.
    task: of `rqvae_task`.
    key: of the start.
    vectors_NxF: the catalogue.
    seed: of the batches.
    workdir: takes checkpoints and logs.
    model_devices: devices that codebooks are spread over, `config.mesh.model`.
  """
  mesh = mesh_lib.make_mesh(model=model_devices)
  mesh_lib.check_batch_size(mesh, config.batch_size)
  items_NxF = np.asarray(vectors_NxF, np.float32)
  indices_at = shuffled(len(items_NxF), config.batch_size, seed, *mesh_lib.batch_share(mesh))
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
    lambda params: selection_score(config, params, items_NxF, spare_mesh()),
    LoopConfig(
      steps=config.steps,
      steps_per_call=config.steps_per_call,
      validate_every=config.validate_every,
      metric="score",
      maximise=False,
    ),
    key,
    mesh,
    Records(
      workdir / "tokenizer" / "checkpoints",
      functools.partial(make_logger, workdir, "tokenizer", config.steps),
    ),
  )
