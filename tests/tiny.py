"""Small things that many tests need: histories, a data set, a recommender, a whole run's config."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.config import default_config
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import TEXT, Dataset, Histories, training_view
from sidrec.data.sources.build import build, item_table
from sidrec.models import followers, recommender, similarity
from sidrec.models.inputs import example_events
from sidrec.models.packed_followers import pack
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.run.evaluate import protocol_for
from sidrec.run.settings import run_config
from sidrec.search import evidence
from sidrec.trainers.recommender import likelihood_method


def make_histories(rows):
  """Packed histories of these lists of item rows."""
  total = sum(map(len, rows))
  return Histories(
    offsets_Up1=np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
    item_T=np.array([item for row in rows for item in row], np.int32),
    time_T=np.arange(total, dtype=np.int64),
    rating_T=np.full(total, np.nan, np.float32),
    user_ids_U=np.arange(len(rows)),
  )


# 60 histories of 8 out of 30 items.
ROWS = [np.random.default_rng(seed).permutation(30)[:8].tolist() for seed in range(60)]


def make_items(ids):
  """Items of three categories in turn, from different years."""
  return item_table(
    ids,
    [f"title {item}" for item in ids],
    [["abc"[item % 3]] for item in ids],
    {"year": [1990 + item for item in ids]},
  )


def make_dataset(rows=ROWS):
  """A data set of 30 items with these histories."""
  return Dataset("tiny", make_histories(rows), make_items(list(range(30))), ())


def item_frame(items):
  """Items as the frame that `build` takes."""
  names = [items.categories_of(item) for item in range(items.num_items)]
  columns = {"item": items.ids_N, "title": items.titles_N, "text": items.text_N, **items.numeric}
  return pl.DataFrame({**columns, "categories": pl.Series(names, dtype=pl.List(pl.String))})


def build_from(name, users, items, times, ratings, metadata, *args, **kwargs):
  """`build` from columns and an `Items`."""
  log = pl.DataFrame(
    {
      "user": np.asarray(users),
      "item": np.asarray(items),
      "time": np.asarray(times, np.int64),
      "rating": np.asarray(ratings, np.float32),
    }
  )
  return build(name, log, item_frame(metadata), *args, **kwargs)


def assert_same(found, expected):
  """Asserts that two data sets are equal in every bit, types of arrays included."""
  assert (found.name, found.notes) == (expected.name, expected.notes)
  assert found.histories.request_time_U is expected.histories.request_time_U is None
  assert found.histories.actions == expected.histories.actions
  stored = lambda data: {
    k: v for k, v in data.histories._asdict().items() if isinstance(v, np.ndarray)
  }
  columns = lambda data: stored(data) | data.items._asdict() | data.items.numeric
  assert list(columns(found)) == list(columns(expected))
  for name, column in columns(expected).items():
    if name != "numeric":
      assert columns(found)[name].dtype == column.dtype, name
      if column.dtype == TEXT:
        assert columns(found)[name].tolist() == column.tolist(), name
      else:
        assert columns(found)[name].tobytes() == column.tobytes(), name


def all_codes(levels, codebook_size):
  """Every code tuple there is, in order: int [V^L, L]."""
  shape = (codebook_size,) * levels
  return np.stack(np.unravel_index(np.arange(codebook_size**levels), shape), axis=1)


def make_model(codes_NxL, **changes):
  """A small recommender over these semantic IDs: (model, trie, path_NxLp1).

  Of one layer, which is half to compile; give `encoder_layers=2` where two layers prove more.
  """
  trie = trie_lib.build_trie(codes_NxL)
  sizes = CatalogueSizes.of(trie, int(codes_NxL.max()) + 1)
  settings = {"history_length": 4, "width": 8, "heads": 1, "head_width": 8, "hidden": 8}
  settings["encoder_layers"] = 1
  model = recommender.make_model(RecommenderConfig(**{**settings, **changes}), sizes)
  return model, trie, trie_lib.paths(trie)


def init_params(model, trie, path, scale=1.0):
  """Random parameters, `scale` times the size that training starts from; 1 where that is 0.

  They are drawn with numpy, because the model's own initialisation takes long to compile.
  """
  history = jnp.zeros((1, model.config.input_length), jnp.int32)
  target = history if model.config.setting == "dense" else history[:, :1]
  method = likelihood_method(model.config)
  history = example_events(history, model.config)
  init = lambda key: model.init(key, history, target, trie, path, method=method)
  rng = np.random.default_rng(0)

  def draw(path, like):
    name = path[-1].key
    if name == "scale":
      return np.full(like.shape, scale, np.float32)
    sizes = {"code": 0.05, "user": 0.05, "bias": 0.25, "node_bias": 1.0, "item_bias": 1.0}
    sizes |= {"gap": 0.1, "rating": 0.1, "time_bias": 1.0, "user_attribute": 0.3}
    size = sizes.get(name, 0.02)
    if name in ("kernel", "out"):
      size = np.prod(like.shape[:-1]) ** -0.5
    return rng.normal(0, scale * size, like.shape).astype(np.float32)

  shapes = jax.eval_shape(init, jax.random.key(0))["params"]
  params = jax.tree.map_with_path(draw, shapes)
  if count := model.config.followers:
    params |= draw_followers(model.sizes.num_items, count)
  if model.config.similarity:
    params |= draw_vectors(model.sizes.num_items)
  return jax.device_put(params)  # `jnp.asarray` compiles each shape


def protocol_of_run(config, dataset):
  """What an evaluation of a data set says of itself, by the settings of a run."""
  config = run_config(config)
  weights = evidence.given(config.model, config.search)
  return protocol_for(config, dataset, training_view(dataset.histories), weights)


def draw_vectors(num_items):
  """Random vectors of items, as `models.similarity` keeps them."""
  drawn = np.random.default_rng(8).normal(size=(num_items, 5))
  history = make_histories([np.arange(item % 7, item % 7 + 3) for item in range(num_items)])
  return similarity.tables(history, drawn.astype(np.float32))


def draw_followers(num_items, count):
  """Random tables of followers, in which every third item has one less than `count`."""
  rng = np.random.default_rng(1)
  follower = rng.permuted(np.tile(np.arange(num_items), (num_items, 1)), axis=1)[:, :count]
  similarity = -np.sort(-rng.exponential(size=follower.shape), axis=1)
  follower[::3, -1], similarity[::3, -1] = NO_ITEM, 0.0
  kept = pack(follower.astype(np.int32), similarity.astype(np.float32))
  made = (*kept, np.array(1 / num_items, np.float32))
  return dict(zip(followers.COUNTED, made, strict=True))


@functools.partial(jax.jit, static_argnums=0)
def log_likelihood(model, params, history, target, trie, path, segment=None):
  """The model's; compiled once for all tests of the same shapes."""
  inputs = (history, target, trie, path, segment)
  return model.apply({"params": params}, *inputs, method="log_likelihood")


@functools.partial(jax.jit, static_argnums=0)
def joint_log_likelihood(model, params, history, target, trie, path):
  """Likewise."""
  inputs = (history, target, trie, path)
  return model.apply({"params": params}, *inputs, method="joint_log_likelihood")


def means_of(per_user):
  """Results as `evaluation.json` holds them: system → split → way → metric → mean over users."""
  return {
    system: {
      split: {
        way: {name: float(value_U.mean(dtype=np.float64)) for name, value_U in metrics.items()}
        for way, metrics in ways.items()
      }
      for split, ways in splits.items()
    }
    for system, splits in per_user.items()
  }


def tiny_config(folder):
  """A run on the 60 histories, written to a file in the folder; it trains for a moment."""
  lines = ["user_id,item_id,timestamp"]
  for user, row in enumerate(ROWS):
    lines += [f"{user},{item},{time}" for time, item in enumerate(row)]
  path = folder / "tiny.csv"
  path.write_text("\n".join(lines) + "\n")
  config = default_config()
  config.data.update(source="table", path=str(path))
  config.features.content.weight = 0.0
  config.features.cooccurrence.dim = 4
  config.tokenizer.update(name="radix", num_levels=2, codebook_size=6)
  config.model.update(history_length=8, width=8, heads=1, head_width=8, hidden=8)
  config.model.update(encoder_layers=1)
  config.train.update(batch_size=8, steps=6, steps_per_call=2, validate_every=6, valid_users=16)
  config.sasrec.model.update(history_length=8, width=8, heads=1, layers=1, hidden=8)
  config.sasrec.train.update(batch_size=8, steps=6, steps_per_call=2, validate_every=6)
  config.sasrec.train.valid_users = 16
  config.bsarec.model.update(history_length=8, width=8, layers=1, hidden=8)
  config.bsarec.train.update(batch_size=8, steps=6, steps_per_call=2, validate_every=6)
  config.bsarec.train.valid_users = 16
  config.search.update(beams=20, batch_size=64)
  return config


def small_rqvae_config(folder):
  """`tiny_config` with an RQ-VAE that is trained for a moment."""
  config = tiny_config(folder)
  config.tokenizer.update(name="rqvae", num_levels=2, codebook_size=4)
  config.tokenizer.rqvae.update(hidden=(8,), latent_dim=4, batch_size=8, steps=4)
  config.tokenizer.rqvae.update(steps_per_call=2, validate_every=4)
  return config


def fitted_config(folder):
  """`small_rqvae_config` with all that lists may go by, and fitted weights."""
  config = small_rqvae_config(folder)
  config.model.update(followers=4, similarity=True, item_head=True)
  config.search.update(weights="fitted", follower_candidates=4)
  return config
