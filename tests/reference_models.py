"""Small models for the comparison with `numpy_reference.py`: parameters, histories, dropout."""

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import build_trie, paths
from sidrec.data.batches import NO_ITEM
from sidrec.models.dropout import Dropout
from sidrec.models.inputs import example_events
from sidrec.models.recommender import make_model
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.models.settings import CatalogueSizes, RecommenderConfig

NUM_ITEMS, USERS = 40, 5
# Widths that all differ, and a head narrower than its share of the width.
SHAPE = {"width": 12, "heads": 3, "head_width": 5, "hidden": 20, "history_length": 8}
LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
PLAIN = {"item_embedding": False, "node_bias": False, "node_vectors": False}
MODELS = {
  "dense": {"item_head": True},
  "dense without item head": {},
  "dense, narrow rows": {"item_head": True, "item_width": 3, "node_width": 2},
  "dense, IDs alone": {"item_head": True, **PLAIN},
  "dense, relative": {"positions": "relative", **PLAIN},
  "tiger": {
    "setting": "tiger",
    "positions": "relative",
    "user_tokens": USERS,
    "constrained_softmax": False,
    **PLAIN,
  },
  "tiger, absolute": {"setting": "tiger"},
}
ALL_INPUTS = {"gap": True, "time_bias": True, "rating": True}
# Histories of several lengths; the last one fills a row.
HISTORIES = [[7], [3, 11, 3], [30, 2, 18, 9, 25], [39, 0, 1, 17, 22, 5, 36, 28]]
TARGETS = [12, 3, 31, 8]


# When each item was met, and at last the target: from the same second to years apart.
TIMES = [
  [1_300_000_000, 1_300_000_003],
  [1_200_000_000, 1_200_000_000, 1_200_086_400, 1_390_000_000],
  [5, 6, 8, 12, 1000, 1000],
  [900_000_000, 900_000_001, 900_000_060, 900_003_600, 900_003_600, 900_600_000, *[10**9] * 2]
  + [1_500_000_000],
]
RATINGS = [[5], [None, 3, 1], [0, 2, 2, 14, None], [1, 2, 3, 4, 5, 6, 7, None]]


def make_codes():
  """IDs of three levels; prefixes have one to several continuations: int32 [N, L]."""
  rng = np.random.default_rng(3)
  tuples = np.stack(np.unravel_index(rng.choice(6 * 3 * 5, NUM_ITEMS, replace=False), (6, 3, 5)))
  return tuples.T.astype(np.int32)


def make_recommender(**changes):
  """(model, trie, path [N, L + 1]) of the catalogue of `make_codes`."""
  trie = build_trie(make_codes())
  settings = RecommenderConfig(**{**SHAPE, **LAYERS, **changes})
  return make_model(settings, CatalogueSizes.of(trie, 6)), trie, paths(trie)


def make_sasrec(**changes):
  settings = {"history_length": 8, "width": 12, "heads": 3, "hidden": 20, **changes}
  return SASRec(SASRecConfig(num_items=NUM_ITEMS, **settings))


def draw_recommender(model, trie, path):
  history = jnp.zeros((1, model.config.input_length), jnp.int32)
  target = history if model.config.setting == "dense" else history[:, :1]
  method = "joint_log_likelihood" if model.config.item_head else "log_likelihood"
  history = example_events(history, model.config)

  def init(key):
    return model.init(key, history, target, trie, path, method=method)

  return draw(jax.eval_shape(init, jax.random.key(0))["params"])


def draw_sasrec(model):
  history = jnp.zeros((1, model.config.history_length), jnp.int32)
  history = example_events(history, model.config)

  def init(key):
    return model.init(key, history, method="states")

  return draw(jax.eval_shape(init, jax.random.key(0))["params"])


def draw(shapes, seed=0):
  """Parameters of these shapes by NumPy, so that no version of JAX changes them.

  Tables are as small as in training's start, where a norm's ε counts; no norm has scale 1, and no
  bias is 0.
  """
  rng = np.random.default_rng(seed)

  def one(path, like):
    name = path[-1].key
    if name == "scale":
      return np.float32(rng.uniform(0.5, 1.5, like.shape))
    sizes = {"code": 0.05, "user": 0.05, "bias": 1.0, "node_bias": 1.0, "item_bias": 1.0}
    sizes |= {"gap": 0.5, "rating": 0.5, "time_bias": 1.0}
    size = sizes.get(name, 0.02)
    if name == "kernel":
      size = 1.5 * like.shape[0] ** -0.5
    elif name == "out":
      size = like.shape[1] ** -0.5
    elif name == "node":
      size = 0.3
    return np.float32(rng.normal(0, size, like.shape))

  return jax.device_put(jax.tree.map_with_path(one, shapes))  # `jnp.asarray` compiles each shape


def as_float64(params):
  """What the reference takes."""
  return jax.tree.map(lambda x: np.asarray(x, np.float64), params)


def padded(rows, width):
  """Lists filled up with NO_ITEM: int32 [B, width]."""
  return np.array([row + [NO_ITEM] * (width - len(row)) for row in rows], np.int32)


class RecordedDropout:
  """Replaces the masks of `Dropout` by NumPy's and keeps them for the reference.

  `install` patches the class; a model then drops by these masks. `drop` gives the reference the
  same ones, in the order of the calls of each module, and fails where the model dropped nothing.
  """

  def __init__(self):
    self.rng = np.random.default_rng(5)
    self.masks = {}  # path of the module → masks, each scaled by 1 / (1 - rate)
    self.rates = {}  # path of the module → its rate

  def install(self, monkeypatch):
    def drop(module, x, deterministic):
      if deterministic or module.rate == 0.0:
        return x
      kept = self.rng.random(x.shape) >= module.rate
      mask = kept.astype(np.float32) / (1 - module.rate)
      site = "/".join(module.path)
      self.masks.setdefault(site, []).append(mask)
      self.rates[site] = module.rate
      return x * mask

    monkeypatch.setattr(Dropout, "__call__", drop)

  def for_row(self, row, query=None):
    """`drop` for the reference: of one row of the batch, and one query of its decoder."""
    calls = {}

    def drop(site, x):
      number = calls[site] = calls.get(site, -1) + 1
      mask = self.masks[site][number][row]
      if query is not None and site.startswith("decoder"):
        mask = mask[query]
      return x * mask[: len(x)]

    return drop

  def sites(self):
    """How often each module dropped, and at which rate."""
    return {site: (len(masks), self.rates[site]) for site, masks in self.masks.items()}
