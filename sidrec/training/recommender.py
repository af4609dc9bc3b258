"""What the recommender learns from: the likelihood of every next item."""

from typing import cast

import jax
import jax.numpy as jnp

from sidrec.data.batches import NO_ITEM
from sidrec.decoding import trie as trie_lib
from sidrec.decoding.trie import Trie
from sidrec.models.seq2seq import Seq2Seq
from sidrec.training.state import Task


def recommender_task(model: Seq2Seq, trie: Trie) -> Task:
  """Maximum likelihood of the targets; the loss is nats per item.

  Batches come from `packed_batches` in the dense setting, from `sliding_batches`
  in the tiger setting.
  """
  path_NxL1 = trie_lib.paths(trie)
  dense = model.config.setting == "dense"

  def init(key):
    history_1xS = jnp.zeros((1, model.config.history_length), jnp.int32)
    target = history_1xS if dense else history_1xS[:, :1]
    return model.init(key, history_1xS, target, trie, path_NxL1, method="log_likelihood")[
      "params"
    ], ()

  def loss(params, aux, batch, key):
    target_BxQ = batch["target_BxS"] if dense else batch["target_Bx1"]
    logp_BxQxL = cast(
      jax.Array,
      model.apply(
        {"params": params},
        *(batch["history_BxS"], target_BxQ, trie, path_NxL1, batch.get("segment_BxS")),
        train=True,
        rngs={"dropout": key},
        method="log_likelihood",
      ),
    )
    real_BxQ = target_BxQ != NO_ITEM
    logp_L = jnp.where(real_BxQ[..., None], logp_BxQxL, 0.0).sum(axis=(0, 1))
    logp_L = logp_L / jnp.maximum(real_BxQ.sum(), 1)
    levels = {f"loss_level_{level}": -logp for level, logp in enumerate(logp_L)}
    return -logp_L.sum(), (aux, levels)

  return Task(init, loss)
