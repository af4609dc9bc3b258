"""What a finished run holds, checked: every function here checks the whole chain of stages first.

All raise FileNotFoundError where a stage is not done, and ValueError where it was built with other
settings or from the output of another run of an earlier stage.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import Trie
from sidrec.data.cache import load_dataset
from sidrec.data.dataset import Dataset, Items
from sidrec.models.base import SemanticIDModel
from sidrec.parallel import mesh as mesh_lib
from sidrec.run import item_vectors
from sidrec.run.sasrec import SASREC, make_sasrec
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import check
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.tokenize_items import load_fitted, new_item_inputs
from sidrec.run.train import TRAIN, make_model, search_trie
from sidrec.search.batched import RecommendUsers, make_recommend_users
from sidrec.search.exact import make_sasrec_recommend_users
from sidrec.training.checkpoint import load_params


class Trained(NamedTuple):
  """A trained model and its catalogue."""

  ids: SemanticIDManager  # item row ↔ semantic ID
  model: SemanticIDModel
  params: dict
  trie: Trie


class Recommender(NamedTuple):
  """A trained recommender and what it recommends from."""

  dataset: Dataset
  ids: SemanticIDManager  # item row ↔ semantic ID
  params: dict
  recommend_users: RecommendUsers


def load_semantic_ids(config: RunConfig | ConfigDict, workdir: Path | str) -> SemanticIDManager:
  """The semantic IDs of a finished run, with the tokenizer that encodes new items."""
  config, workdir = run_config(config), Path(workdir)
  check(TOKENIZE, config, workdir)
  fitted = load_fitted(config.tokenizer, config.seed, workdir)
  return SemanticIDManager.load_from_file(workdir / "semantic_ids.json", fitted)


def new_item_vectors(
  config: RunConfig | ConfigDict, workdir: Path | str, items: Items
) -> np.ndarray:
  """What `SemanticIDManager.add_items` takes for items that a finished run has not seen.

  Args:
    config: the run's settings.
    workdir: its folder.
    items: the new items' ids, titles, categories, numbers and text; see `build.item_table`.

  Returns:
    float32, a row for each of them.

  Raises:
    ValueError: as `item_vectors.new_item_vectors` does.
  """
  config, workdir = run_config(config), Path(workdir)
  check(TOKENIZE, config, workdir)
  dataset = load_dataset(workdir / "dataset.npz")
  params = load_params(workdir / "features")
  vectors_NxF = np.load(workdir / "vectors.npy", mmap_mode="r")
  vectors_MxF = item_vectors.new_item_vectors(config.features, dataset, params, vectors_NxF, items)
  return new_item_inputs(config.tokenizer, items, vectors_MxF, workdir)


def load_trained(config: RunConfig | ConfigDict, workdir: Path | str) -> Trained:
  """The trained model of a work directory, and the catalogue that it was trained on."""
  config, workdir = run_config(config), Path(workdir)
  check(TRAIN, config, workdir)
  ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
  model, trie = make_model(config, ids)
  return Trained(ids, model, load_params(workdir / "recommender"), trie)


def load_model(
  config: RunConfig | ConfigDict, workdir: Path | str
) -> tuple[SemanticIDModel, dict, Trie]:
  """The trained model of a work directory, its parameters and its trie: for `sidrec.recommend`."""
  trained = load_trained(config, workdir)
  return trained.model, trained.params, trained.trie


def load_recommender(config: RunConfig | ConfigDict, workdir: Path | str) -> Recommender:
  """The trained recommender of a work directory, for many users of its data set."""
  config, workdir = run_config(config), Path(workdir)
  ids, model, params, trie = load_trained(config, workdir)
  dataset = load_dataset(workdir / "dataset.npz")
  mesh = mesh_lib.make_mesh(model=config.mesh.model)
  recommend_users = make_recommend_users(model, search_trie(trie, mesh), config.search, mesh)
  return Recommender(dataset, ids, params, recommend_users)


def load_sasrec(config: RunConfig | ConfigDict, workdir: Path | str) -> tuple[RecommendUsers, dict]:
  """The trained SASRec of a work directory: its exact ranking, and its parameters."""
  config, workdir = run_config(config), Path(workdir)
  check(SASREC, config, workdir)
  dataset = load_dataset(workdir / "dataset.npz")
  model, c = make_sasrec(config, dataset.items.num_items), config.search
  recommend_users = make_sasrec_recommend_users(
    model, c.results, c.batch_size, mesh_lib.make_mesh()
  )
  return recommend_users, load_params(workdir / "sasrec" / "params")
