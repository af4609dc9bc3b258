"""Training SASRec, and its item vectors."""

import functools
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import BatchAt, packed_batches
from sidrec.data.dataset import Histories
from sidrec.data.events import Events
from sidrec.data.prefix_batches import prefix_batches
from sidrec.models.inputs import example_events
from sidrec.models.item_softmax import negatives_of
from sidrec.models.sasrec import SASRec, SASRecSettings
from sidrec.parallel import mesh as mesh_lib
from sidrec.search.exact import make_sasrec_recommend_users
from sidrec.trainers.next_item import NextItem, train_next_item
from sidrec.trainers.settings import SASRecTrainConfig
from sidrec.training.logging import make_logger
from sidrec.training.loop import Records
from sidrec.training.table_rows import LazyTables, distinct
from sidrec.training.task import Task

_VALID_RESULTS = 20

# Batches for each `SASRecTrainConfig.predicts`.
BATCHES: dict[str, Callable[..., BatchAt]] = {"every": packed_batches, "last": prefix_batches}


def check_predicts(model: SASRecSettings, train: SASRecTrainConfig, section: str) -> None:
  """Raises ValueError for settings with which positions would see their targets."""
  if model.one_target and train.predicts != "last":
    raise ValueError(
      f"{section}.train.predicts is {train.predicts!r}, and with filter.ahead or "
      f"counted_from='newest' positions would know what follows; set {section}.train.predicts "
      f"to 'last'"
    )


def check_lazy_adam(model: SASRecSettings, train: SASRecTrainConfig, section: str) -> None:
  """Raises ValueError for settings with which a step needs the whole item table."""
  if train.lazy_adam and not model.negatives:
    raise ValueError(
      f"{section}.train.lazy_adam changes the rows that a batch needs, and a softmax over all "
      f"items needs all of them; set {section}.model.negatives, or lazy_adam to False"
    )


def sasrec_task(model: SASRec, lazy_adam: bool = False) -> Task:
  """Maximum likelihood of the targets of `packed_batches` or `prefix_batches`: nats per item.

  Args:
    model: SASRec.
    lazy_adam: whether a step gets, and changes, only the rows of the item table that its batch
      needs; for models with sampled negatives.
  """
  c = model.config

  def init(key):
    history_1xS = jnp.zeros((1, c.history_length), jnp.int32)
    events = example_events(history_1xS, c)
    return model.init(key, events, method="states")["params"], ()

  def loss(params, aux, batch, key):
    dropout_key, negatives_key = jax.random.split(key)
    target_BxQ = _targets(batch)
    logp_BxQ = cast(
      jax.Array,
      model.apply(
        {"params": params},
        Events.in_batch(batch),
        target_BxQ,
        batch["segment_BxS"],
        batch.get("at_BxQ"),
        train=True,
        rngs={"dropout": dropout_key, "negatives": negatives_key},
        method="log_likelihood",
      ),
    )
    count = jnp.maximum((target_BxQ != NO_ITEM).sum(), 1)
    return -logp_BxQ.sum() / count, (aux, {})

  def rows_of(batch, key):
    _, negatives_key = jax.random.split(key)
    negative_X = negatives_of(negatives_key, c.num_items, c.negatives)
    return distinct([batch["history_BxS"], _targets(batch), negative_X], c.num_items)

  tables = ("item", "item_bias") if c.item_bias else ("item",)
  return Task(
    init,
    loss,
    weight=lambda batch: (_targets(batch) != NO_ITEM).sum(),
    tokens=lambda batch: (batch["history_BxS"] != NO_ITEM).sum(),
    lazy=LazyTables(tables, rows_of) if lazy_adam else None,
  )


def _targets(batch):
  """int32 [B, Q]: some of a row's positions, or all."""
  return batch["target_BxQ"] if "target_BxQ" in batch else batch["target_BxS"]


def train_sasrec(
  model: SASRec,
  config: SASRecTrainConfig,
  histories: Histories,
  seed: int,
  workdir: epath.Path,
  name: str = "sasrec",
  make_batches: Callable[..., BatchAt] | None = None,
  users_at_once: int = 0,
  mesh: Mesh | None = None,
) -> dict:
  """Trains SASRec; a run that was stopped continues.

  Gradients depend on the training view alone. Validation targets only choose between the
  states of this one run, by the NDCG@10 of a random sample of users, seen items masked.

  Args:
    model: SASRec.
    config: how to train it.
    histories: complete ones, at least 3 interactions each.
    seed: of parameters, dropout, batches and the sample.
    workdir: takes `<name>/checkpoints` and the logs.
    name: of the folder, and in the logs.
    make_batches: those of BATCHES, perhaps of other users than those in memory; None for those.
    users_at_once: ranked in one batch of the validation; 0 for a size by the devices.
    mesh: devices that share the batches; None for all.

  Returns:
    The best parameters.

  Raises:
    ValueError: if devices or processes cannot share a batch evenly, or positions would see their
      targets.
    TrainingDivergedError: if the loss is not finite.
  """
  check_predicts(model.config, config, name)
  check_lazy_adam(model.config, config, name)
  mesh = mesh or mesh_lib.make_mesh()
  make_batches = make_batches or BATCHES[config.predicts]
  what = NextItem(
    sasrec_task(model, config.lazy_adam),
    functools.partial(make_batches, inputs=model.config.inputs),
    make_sasrec_recommend_users(model, _VALID_RESULTS, users_at_once, mesh),
    model.config.history_length,
    model.config.num_items,
    _VALID_RESULTS,
  )
  make = functools.partial(make_logger, workdir, name, config.steps)
  records = Records(workdir / name / "checkpoints", make)
  return train_next_item(what, config, histories, seed, mesh, records)


def item_embeddings(params: dict) -> np.ndarray:
  """The item table as item vectors: vectors_NxD float32.

  The vector of an item without a training interaction says only that the item never
  came next; its content has to place it.
  """
  return np.asarray(params["item"], np.float32)
