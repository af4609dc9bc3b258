"""Training a model of the next item: what the recommender and SASRec have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.data.dataset import HeldOut, Histories, held_out_view, training_view
from sidrec.data.seen import seen_items
from sidrec.data.spread import spread
from sidrec.evaluation.evaluate import evaluate_users
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hosts import is_primary
from sidrec.search.batched import RecommendUsers
from sidrec.trainers.settings import TrainConfig
from sidrec.training.loop import LoopConfig, Records, start_from, train
from sidrec.training.optimizer import adamw
from sidrec.training.task import Task


class NextItem(NamedTuple):
  """What is trained: a task, the batches it wants, and how its model ranks items."""

  task: Task
  make_batches: Callable[..., Callable[[int], Any]]  # such as `packed_batches`
  recommend_users: RecommendUsers  # for the validation
  history_length: int  # S
  num_items: int  # N
  num_results: int  # of each list, that count in the validation
  masks_seen: bool = True  # whether the validation leaves seen items out of its lists


def train_next_item(
  what: NextItem,
  config: TrainConfig,
  histories: Histories,
  seed: int,
  mesh: jax.sharding.Mesh,
  records: Records,
  start: dict | None = None,
) -> dict:
  """Trains on the training view; keeps the parameters with the best validation NDCG@10.

  Validation predicts the second to last item, or target, of a random sample of users; seen items
  are masked unless the model is to rank them.

  Args:
    what: the model.
    config: how to train it.
    histories: complete ones, at least 3 interactions each.
    seed: of parameters, dropout, batches and the sample.
    mesh: the devices.
    records: where to write checkpoints and logs.
    start: parameters to go on from; they are kept if training makes none that are better. None
      for random ones.

  Returns:
    The best parameters.

  Raises:
    ValueError: for a batch of nothing, or devices that processes do not share evenly.
    TrainingDivergedError: if the loss is not finite.
  """
  view, size = training_view(histories), config.batch_size
  rows = mesh_lib.rows_for(mesh, size, config.accumulate)
  if rows > size and is_primary():
    print(
      f"{rows - size} of {rows} rows of a batch are empty, for devices to share it evenly; "
      f"a batch size of {rows} would take as long"
    )
  batch_at = spread(
    lambda size, *process: what.make_batches(view, what.history_length, size, seed, *process),
    size,
    rows,
    *mesh_lib.batch_share(mesh),
  )
  optimizer = adamw(
    config.learning_rate,
    config.warmup_steps,
    config.steps,
    config.weight_decay,
    config.clip_norm,
    config.schedule,
  )
  loop = LoopConfig(
    steps=config.steps,
    steps_per_call=config.steps_per_call,
    validate_every=config.validate_every,
    metric="ndcg@10",
    patience=config.patience,
    average_decay=config.average_decay,
    accumulate=config.accumulate,
  )
  validate, key = _validation(what, histories, config.valid_users, seed), jax.random.key(seed)
  if start is not None:
    start_from(start, what.task, optimizer, validate, loop, key, mesh, records.directory)
  return train(what.task, optimizer, batch_at, validate, loop, key, mesh, records)


def validation_users(task: HeldOut, count: int, seed: int) -> np.ndarray:
  """The users of validation by whom parameters and weights are chosen, drawn evenly: int64 [R]."""
  return np.random.default_rng(seed).permutation(task.histories.num_users)[:count]


def _validation(
  what: NextItem, histories: Histories, num_users: int, seed: int
) -> Callable[[dict], dict[str, float]]:
  """params → metrics of a random sample of users."""
  held_out = held_out_view(histories, "valid")
  seen = seen_items(held_out.histories) if what.masks_seen else None
  sample_R = validation_users(held_out, num_users, seed)

  def validate(params: dict) -> dict[str, float]:
    return evaluate_users(
      what.recommend_users, params, held_out, sample_R, what.num_items, what.num_results, seen
    )

  return validate
