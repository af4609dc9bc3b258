"""What the recommender learns from: the likelihood of every next item."""

from typing import cast

import jax
import jax.numpy as jnp

from sidrec.data.batches import NO_ITEM
from sidrec.decoding import trie as trie_lib
from sidrec.decoding.trie import Trie
from sidrec.models.seq2seq import Seq2Seq
from sidrec.training.state import Task


def split_windows(item_BxS1: jax.Array, setting: str) -> tuple[jax.Array, jax.Array, jax.Array]:
  """History, targets and which targets count, of windows of S + 1 items.

  Returns:
    history [B, S], target [B, Q], counts [B, Q] (bool): Q = S in the dense
    setting, where target q follows history item q; Q = 1 in the tiger setting,
    where the window's newest item is the target.
  """
  history_BxS = item_BxS1[:, :-1]
  if setting == "dense":
    target_BxS = item_BxS1[:, 1:]
    return history_BxS, target_BxS, target_BxS != NO_ITEM
  last_Bx1 = (item_BxS1 != NO_ITEM).sum(axis=1, keepdims=True) - 1
  target_Bx1 = jnp.take_along_axis(item_BxS1, jnp.maximum(last_Bx1, 0), axis=1)
  before_BxS = jnp.arange(history_BxS.shape[1])[None] < last_Bx1
  return jnp.where(before_BxS, history_BxS, NO_ITEM), target_Bx1, last_Bx1 > 0


def recommender_task(model: Seq2Seq, trie: Trie) -> Task:
  """Maximum likelihood of the targets of {"item_BxS1"} windows; the loss is nats per item."""
  path_NxL1 = trie_lib.paths(trie)
  setting, length = model.config.setting, model.config.history_length

  def init(key):
    window_1xS1 = jnp.zeros((1, length + 1), jnp.int32)
    history, target, _ = split_windows(window_1xS1, setting)
    variables = model.init(key, history, target, trie, path_NxL1, method="log_likelihood")
    return variables["params"], ()

  def loss(params, aux, batch, key):
    history, target_BxQ, counts_BxQ = split_windows(batch["item_BxS1"], setting)
    logp_BxQxL = cast(
      jax.Array,
      model.apply(
        {"params": params},
        *(history, target_BxQ, trie, path_NxL1),
        train=True,
        rngs={"dropout": key},
        method="log_likelihood",
      ),
    )
    logp_L = jnp.where(counts_BxQ[..., None], logp_BxQxL, 0.0).sum(axis=(0, 1))
    logp_L = logp_L / jnp.maximum(counts_BxQ.sum(), 1)
    levels = {f"loss_level_{level}": -logp for level, logp in enumerate(logp_L)}
    return -logp_L.sum(), (aux, levels)

  return Task(init, loss)
