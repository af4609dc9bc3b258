"""The stages of a run, in the order that data flows through them.

prepare → tokenize → train → evaluate; each reads the stage before from the work
directory, and `recommend.py` reads the last.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sidrec import item_vectors
from sidrec.data import readers
from sidrec.data.batches import packed_batches, sliding_batches
from sidrec.data.cache import load_dataset, save_dataset
from sidrec.data.core import core_of
from sidrec.data.dataset import Dataset, Items, held_out_view, training_view
from sidrec.data.ties import shuffle_ties
from sidrec.decoding.batched import RecommendUsers, make_recommend_users
from sidrec.decoding.trie import Trie, build_trie
from sidrec.evaluation import report
from sidrec.evaluation.baselines import (
  evaluate_baseline_per_user,
  item_knn,
  item_knn_cosine,
  popularity,
)
from sidrec.evaluation.evaluate import evaluate_per_user
from sidrec.evaluation.protocol import SPLITS, protocol_of
from sidrec.models.seq2seq import Seq2Seq, Seq2SeqConfig
from sidrec.semantic_ids import SemanticIDManager
from sidrec.stages import require_done, run_stage
from sidrec.tokenize_items import (
  TOKENIZED_FILES,
  id_files,
  load_fitted,
  new_item_inputs,
  tokenize_items,
  write_tokenized,
)
from sidrec.training import mesh as mesh_lib
from sidrec.training.checkpoint import load_params, save_params
from sidrec.training.log import make_logger
from sidrec.training.next_item import train_next_item
from sidrec.training.recommender import recommender_task


class Recommender(NamedTuple):
  """A trained recommender and what it recommends from."""

  dataset: Dataset
  ids: SemanticIDManager  # item row ↔ semantic ID
  params: dict
  recommend_users: RecommendUsers


def prepare(config: ConfigDict, workdir: Path) -> str:
  """Raw files → dataset.npz, and items.tsv, which names the item of each row."""
  workdir.mkdir(parents=True, exist_ok=True)
  (workdir / "config.json").write_text(config.to_json_best_effort(indent=2) + "\n")
  data = config.data
  settings = reader_settings(data)

  def build() -> None:
    dataset = readers.read(data.source, data.path, data.min_interactions, **settings)
    if data.k_core:
      dataset = core_of(dataset, data.k_core)
    if data.shuffle_ties >= 0:
      dataset = shuffle_ties(dataset, data.shuffle_ties)
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

  inputs = {
    "data": {**data.to_dict(), "path": str(data.path)},
    "files": readers.signature(data.source, data.path, **settings),
  }
  return run_stage(workdir, "prepare", inputs, ["dataset.npz", "items.tsv"], build)


def reader_settings(data: ConfigDict) -> dict[str, Any]:
  """What a source's reader takes beside the path."""
  own = {"amazon-reviews": data.amazon, "atomic": ConfigDict(), "table": data.table}
  if data.source not in own:
    return {}
  return {**own[data.source].to_dict(), "repeats": data.repeats}


def tokenize(config: ConfigDict, workdir: Path) -> str:
  """dataset.npz → item vectors → semantic_ids.json, with a quality report."""
  prepared = prepare(config, workdir)

  def build() -> None:
    dataset = load_dataset(workdir / "dataset.npz")
    made = item_vectors.item_vectors(config.features, dataset, config.seed, workdir)
    for note in made.notes:
      print(f"tokenize: {note}")
    np.save(workdir / "vectors.npy", made.vectors_NxF)
    save_params(workdir / "features", made.params)
    tokenized = tokenize_items(config.tokenizer, dataset, made.vectors_NxF, config.seed, workdir)
    write_tokenized(workdir, tokenized, dataset.items)
    print((workdir / "tokenizer.txt").read_text(encoding="utf-8"))

  inputs = {
    "fingerprint": prepared,
    **tokenize_settings(config),
    "files": {**item_vectors.vector_files(config.features), **id_files(config.tokenizer)},
  }
  outputs = ["vectors.npy", "features", "tokenizer", *TOKENIZED_FILES]
  return run_stage(workdir, "tokenize", inputs, outputs, build)


def tokenize_settings(config: ConfigDict) -> dict[str, Any]:
  """The settings that semantic IDs depend on."""
  return {
    "seed": config.seed,
    "features": config.features.to_dict(),
    "tokenizer": config.tokenizer.to_dict(),
  }


def train_settings(config: ConfigDict) -> dict[str, Any]:
  """The settings that the recommender's parameters depend on."""
  return {
    "seed": config.seed,
    "model": config.model.to_dict(),
    "train": config.train.to_dict(),
  }


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
  vectors_MxF = item_vectors.new_item_vectors(config.features, dataset, params, items)
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


def train_recommender(config: ConfigDict, workdir: Path) -> str:
  """dataset.npz and semantic_ids.json → the recommender's best parameters."""
  tokenized = tokenize(config, workdir)

  def build() -> None:
    dataset = load_dataset(workdir / "dataset.npz")
    ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
    model, trie = make_model(config, ids)
    mesh = mesh_lib.make_mesh()
    # As few beams as fill the lists: validation has to be cheap, not exact.
    results = config.evaluate.results
    recommend_users = make_recommend_users(model, trie, results, config.evaluate.batch_size, mesh)
    params = train_next_item(
      recommender_task(model, trie),
      {"dense": packed_batches, "tiger": sliding_batches}[config.model.setting],
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
        make_logger, workdir, "recommender", config.train.steps, lead=jax.process_index() == 0
      ),
    )
    save_params(workdir / "recommender", params)

  inputs = {"fingerprint": tokenized, **train_settings(config)}
  return run_stage(workdir, "train", inputs, ["checkpoints", "recommender"], build)


def load_recommender(config: ConfigDict, workdir: Path) -> Recommender:
  """The trained recommender of a work directory.

  Raises:
    FileNotFoundError: if it is not trained yet.
    ValueError: if it was trained with other settings.
  """
  require_done(workdir, "tokenize", tokenize_settings(config))
  require_done(workdir, "train", train_settings(config))
  dataset = load_dataset(workdir / "dataset.npz")
  ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
  model, trie = make_model(config, ids)
  mesh = mesh_lib.make_mesh()
  params = load_params(workdir / "recommender")
  c = config.evaluate
  return Recommender(
    dataset, ids, params, make_recommend_users(model, trie, c.beams, c.batch_size, mesh)
  )


def evaluate_all(config: ConfigDict, workdir: Path) -> str:
  """The recommender and the baselines on both splits → evaluation.json and the table."""
  trained = train_recommender(config, workdir)
  c = config.evaluate

  def build() -> None:
    dataset, _, params, recommend_users = load_recommender(config, workdir)
    num_items, num_results = dataset.items.num_items, c.results
    training = training_view(dataset.histories)
    baselines = {
      "item-knn": item_knn(training, num_items),
      "item-knn-cosine": item_knn_cosine(training, num_items),
      "popular": popularity(training, num_items),
    }
    tasks = {split: held_out_view(dataset.histories, split) for split in SPLITS}
    evaluations = {
      "sidrec": {
        split: evaluate_per_user(recommend_users, params, task, num_items, num_results)
        for split, task in tasks.items()
      }
    }
    for name, score in baselines.items():
      evaluations[name] = {
        split: evaluate_baseline_per_user(score, task, num_items, num_results)
        for split, task in tasks.items()
      }
    means, per_user = (
      {
        name: {split: getattr(evaluation, part) for split, evaluation in splits.items()}
        for name, splits in evaluations.items()
      }
      for part in ("means", "per_user")
    )
    protocol = protocol_of(dataset, num_results, c.beams, config.data.shuffle_ties)
    report.write_per_user(workdir / "per_user.npz", per_user)
    report.write_evaluation(workdir / "evaluation.json", protocol, means)
    (workdir / "evaluation.txt").write_text(report.evaluation_report(protocol, means))

  inputs = {"fingerprint": trained, "evaluate": c.to_dict()}
  outputs = ["per_user.npz", "evaluation.json", "evaluation.txt"]
  done = run_stage(workdir, "evaluate", inputs, outputs, build)
  print((workdir / "evaluation.txt").read_text())
  return done
