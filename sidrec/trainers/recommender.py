"""The loss of the recommender: the negative log-likelihood of every next item."""

from typing import cast

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.models.inputs import example_events
from sidrec.training.task import Task


def recommender_task(model: SemanticIDModel, trie: Trie, item_loss: float = 1.0) -> Task:
  """Maximum likelihood of the targets; the loss is nats per item.

  Batches come from `packed_batches` in the dense setting, from `sliding_batches`
  in the tiger setting.

  Args:
    model: the recommender.
    trie: the catalogue.
    item_loss: weight of the item head's loss, added to the semantic ID's.
  """
  path_NxLp1 = trie_lib.paths(trie)
  dense, joint = model.config.setting == "dense", model.config.item_head

  def init(key):
    history_1xS = jnp.zeros((1, model.config.input_length), jnp.int32)
    target = history_1xS if dense else history_1xS[:, :1]
    method = "joint_log_likelihood" if joint else "log_likelihood"
    events = example_events(history_1xS, model.config)
    return model.init(key, events, target, trie, path_NxLp1, method=method)["params"], ()

  def loss(params, aux, batch, key):
    target_BxQ = batch["target_BxS"] if dense else batch["target_Bx1"]
    logp = model.apply(
      {"params": params},
      Events.in_batch(batch),
      target_BxQ,
      trie,
      path_NxLp1,
      batch.get("segment_BxS"),
      train=True,
      rngs={"dropout": key, "negatives": jax.random.fold_in(key, 1)},
      method="joint_log_likelihood" if joint else "log_likelihood",
    )
    logp_BxQxL, item_logp_BxQ = cast(tuple, logp if joint else (logp, None))
    real_BxQ = target_BxQ != NO_ITEM
    count = jnp.maximum(real_BxQ.sum(), 1)
    logp_L = jnp.where(real_BxQ[..., None], logp_BxQxL, 0.0).sum(axis=(0, 1)) / count
    parts = {f"loss_level_{level}": -logp for level, logp in enumerate(logp_L)}
    total = -logp_L.sum()
    if joint:
      parts["loss_item"] = -item_logp_BxQ.sum() / count
      total = total + item_loss * parts["loss_item"]
    return total, (aux, parts)

  name = "target_BxS" if dense else "target_Bx1"
  first = model.config.input_length - model.config.history_length  # after a user's token
  return Task(
    init,
    loss,
    weight=lambda batch: (batch[name] != NO_ITEM).sum(),
    tokens=lambda batch: (batch["history_BxS"][:, first:] != NO_ITEM).sum(),
  )
