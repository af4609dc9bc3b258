"""The loss of the recommender: the negative log-likelihood of every next item."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.models.inputs import example_events
from sidrec.models.item_softmax import negatives_of
from sidrec.models.settings import RecommenderConfig
from sidrec.models.unseen import hide
from sidrec.trainers.settings import TrainConfig
from sidrec.training.table_rows import LazyTables, distinct
from sidrec.training.task import Task


def likelihood_method(config: RecommenderConfig) -> str:
  """The method of a model that trains all its parameters."""
  if config.repeats:
    return "mixed_log_likelihood"
  return "joint_log_likelihood" if config.item_head else "log_likelihood"


def _parts(method: str, found: Any) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
  """log p of the levels, of the choice between old and new, and of the item head."""
  if method == "mixed_log_likelihood":
    return found
  levels, item = found if method == "joint_log_likelihood" else (found, None)
  return levels, None, item


def check_lazy_adam(model: RecommenderConfig, train: TrainConfig) -> None:
  """Raises ValueError for settings with which a step needs whole tables by item, or none."""
  if not train.lazy_adam:
    return
  if model.setting != "dense" or not model.item_embedding:
    raise ValueError(
      "train.lazy_adam is for the item table of model.setting 'dense'; set it to False, or these "
      "two and model.item_embedding"
    )
  if model.unseen or (model.item_head and not model.item_negatives):
    name, value = ("unseen", 0) if model.unseen else ("item_negatives", "some items")
    raise ValueError(
      "train.lazy_adam changes the rows that a batch needs, and this model needs all of them; set "
      f"model.{name} to {value}, or lazy_adam to False"
    )


def recommender_task(
  model: SemanticIDModel, trie: Trie, item_loss: float = 1.0, lazy_adam: bool = False
) -> Task:
  """Maximum likelihood of the targets; the loss is nats per item.

  With repeats the likelihood of a target is that of the choice, `loss_choice`, and for a new item
  that of its levels.

  Batches come from `packed_batches` in the dense setting, from `sliding_batches` in the tiger
  setting.

  Args:
    model: the recommender.
    trie: the catalogue.
    item_loss: weight of the item head's loss, added to the semantic ID's.
    lazy_adam: whether a step gets, and changes, only the rows of the item table that its batch
      needs; see `check_lazy_adam`.
  """
  reading = functools.partial(_task_reading, model, item_loss, lazy_adam)
  arrays = trie, trie_lib.paths(trie)
  return reading(arrays)._replace(arrays=arrays, reading=reading)


def _task_reading(
  model: SemanticIDModel,
  item_loss: float,
  lazy_adam: bool,
  catalogue: tuple[Trie, jax.Array],
) -> Task:
  """The task for a trie and the paths of its items, traced or not."""
  trie, path_NxLp1 = catalogue
  dense, method = model.causal, likelihood_method(model.config)

  @jax.jit  # whoever asks for its shapes, and then for its values, traces it once
  def init(key):
    history_1xS = jnp.zeros((1, model.config.input_length), jnp.int32)
    target = history_1xS if dense else history_1xS[:, :1]
    events = example_events(history_1xS, model.config)
    return model.init(key, events, target, trie, path_NxLp1, method=method)["params"], ()

  def loss(params, aux, batch, key):
    if share := model.config.unseen:
      params = hide(params, trie, path_NxLp1, share, jax.random.fold_in(key, 2))
    target_BxQ = batch["target_BxS"] if dense else batch["target_Bx1"]
    found = model.apply(
      {"params": params},
      Events.in_batch(batch),
      target_BxQ,
      trie,
      path_NxLp1,
      batch.get("segment_BxS"),
      train=True,
      rngs={"dropout": key, "negatives": _negatives_key(key)},
      method=method,
    )
    logp_BxQxL, choice_BxQ, item_logp_BxQ = _parts(method, found)
    real_BxQ = target_BxQ != NO_ITEM
    count = jnp.maximum(real_BxQ.sum(), 1)
    logp_L = jnp.where(real_BxQ[..., None], logp_BxQxL, 0.0).sum(axis=(0, 1)) / count
    parts = {f"loss_level_{level}": -logp for level, logp in enumerate(logp_L)}
    total = -logp_L.sum()
    if choice_BxQ is not None:
      parts["loss_choice"] = -jnp.where(real_BxQ, choice_BxQ, 0.0).sum() / count
      total = total + parts["loss_choice"]
    if item_logp_BxQ is not None:
      parts["loss_item"] = -item_logp_BxQ.sum() / count
      total = total + item_loss * parts["loss_item"]
    return total, (aux, parts)

  def rows_of(batch, key):
    c, rows = model.config, [batch["history_BxS"]]
    if c.item_head:
      num_items = model.sizes.num_items
      rows += [batch["target_BxS"], negatives_of(_negatives_key(key), num_items, c.item_negatives)]
    return distinct(rows, model.sizes.num_items)

  tables = ("item", "item_bias") if model.config.item_head else ("item",)
  name = "target_BxS" if dense else "target_Bx1"
  first = model.config.input_length - model.config.history_length  # after a user's token
  return Task(
    init,
    loss,
    weight=lambda batch: (batch[name] != NO_ITEM).sum(),
    tokens=lambda batch: (batch["history_BxS"][:, first:] != NO_ITEM).sum(),
    lazy=LazyTables(tables, rows_of) if lazy_adam else None,
  )


def _negatives_key(key: jax.Array) -> jax.Array:
  return jax.random.fold_in(key, 1)
