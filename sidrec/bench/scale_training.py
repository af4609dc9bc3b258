"""The recommender's training at the sizes of the configs, on random histories: what is scaled."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from sidrec.bench.decoding_model import random_codes
from sidrec.catalogue.trie.trie import build_trie
from sidrec.data.batches import BatchAt, packed_batches
from sidrec.data.dataset import Histories
from sidrec.models.recommender import make_model
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.trainers.recommender import recommender_task
from sidrec.training.optimizer import adamw
from sidrec.training.task import Task


class Size(NamedTuple):
  """A catalogue, its users, and what the model differs in from the defaults."""

  items: int
  codes: int  # V of each of 3 levels
  batch: int  # rows of a step
  mean_length: int  # of a history
  model: dict[str, Any]


SIZES = {
  "demo": Size(2414, 128, 32, 23, {"history_length": 50, "encoder_dropout": 0.4}),
  "ml1m": Size(
    3706, 256, 16, 165, {"history_length": 200, "item_head": True, "item_negatives": 512}
  ),
  "tiny": Size(
    60,
    8,
    8,
    6,
    {
      "history_length": 8,
      "width": 16,
      "heads": 1,
      "head_width": 16,
      "hidden": 16,
      "encoder_layers": 1,
    },
  ),
}
USERS = 2000


class Training(NamedTuple):
  """What is trained, how, and on what."""

  task: Task
  optimizer: optax.GradientTransformation
  # (rows of a step, this process's share, number of shares) → step → its part of the batch.
  batches: Callable[[int, int, int], BatchAt]


def make_training(size: Size) -> Training:
  """The training of a size; the same in every process."""
  trie = build_trie(random_codes(size.items, 3, size.codes), codebook_size=size.codes)
  config = RecommenderConfig(**size.model)
  model = make_model(config, CatalogueSizes.of(trie, size.codes))
  histories = random_histories(size)
  batches = functools.partial(_batches, histories, config.history_length)
  task = recommender_task(model, trie)
  return Training(task, adamw(2e-3, 200, 3000, 0.05, 1.0), batches)


def random_histories(size: Size) -> Histories:
  """Users with at least 3 random items each, and geometrically distributed lengths."""
  rng = np.random.default_rng(0)
  length_U = 2 + rng.geometric(1 / (size.mean_length - 2), USERS)
  total = int(length_U.sum())
  return Histories(
    offsets_Up1=np.concatenate([[0], np.cumsum(length_U)]),
    item_T=rng.integers(0, size.items, total).astype(np.int32),
    time_T=np.arange(total),
    rating_T=np.full(total, np.nan, np.float32),
    user_ids_U=np.arange(USERS),
  )


def abstract_key() -> Any:
  """The shape of a random key."""
  return jax.eval_shape(lambda: jax.random.key(0))


def _batches(
  histories: Histories, history_length: int, rows: int, share: int, shares: int
) -> BatchAt:
  return packed_batches(histories, history_length, rows, 0, share, shares)
