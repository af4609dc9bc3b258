"""Stage 3: dataset.npz and semantic_ids.json → the recommender's best parameters."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.sharding import shard_trie
from sidrec.catalogue.trie.trie import Trie, build_trie
from sidrec.core.settings import from_dict
from sidrec.data import store
from sidrec.data.batches import BatchAt, packed_batches, sliding_batches
from sidrec.data.cache import load_dataset
from sidrec.models.seq2seq import Seq2Seq
from sidrec.models.seq2seq_config import Seq2SeqConfig
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hosts import is_primary
from sidrec.run.prepare import samples_users
from sidrec.run.stage import Stage
from sidrec.run.tokenize import TOKENIZE
from sidrec.search.batched import make_recommend_users
from sidrec.trainers.next_item import NextItem, train_next_item
from sidrec.trainers.recommender import recommender_task
from sidrec.trainers.settings import RecommenderTrainConfig
from sidrec.training.checkpoint import save_params
from sidrec.training.logging import make_logger
from sidrec.training.loop import Records
from sidrec.training.profile import make_trace

_HOW = ("accumulate", "remat")  # settings that save memory


def train(config: ConfigDict, workdir: Path) -> None:
  """Trains the recommender and writes its parameters."""
  dataset = load_dataset(workdir / "dataset.npz")
  ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
  model, trie = make_model(config, ids)
  mesh = mesh_lib.make_mesh(model=config.mesh.model)
  # As few beams as fill the lists: validation has to be cheap, not exact.
  results = config.evaluate.results
  recommend_users = make_recommend_users(
    model,
    search_trie(trie, mesh),
    results,
    config.evaluate.batch_size,
    mesh,
    item_weight=item_weight(config),
  )
  settings = from_dict(RecommenderTrainConfig, config.train.to_dict())
  what = NextItem(
    recommender_task(model, trie, settings.item_loss),
    make_batches(config),
    recommend_users,
    config.model.history_length,
    ids.num_items,
    results,
  )
  params = train_next_item(
    what, settings, dataset.histories, config.seed, mesh, _records(config, workdir)
  )
  save_params(workdir / "recommender", params)


def _records(config: ConfigDict, workdir: Path) -> Records:
  """Where the training writes."""
  steps, primary = config.train.steps, is_primary()
  return Records(
    workdir / "checkpoints",
    functools.partial(make_logger, workdir, "recommender", steps, primary=primary),
    make_trace(workdir / "profile", config.profile_steps, steps, primary=primary),
  )


def make_model(config: ConfigDict, ids: SemanticIDManager) -> tuple[Seq2Seq, Trie]:
  """The model and the trie for a catalogue."""
  trie = build_trie(ids.codes)
  return Seq2Seq(
    Seq2SeqConfig(
      num_items=trie.num_items,
      num_levels=trie.num_levels,
      codebook_size=ids.codebook_size,
      num_nodes=trie.num_nodes,
      **config.model.to_dict(),
    )
  ), trie


def item_weight(config: ConfigDict) -> float:
  """What the item head's scores count in a search: nothing where there is no item head."""
  return config.evaluate.item_weight if config.model.item_head else 0.0


def search_trie(trie: Trie, mesh: jax.sharding.Mesh) -> Trie:
  """The trie as a search on these devices takes it: rows over 'model' where that has several."""
  return shard_trie(trie, mesh) if mesh.shape["model"] > 1 else trie


def make_batches(config: ConfigDict) -> Callable[..., BatchAt]:
  """The training batches that the model's setting wants."""
  if config.model.setting == "dense":
    return training_users(config, packed_batches)
  return training_users(
    config, functools.partial(sliding_batches, num_user_tokens=config.model.user_tokens)
  )


def training_users(config: ConfigDict, batches: Callable[..., BatchAt]) -> Callable[..., BatchAt]:
  """The batches of all users: from shards where only a sample of the users is in memory."""
  return store.from_shards(batches, config.data.path) if samples_users(config) else batches


def deciding(section: ConfigDict) -> dict[str, Any]:
  """The settings that decide what is trained, without those that only save memory."""
  return {name: value for name, value in section.to_dict().items() if name not in _HOW}


def _settings(config: ConfigDict) -> dict[str, Any]:
  return {"seed": config.seed, "model": deciding(config.model), "train": deciding(config.train)}


TRAIN = Stage(
  "train",
  after=lambda config: (TOKENIZE,),
  settings=_settings,
  outputs=lambda config: ("checkpoints", "recommender"),
  build=train,
)
