"""The stages of a run, in the order that data flows through them.

prepare → tokenize → train, and beside them prepare → sasrec; each reads the stage before
from the work directory. `evaluate.py` reads the last ones, `recommend.py` the recommender.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.sharding import shard_trie
from sidrec.catalogue.trie.trie import Trie, build_trie
from sidrec.core.atomic import write_whole_text
from sidrec.core.settings import from_dict
from sidrec.data import store
from sidrec.data.batches import BatchAt, packed_batches, sliding_batches
from sidrec.data.cache import load_dataset, save_dataset
from sidrec.data.dataset import Dataset, Items
from sidrec.data.held_out_items import draw_items, without_items
from sidrec.data.k_core import core_of
from sidrec.data.settings import DataConfig
from sidrec.data.sources import registry
from sidrec.data.tie_breaking import shuffle_ties
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.models.seq2seq import Seq2Seq, Seq2SeqConfig
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hosts import from_primary, is_primary
from sidrec.run import item_vectors
from sidrec.run.tokenize_items import (
  TOKENIZED_FILES,
  id_files,
  load_fitted,
  new_item_inputs,
  tokenize_items,
  write_tokenized,
)
from sidrec.run.workdir import require_done, run_stage
from sidrec.search.batched import RecommendUsers, make_recommend_users
from sidrec.trainers import sasrec as sasrec_training
from sidrec.trainers.next_item import train_next_item
from sidrec.trainers.recommender import recommender_task
from sidrec.training.checkpoint import load_params, save_params
from sidrec.training.logging import make_logger
from sidrec.training.profile import make_trace

_HOW = ("accumulate", "remat")  # settings that save memory


class Recommender(NamedTuple):
  """A trained recommender and what it recommends from."""

  dataset: Dataset
  ids: SemanticIDManager  # item row ↔ semantic ID
  params: dict
  recommend_users: RecommendUsers


def prepare(config: ConfigDict, workdir: Path) -> str:
  """Raw files → dataset.npz, and items.tsv, which names the item of each row."""
  data, cold = config.data, config.cold_start
  settings = registry.settings_of(from_dict(DataConfig, data.to_dict()))
  if samples_users(config) and (data.k_core or data.shuffle_ties >= 0 or cold.held_out):
    raise ValueError(
      "with data.store.users only a sample is in memory, and training reads the shards as they "
      "are: k_core, shuffle_ties and cold starts need data.store.users=0 (give --k_core to "
      "sidrec.data.prepare)"
    )

  def inputs() -> dict[str, Any]:
    workdir.mkdir(parents=True, exist_ok=True)
    write_whole_text(workdir / "config.json", config.to_json_best_effort(indent=2) + "\n")
    return {
      "data": {**data.to_dict(), "path": str(data.path)},
      "files": registry.signature(data.source, data.path, **settings),
      **({"cold_start": [cold.fraction, cold.seed]} if cold.held_out else {}),
    }

  def build() -> None:
    dataset = registry.read(data.source, data.path, data.min_interactions, **settings)
    if data.k_core:
      dataset = core_of(dataset, data.k_core)
    if data.shuffle_ties >= 0:
      dataset = shuffle_ties(dataset, data.shuffle_ties)
    if cold.held_out:
      drawn_N = draw_items(dataset.items.num_items, cold.fraction, cold.seed)
      dataset = without_items(dataset, drawn_N)
    save_dataset(workdir / "dataset.npz", dataset)
    items = dataset.items
    lines = [f"{row}\t{items.ids_N[row]}\t{items.titles_N[row]}" for row in range(items.num_items)]
    (workdir / "items.tsv").write_text("\n".join(["row\titem_id\ttitle", *lines]) + "\n")
    histories = dataset.histories
    print(
      f"prepare: {dataset.name}: {histories.num_users:,} users, {items.num_items:,} items, "
      f"{len(histories.item_T):,} interactions"
    )
    for note in dataset.notes:
      print(f"  {note}")

  # Nothing here needs a device: the primary host alone reads the raw files.
  outputs = ["dataset.npz", "items.tsv"]
  return run_stage(workdir, "prepare", from_primary(inputs), outputs, lambda: from_primary(build))


def tokenize(config: ConfigDict, workdir: Path) -> str:
  """dataset.npz → item vectors → semantic_ids.json, with a quality report."""
  prepared = prepare(config, workdir)

  def build() -> None:
    dataset = load_dataset(workdir / "dataset.npz")
    made = item_vectors.item_vectors(config.features, dataset, config.seed, workdir)
    for note in made.notes:
      print(f"tokenize: {note}")
    # The last bits may differ from one host to another; the primary host's count.
    from_primary(lambda: np.save(workdir / "vectors.npy", made.vectors_NxF))
    vectors_NxF = np.load(workdir / "vectors.npy")
    save_params(workdir / "features", made.params)
    tokenized = tokenize_items(config.tokenizer, dataset, vectors_NxF, config.seed, workdir)
    from_primary(lambda: write_tokenized(workdir, tokenized, dataset.items))
    print((workdir / "tokenizer.txt").read_text(encoding="utf-8"))

  inputs = lambda: {
    "fingerprint": prepared,
    **tokenize_settings(config),
    "files": {**item_vectors.vector_files(config.features), **id_files(config.tokenizer)},
  }
  trained = item_vectors.checkpoint_folders(config.features)
  outputs = ["vectors.npy", "features", *trained, "tokenizer", *TOKENIZED_FILES]
  return run_stage(workdir, "tokenize", from_primary(inputs), outputs, build)


def tokenize_settings(config: ConfigDict) -> dict[str, Any]:
  """The settings that semantic IDs depend on."""
  return {
    "seed": config.seed,
    "features": config.features.to_dict(),
    "tokenizer": config.tokenizer.to_dict(),
  }


def train_settings(config: ConfigDict) -> dict[str, Any]:
  """The settings that the recommender's parameters depend on, but for rounding."""
  return {"seed": config.seed, "model": _what(config.model), "train": _what(config.train)}


def _what(config: ConfigDict) -> dict[str, Any]:
  """The settings that say what is trained, without those that say how: a run may change these."""
  return {name: value for name, value in config.to_dict().items() if name not in _HOW}


def semantic_ids(config: ConfigDict, workdir: Path | str) -> SemanticIDManager:
  """The semantic IDs of a config's items, made if they are not there yet."""
  tokenize(config, Path(workdir))
  return load_semantic_ids(config, workdir)


def load_semantic_ids(config: ConfigDict, workdir: Path | str) -> SemanticIDManager:
  """The semantic IDs of a finished run, with the tokenizer that encodes new items."""
  workdir = Path(workdir)
  require_done(workdir, "tokenize", tokenize_settings(config))
  fitted = load_fitted(config.tokenizer, config.seed, workdir)
  return SemanticIDManager.load_from_file(workdir / "semantic_ids.json", fitted)


def new_item_vectors(config: ConfigDict, workdir: Path | str, items: Items) -> np.ndarray:
  """What `SemanticIDManager.add_items` takes for items that a finished run has not seen.

  Args:
    config: the run's settings.
    workdir: its folder.
    items: the new items' ids, titles, categories, numbers and text; see `data.build.item_table`.

  Returns:
    float32, a row for each of them.

  Raises:
    ValueError: as `item_vectors.new_item_vectors` does.
  """
  workdir = Path(workdir)
  require_done(workdir, "tokenize", tokenize_settings(config))
  dataset = load_dataset(workdir / "dataset.npz")
  params = load_params(workdir / "features")
  vectors_NxF = np.load(workdir / "vectors.npy", mmap_mode="r")
  vectors_MxF = item_vectors.new_item_vectors(config.features, dataset, params, vectors_NxF, items)
  return new_item_inputs(config.tokenizer, items, vectors_MxF, workdir)


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


def samples_users(config: ConfigDict) -> bool:
  """Whether only a sample of the users is in memory."""
  return config.data.source == "store" and config.data.store.users > 0


def train_recommender(config: ConfigDict, workdir: Path) -> str:
  """dataset.npz and semantic_ids.json → the recommender's best parameters."""
  tokenized = tokenize(config, workdir)

  def build() -> None:
    dataset = load_dataset(workdir / "dataset.npz")
    ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
    model, trie = make_model(config, ids)
    mesh = mesh_lib.make_mesh(model=config.mesh.model)
    # As few beams as fill the lists: validation has to be cheap, not exact.
    results = config.evaluate.results
    recommend_users = make_recommend_users(
      *(model, search_trie(trie, mesh), results, config.evaluate.batch_size, mesh),
      item_weight=item_weight(config),
    )
    params = train_next_item(
      recommender_task(model, trie, config.train.item_loss),
      make_batches(config),
      recommend_users,
      config.train,
      dataset.histories,
      config.model.history_length,
      ids.num_items,
      results,
      config.seed,
      mesh,
      workdir / "checkpoints",
      functools.partial(
        make_logger, workdir, "recommender", config.train.steps, primary=is_primary()
      ),
      make_trace(
        *(workdir / "profile", config.profile_steps, config.train.steps),
        primary=is_primary(),
      ),
    )
    save_params(workdir / "recommender", params)

  inputs = {"fingerprint": tokenized, **train_settings(config)}
  return run_stage(workdir, "train", inputs, ["checkpoints", "recommender"], build)


def load_model(config: ConfigDict, workdir: Path | str) -> tuple[Seq2Seq, dict, Trie]:
  """The trained model of a work directory, its parameters and its trie: for `sidrec.recommend`.

  Raises:
    FileNotFoundError: if it is not trained yet.
    ValueError: if it was trained with other settings.
  """
  _, model, params, trie = _load_trained(config, Path(workdir))
  return model, params, trie


def _load_trained(
  config: ConfigDict, workdir: Path
) -> tuple[SemanticIDManager, Seq2Seq, dict, Trie]:
  require_done(workdir, "tokenize", tokenize_settings(config))
  require_done(workdir, "train", train_settings(config))
  ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
  model, trie = make_model(config, ids)
  return ids, model, load_params(workdir / "recommender"), trie


def load_recommender(config: ConfigDict, workdir: Path) -> Recommender:
  """The trained recommender of a work directory, for many users of its data set.

  Raises:
    FileNotFoundError, ValueError: as `load_model` does.
  """
  ids, model, params, trie = _load_trained(config, workdir)
  dataset = load_dataset(workdir / "dataset.npz")
  mesh, c = mesh_lib.make_mesh(model=config.mesh.model), config.evaluate
  recommend_users = make_recommend_users(
    model, search_trie(trie, mesh), c.beams, c.batch_size, mesh, item_weight(config)
  )
  return Recommender(dataset, ids, params, recommend_users)


def sasrec_settings(config: ConfigDict) -> dict[str, Any]:
  """The settings that SASRec's parameters depend on."""
  c = config.sasrec
  return {"seed": config.seed, "sasrec": {"model": _what(c.model), "train": _what(c.train)}}


def make_sasrec(config: ConfigDict, num_items: int) -> SASRec:
  """The SASRec that the recommender is compared with."""
  return SASRec(SASRecConfig(num_items=num_items, **config.sasrec.model.to_dict()))


def train_sasrec(config: ConfigDict, workdir: Path) -> str:
  """dataset.npz → SASRec's best parameters."""
  prepared = prepare(config, workdir)

  def build() -> None:
    dataset = load_dataset(workdir / "dataset.npz")
    model = make_sasrec(config, dataset.items.num_items)
    settings = {**config.sasrec.train.to_dict(), "valid_batch_size": config.evaluate.batch_size}
    training = sasrec_training.SASRecTraining(**settings)
    params = sasrec_training.train_sasrec(
      model,
      training,
      dataset.histories,
      config.seed,
      workdir,
      make_batches=training_users(config, packed_batches),
    )
    save_params(workdir / "sasrec" / "params", params)

  inputs = {"fingerprint": prepared, **sasrec_settings(config)}
  return run_stage(workdir, "sasrec", inputs, ["sasrec"], build)


def load_sasrec(config: ConfigDict, workdir: Path) -> tuple[RecommendUsers, dict]:
  """The trained SASRec of a work directory: its exact ranking, and its parameters.

  Raises:
    FileNotFoundError, ValueError: as `load_recommender` does.
  """
  require_done(workdir, "sasrec", sasrec_settings(config))
  dataset = load_dataset(workdir / "dataset.npz")
  model, c = make_sasrec(config, dataset.items.num_items), config.evaluate
  recommend_users = sasrec_training.make_sasrec_recommend_users(
    model, c.results, c.batch_size, mesh_lib.make_mesh()
  )
  return recommend_users, load_params(workdir / "sasrec" / "params")
