"""Training a model that recommends the next item: what the recommender and SASRec share.

Letters: S history length, N items, K results.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sidrec.data.dataset import Histories, held_out_view, training_view
from sidrec.data.seen import seen_items
from sidrec.evaluation.evaluate import evaluate_users
from sidrec.parallel import mesh as mesh_lib
from sidrec.search.batched import RecommendUsers
from sidrec.training.logging import Logger
from sidrec.training.loop import LoopConfig, train
from sidrec.training.optimizer import adamw
from sidrec.training.profile import Trace
from sidrec.training.task import Task


def train_next_item(
  task: Task,
  make_batches: Callable[..., Callable[[int], Any]],
  recommend_users: RecommendUsers,
  config: Any,
  histories: Histories,
  history_length: int,
  num_items: int,
  num_results: int,
  seed: int,
  mesh: jax.sharding.Mesh,
  directory: Path,
  make_logger: Callable[[int], Logger],
  trace: Trace | None = None,
) -> dict:
  """Trains on the training view; keeps the parameters with the best validation NDCG@10.

  Validation asks for the last but one item of a random sample of users, seen items masked.

  Args:
    task: what to train.
    make_batches: `packed_batches` or `sliding_batches`, as the task wants.
    recommend_users: ranks items for the validation.
    config: the settings named as in `config.train`.
    histories: complete ones, at least 3 interactions each.
    history_length: S.
    num_items: N.
    num_results: K, results of each list that count in the validation.
    seed: of parameters, dropout, batches and the sample.
    mesh: the devices.
    directory: takes the checkpoints.
    make_logger: start step → logger.
    trace: as in `train`.

  Returns:
    The best parameters.

  Raises:
    ValueError: if devices or processes cannot share a batch evenly.
    TrainingDivergedError: if the loss is not finite.
  """
  mesh_lib.check_batch_size(mesh, config.batch_size, config.accumulate)
  batch_at = make_batches(
    training_view(histories),
    history_length,
    config.batch_size,
    seed,
    *mesh_lib.batch_share(mesh),
  )
  held_out = held_out_view(histories, "valid")
  seen = seen_items(held_out.histories)
  order_U = np.random.default_rng(seed).permutation(histories.num_users)
  sample_R = order_U[: config.valid_users]
  return train(
    task,
    adamw(
      config.learning_rate,
      config.warmup_steps,
      config.steps,
      config.weight_decay,
      config.clip_norm,
      config.schedule,
    ),
    batch_at,
    lambda params: evaluate_users(
      recommend_users, params, held_out, sample_R, num_items, num_results, seen
    ),
    LoopConfig(
      steps=config.steps,
      steps_per_call=config.steps_per_call,
      validate_every=config.validate_every,
      metric="ndcg@10",
      patience=config.patience,
      average_decay=config.average_decay,
      accumulate=config.accumulate,
    ),
    jax.random.key(seed),
    mesh,
    directory,
    make_logger,
    trace,
  )
