"""What an explorer shows of a run with random parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.data.inputs import ITEMS_ALONE
from sidrec.models.inputs import example_events
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.serving.explore import Extras
from sidrec.serving.others import Trained


def make_sasrec(num_items, inputs=ITEMS_ALONE):
  """A small SASRec with random parameters."""
  shape = {"history_length": 8, "width": 8, "heads": 1, "layers": 1, "hidden": 8}
  config = SASRecConfig(num_items=num_items, inputs=inputs, **shape)
  model, rng = SASRec(config), np.random.default_rng(1)
  target = jnp.zeros((1, 8), jnp.int32)
  history = example_events(target, config)
  init = jax.eval_shape(
    lambda key: model.init(key, history, target, method="log_likelihood"), jax.random.key(0)
  )
  draw = lambda like: jnp.asarray(rng.normal(0, 1.0, like.shape).astype(np.float32))
  return Trained(model, jax.tree.map(draw, init["params"]))


def make_extras(num_items=30, **changes):
  """Random vectors and a SASRec."""
  vectors_NxF = np.random.default_rng(2).normal(size=(num_items, 6)).astype(np.float32)
  return Extras(vectors_NxF, make_sasrec(num_items), None)._replace(**changes)
