"""The tokenizer that the config names; an RQ-VAE is trained here, the others fit themselves."""

import difflib
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from sidrec.data.batches import shuffled
from sidrec.parallel import mesh as mesh_lib
from sidrec.tokenizers.base import Array, Params, Tokenizer
from sidrec.tokenizers.category import category
from sidrec.tokenizers.kmeans.hierarchical import hierarchical_kmeans
from sidrec.tokenizers.kmeans.residual import residual_kmeans
from sidrec.tokenizers.lsh import lsh
from sidrec.tokenizers.product_quantization import product_quantization
from sidrec.tokenizers.radix import radix
from sidrec.tokenizers.rqvae.config import RQVAEConfig
from sidrec.tokenizers.rqvae.rqvae import rqvae, selection_score
from sidrec.training.logging import make_logger
from sidrec.training.loop import LoopConfig, Records, train
from sidrec.training.optimizer import adamw
from sidrec.training.task import Task

Make = Callable[[ConfigDict, int, int, Path], Tokenizer]  # (config, levels, seed, workdir)


def make_tokenizer(config: ConfigDict, seed: int, workdir: Path) -> Tokenizer:
  """The tokenizer that the config names.

  Args:
    config: the `tokenizer` settings.
    seed: of the batches of a training.
    workdir: takes checkpoints and logs of a training.

  Raises:
    ValueError: for an unknown name, or settings that make no sense.
  """
  return _makers(config.name)(config, config.num_levels, seed, workdir)


def _makers(name: str) -> Make:
  if name in TOKENIZERS:
    return TOKENIZERS[name]
  nearest = difflib.get_close_matches(name, TOKENIZERS, n=1)
  hint = f"did you mean {nearest[0]!r}? " if nearest else ""
  known = ", ".join((*TOKENIZERS, "file"))
  raise ValueError(f"unknown tokenizer.name {name!r}; {hint}known tokenizers: {known}")


def _category(config: ConfigDict, num_levels: int, seed: int, workdir: Path) -> Tokenizer:
  """The path, and for the levels below it the tokenizer of `category.rest`."""
  path, below = tuple(config.category.path), num_levels - len(config.category.path)
  if below < 0:
    raise ValueError(
      f"tokenizer.num_levels is {num_levels}, less than the {len(path)} levels of "
      f"tokenizer.category.path {path}; give at least as many"
    )
  rest = None
  if below:
    if config.category.rest == "category":
      raise ValueError("tokenizer.category.rest cannot be 'category' again; choose another one")
    rest = _makers(config.category.rest)(config, below, seed, workdir)
  return category(len(path), config.codebook_size, rest)


def _rqvae(config: ConfigDict, num_levels: int, seed: int, workdir: Path) -> Tokenizer:
  c = config.rqvae
  settings = RQVAEConfig(
    num_levels=num_levels,
    codebook_size=config.codebook_size,
    hidden=tuple(c.hidden),
    latent_dim=c.latent_dim,
    commitment=c.commitment,
    codebook_update=c.codebook_update,
    estimator=c.estimator,
    distance=c.distance,
    sinkhorn_levels=c.sinkhorn_levels,
    sinkhorn_epsilon=c.sinkhorn_epsilon,
  )
  return rqvae(
    settings,
    lambda task, key, vectors: train_rqvae(c, settings, task, key, vectors, seed, workdir),
    _mesh(),
  )


def _mesh() -> Mesh | None:
  """All devices, to spread items over; None for a single one, which needs no such programs."""
  return mesh_lib.make_mesh() if jax.device_count() > 1 else None


TOKENIZERS: dict[str, Make] = {
  "rqvae": _rqvae,
  "residual_kmeans": lambda config, num_levels, seed, workdir: residual_kmeans(
    num_levels, config.codebook_size, config.kmeans.iterations, config.kmeans.balance, _mesh()
  ),
  "hierarchical_kmeans": lambda config, num_levels, seed, workdir: hierarchical_kmeans(
    num_levels, config.codebook_size, config.kmeans.iterations, config.kmeans.balance
  ),
  "product_quantization": lambda config, num_levels, seed, workdir: product_quantization(
    num_levels, config.codebook_size, config.kmeans.iterations
  ),
  "lsh": lambda config, num_levels, seed, workdir: lsh(num_levels, config.codebook_size),
  "category": _category,
  "radix": lambda config, num_levels, seed, workdir: radix(num_levels, config.codebook_size),
}


def train_rqvae(
  config: ConfigDict,
  settings: RQVAEConfig,
  task: Task,
  key: jax.Array,
  vectors_NxF: Array,
  seed: int,
  workdir: Path,
) -> Params:
  """Trains an RQ-VAE; keeps the parameters with the least reconstruction error plus collisions."""
  mesh = mesh_lib.make_mesh()
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
    lambda params: selection_score(settings, params, items_NxF, _mesh()),
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
