"""Item vectors → semantic IDs, by the tokenizer that the config names."""

import difflib
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sidrec.data.batches import shuffled
from sidrec.tokenizers import quality
from sidrec.tokenizers.base import Array, Params, Tokenizer
from sidrec.tokenizers.collisions import add_extra_digit
from sidrec.tokenizers.radix import radix
from sidrec.tokenizers.rqvae import RQVAEConfig, rqvae, selection_score
from sidrec.training import mesh as mesh_lib
from sidrec.training.checkpoint import save_params
from sidrec.training.log import make_logger
from sidrec.training.loop import LoopConfig, train
from sidrec.training.optimizer import adamw
from sidrec.training.state import Task

TOKENIZERS = ("radix", "rqvae")


def make_codes(
  config: ConfigDict, vectors_NxF: np.ndarray, seed: int, workdir: Path
) -> tuple[np.ndarray, dict[str, Any]]:
  """Fits the tokenizer, encodes every item and makes the IDs unique.

  Args:
    config: the `tokenizer` settings.
    vectors_NxF: float32, one row per item.
    seed: of the fit.
    workdir: takes `tokenizer/` (the parameters) and the logs.

  Returns:
    codes int32 [N, L'] without repeats (L' > L where a digit was added), and the
    quality report of the codes before that.

  Raises:
    ValueError: for an unknown tokenizer, or vectors that it cannot encode.
  """
  tokenizer = make_tokenizer(config, seed, workdir)
  params = tokenizer.fit(jax.random.key(seed), vectors_NxF)
  (workdir / "tokenizer").mkdir(exist_ok=True)
  if jax.tree.leaves(params):  # Orbax refuses a tree without arrays
    save_params(workdir / "tokenizer" / "params", params)
  codes_NxL = np.asarray(tokenizer.encode(params, vectors_NxF))
  decoded = None if tokenizer.decode is None else np.asarray(tokenizer.decode(params, codes_NxL))
  measured = quality.report(codes_NxL, tokenizer.codebook_size, vectors_NxF, decoded)
  if config.name == "radix":  # unique by construction
    return codes_NxL, measured
  return add_extra_digit(codes_NxL, tokenizer.codebook_size), measured


def make_tokenizer(config: ConfigDict, seed: int, workdir: Path) -> Tokenizer:
  """The tokenizer that the config names."""
  if config.name == "radix":
    return radix(config.num_levels, config.codebook_size)
  if config.name == "rqvae":
    c = config.rqvae
    settings = RQVAEConfig(
      num_levels=config.num_levels,
      codebook_size=config.codebook_size,
      hidden=tuple(c.hidden),
      latent_dim=c.latent_dim,
      commitment=c.commitment,
    )
    return rqvae(
      settings,
      lambda task, key, vectors: train_rqvae(c, settings, task, key, vectors, seed, workdir),
    )
  nearest = difflib.get_close_matches(config.name, TOKENIZERS, n=1)
  hint = f"did you mean {nearest[0]!r}? " if nearest else ""
  raise ValueError(
    f"unknown tokenizer.name {config.name!r}; {hint}known tokenizers: {', '.join(TOKENIZERS)}"
  )


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
  indices_at = shuffled(
    len(items_NxF), config.batch_size, seed, jax.process_index(), jax.process_count()
  )
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
    lambda params: selection_score(settings, params, items_NxF),
    LoopConfig(
      steps=config.steps,
      steps_per_call=config.steps_per_call,
      validate_every=config.validate_every,
      metric="score",
      maximise=False,
    ),
    key,
    mesh,
    workdir / "tokenizer" / "checkpoints",
    functools.partial(
      make_logger, workdir, "tokenizer", config.steps, lead=jax.process_index() == 0
    ),
  )
