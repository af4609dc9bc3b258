"""Golden numbers of four training steps of each model, from parameters drawn by NumPy.

They pin what the comparison with `tests/numpy_reference.py` does not see: gradients, the optimiser
and its schedule, the moving average, what follows a step. Nothing is drawn by JAX, so that they
hold for every version of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_models import (
  HISTORIES,
  MODELS,
  TARGETS,
  draw_recommender,
  draw_sasrec,
  make_recommender,
  make_sasrec,
  padded,
)

from sidrec.models.frequency import FilterConfig
from sidrec.tokenizers.rqvae.quantizer import Averages
from sidrec.tokenizers.rqvae.task import rqvae_task
from sidrec.tokenizers.settings import RQVAEConfig
from sidrec.trainers.recommender import recommender_task
from sidrec.trainers.sasrec import sasrec_task
from sidrec.training.optimizer import adamw
from sidrec.training.state import TrainState, update

STEPS = 4
NO_DROPOUT = {"encoder_dropout": 0.0, "decoder_dropout": 0.0}

CHANGED = """
{name}: {number} is {found:.7g}, and was {expected:.7g}.

The model, its gradient or its optimiser no longer computes what it did when this number was
written. If you did not mean to change that, something broke. If you did:

  1. Say in the commit what changed and why.
  2. Put the numbers below into GOLDEN[{name!r}] in {file}.
  3. Train and measure again: every results table (docs and docstrings of configs) is out of date.

{all}
"""

GOLDEN = {
  "dense": {
    "loss 1": 9.169033,
    "gradient norm 1": 55.20575,
    "loss 3": 8.127801,
    "gradient norm 3": 14.94902,
    "loss 4": 6.727204,
    "gradient norm 4": 8.049888,
    "item": -0.4442941,
    "node": -0.5454234,
    "encoder_0/attention/query/kernel": 0.2113575,
    "average moved by": 1.558547,
  },
  "tiger": {
    "loss 1": 5.954758,
    "gradient norm 1": 47.63696,
    "loss 3": 3.678608,
    "gradient norm 3": 34.79324,
    "loss 4": 2.86587,
    "gradient norm 4": 17.8897,
    "user": -0.04756714,
    "encoder_bias/bias": 0.0565978,
    "decoder_1/cross_attention/key_value/kernel": 0.03257016,
    "average moved by": 1.67839,
  },
  "sasrec": {
    "loss 1": 3.686413,
    "gradient norm 1": 1.87537,
    "loss 3": 3.607171,
    "gradient norm 3": 1.629963,
    "loss 4": 3.526852,
    "gradient norm 4": 1.074691,
    "item": 0.2437224,
    "position": 0.1184605,
    "blocks_1/feed/up/kernel": 0.3277925,
    "average moved by": 0.9261474,
  },
  "bsarec": {
    "loss 1": 3.759879,
    "gradient norm 1": 2.684382,
    "loss 3": 3.607635,
    "gradient norm 3": 2.423338,
    "loss 4": 3.498035,
    "gradient norm 4": 1.958513,
    "item": -0.3408519,
    "position": 0.07316108,
    "blocks_1/feed/up/kernel": 0.3190905,
    "average moved by": 0.948242,
  },
  "rqvae": {
    "loss 1": 3.239504,
    "gradient norm 1": 3.559628,
    "loss 3": 2.571825,
    "gradient norm 3": 2.419998,
    "loss 4": 2.348236,
    "gradient norm 4": 2.246663,
    "codebooks_LxVxD": 0.1300377,
    "encoder/layer_0/kernel": 0.1961783,
    "decoder/layer_1/bias": -0.03704563,
    "average moved by": 0.557669,
  },
}


def dense():
  model, trie, path = make_recommender(**MODELS["dense"], **NO_DROPOUT)
  params = draw_recommender(model, trie, path)
  return recommender_task(model, trie, item_loss=0.5), params, (), packed(), adam(weight_decay=0.05)


def tiger():
  model, trie, path = make_recommender(**MODELS["tiger"], **NO_DROPOUT)
  user_Bx1 = np.array([[0], [3], [4], [1]], np.int32)
  history = np.concatenate([user_Bx1, padded(HISTORIES, 8)], axis=1)
  batch = {"history_BxS": history, "target_Bx1": np.array(TARGETS, np.int32)[:, None]}
  task, params = recommender_task(model, trie), draw_recommender(model, trie, path)
  return task, params, (), batch, adam(schedule="inverse_sqrt")


def sasrec():
  model = make_sasrec(dropout=0.0)
  return sasrec_task(model), draw_sasrec(model), (), packed(), adam(weight_decay=0.05)


def bsarec():
  settings = {"norms": "after", "counted_from": "newest", "filter": FilterConfig(0.6, 2)}
  model, batch = make_sasrec(dropout=0.0, **settings), packed()
  del batch["target_BxS"]
  batch |= {
    "target_BxQ": np.int32([TARGETS[:2], TARGETS[2:]]),
    "at_BxQ": np.int32([[0, 3], [4, 12]]),
  }
  return sasrec_task(model), draw_sasrec(model), (), batch, adam()


def rqvae():
  rng = np.random.default_rng(7)
  vectors_NxF = rng.normal(size=(50, 6)).astype(np.float32)
  settings = {"num_levels": 3, "codebook_size": 5, "hidden": (8,), "latent_dim": 4}

  def layers(widths):
    return {
      f"layer_{depth}": {
        "kernel": rng.normal(0, widths[depth] ** -0.5, widths[depth : depth + 2]),
        "bias": rng.normal(0, 0.1, widths[depth + 1]),
      }
      for depth in range(len(widths) - 1)
    }

  codebooks_LxVxD = rng.normal(size=(3, 5, 4))
  params = {"encoder": layers([6, 8, 4]), "decoder": layers([4, 8, 6])}
  params = jax.tree.map(jnp.float32, {**params, "codebooks_LxVxD": codebooks_LxVxD})
  usage_LxV = np.full((3, 5), 0.2, np.float32)
  averages = Averages(usage_LxV, np.float32(codebooks_LxVxD * usage_LxV[..., None]))
  batch = {"vectors_BxF": vectors_NxF[:32]}
  return rqvae_task(RQVAEConfig(**settings), vectors_NxF), params, averages, batch, adam()


def adam(weight_decay=0.0, schedule="cosine"):
  """As the trainers make it; the clip bites, and the rate is another one at every step."""
  settings = {"warmup_steps": 1, "steps": 6, "clip_norm": 0.5, "schedule": schedule}
  return adamw(1e-2, weight_decay=weight_decay, **settings)


def packed():
  """HISTORIES in two rows, each position with its target."""
  rows = [HISTORIES[0] + HISTORIES[1], HISTORIES[2] + HISTORIES[3]]
  follows = [[*items[1:], target] for items, target in zip(HISTORIES, TARGETS, strict=True)]
  segments = [[0] * 1 + [1] * 3 + [2] * 9, [0] * 5 + [1] * 8]
  return {
    "history_BxS": padded(rows, 13),
    "target_BxS": padded([follows[0] + follows[1], follows[2] + follows[3]], 13),
    "segment_BxS": np.array(segments, np.int32),
  }


def measure(make, tables):
  """Losses and gradient norms of the steps, and projections of how some parameters moved."""
  task, params, aux, batch, optimizer = make()
  state = TrainState(
    step=jnp.int32(0),
    params=params,
    aux=jax.tree.map(jnp.asarray, aux),
    opt_state=jax.jit(optimizer.init)(params),
    average=jax.tree.map(jnp.array, params),
    key=jax.random.key(0),
  )
  step = jax.jit(lambda state, batch: update(task, optimizer, state, batch, average_decay=0.2))
  measured = {}
  for number in range(1, STEPS + 1):
    state, metrics = step(state, jax.tree.map(jnp.asarray, batch))
    if number == 2:  # the same numbers again, where the rate starts at 0
      continue
    measured[f"loss {number}"] = float(metrics["loss"])
    measured[f"gradient norm {number}"] = float(metrics["grad_norm"])
  for table in tables:
    measured[table] = moved(params, state.params, table)
  change = jax.tree.map(np.subtract, *jax.device_get((state.average, params)))
  squares = [np.square(x, dtype=np.float64).sum() for x in jax.tree.leaves(change)]
  measured["average moved by"] = float(np.sqrt(np.sum(squares)))
  return measured


def moved(before, after, table):
  """Σ cos(i) · change_i over a parameter's numbers: each counts differently, and signs count."""
  for name in table.split("/"):
    before, after = before[name], after[name]
  change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
  return float(np.cos(np.arange(change.size)) @ change.ravel())


MADE = {
  "dense": (dense, ["item", "node", "encoder_0/attention/query/kernel"]),
  "tiger": (tiger, ["user", "encoder_bias/bias", "decoder_1/cross_attention/key_value/kernel"]),
  "sasrec": (sasrec, ["item", "position", "blocks_1/feed/up/kernel"]),
  "bsarec": (bsarec, ["item", "position", "blocks_1/feed/up/kernel"]),
  "rqvae": (rqvae, ["codebooks_LxVxD", "encoder/layer_0/kernel", "decoder/layer_1/bias"]),
}


@pytest.mark.parametrize("name", MADE)
def test_golden_numbers(name):
  found = measure(*MADE[name])
  assert len(found) == 10
  for number, value in found.items():
    expected = GOLDEN.get(name, {}).get(number, float("nan"))
    assert value == pytest.approx(expected, rel=2e-4), CHANGED.format(
      name=name,
      number=number,
      found=value,
      expected=expected,
      file="tests/trainers/test_golden.py",
      all="\n".join(f'    "{key}": {value:.7g},' for key, value in found.items()),
    )
