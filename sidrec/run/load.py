"""What a finished run holds: its newest complete chain of stages, with these settings, checked.

The functions `load_…` raise FileNotFoundError where a stage is not done, and ValueError where it
was built with other settings, or is damaged. The functions `…_of` take the chain that `stage.find`
or `stage.run` returned.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.atomic import PathLike, load_array
from sidrec.core.paths import as_path
from sidrec.data.dataset import Dataset, Items
from sidrec.models.base import SemanticIDModel
from sidrec.parallel import mesh as mesh_lib
from sidrec.run import item_vectors
from sidrec.run.fitted_catalogue import load_fitted_catalogue
from sidrec.run.generations import Chain
from sidrec.run.prepare import load_prepared
from sidrec.run.sasrec import SASREC, make_sasrec
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.tokenize_items import category_labels, load_fitted, new_item_inputs, read_ids
from sidrec.run.train import TRAIN, load_known, make_model, search_trie
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


def load_semantic_ids(config: RunConfig | ConfigDict, workdir: PathLike) -> SemanticIDManager:
  """The semantic IDs of a finished run, with the tokenizer that encodes new items."""
  config = run_config(config)
  return semantic_ids_of(config, find(TOKENIZE, config, as_path(workdir)))


def semantic_ids_of(config: RunConfig, chain: Chain) -> SemanticIDManager:
  """The semantic IDs, with the tokenizer that encodes new items."""
  tokenized = chain["tokenize"]
  fitted = load_fitted(config.tokenizer, config.seed, tokenized.file("tokenizer"))
  return read_ids(tokenized, fitted)


def item_vectors_of(chain: Chain) -> np.ndarray:
  """The vectors of the catalogue's items, float32 [N, F]; mapped read-only where they can be."""
  return load_array(chain["tokenize"].file("vectors.npy"))


def new_item_vectors(config: RunConfig | ConfigDict, workdir: PathLike, items: Items) -> np.ndarray:
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
  config = run_config(config)
  return new_item_vectors_of(config, find(TOKENIZE, config, as_path(workdir)), items)


def new_item_vectors_of(config: RunConfig, chain: Chain, items: Items) -> np.ndarray:
  """As `new_item_vectors`."""
  tokenized, fitted = chain["tokenize"], load_fitted_catalogue(config, chain)
  params = load_params(tokenized.file("features"))
  vectors_MxF = item_vectors.new_item_vectors(
    config.features, fitted.items, params, fitted.vectors_NxF, items
  )
  labels = category_labels(config.tokenizer, tokenized.file("tokenizer"))
  return new_item_inputs(labels, items, vectors_MxF)


def load_trained(config: RunConfig | ConfigDict, workdir: PathLike) -> Trained:
  """The trained model of a work directory, and the catalogue that it was trained on."""
  config = run_config(config)
  return trained_of(config, find(TRAIN, config, as_path(workdir)))


def trained_of(config: RunConfig, chain: Chain) -> Trained:
  """The trained model, and the catalogue that it was trained on."""
  ids = read_ids(chain["tokenize"])
  model, trie = make_model(config, ids, load_known(config, chain["train"]))
  return Trained(ids, model, load_params(chain["train"].file("recommender")), trie)


def load_model(
  config: RunConfig | ConfigDict, workdir: PathLike
) -> tuple[SemanticIDModel, dict, Trie]:
  """The trained model of a work directory, its parameters and its trie: for `sidrec.recommend`."""
  trained = load_trained(config, workdir)
  return trained.model, trained.params, trained.trie


def load_recommender(config: RunConfig | ConfigDict, workdir: PathLike) -> Recommender:
  """The trained recommender of a work directory, for many users of its data set."""
  config = run_config(config)
  return recommender_of(config, find(TRAIN, config, as_path(workdir)))


def recommender_of(config: RunConfig, chain: Chain) -> Recommender:
  """The trained recommender, for many users of its data set."""
  return recommender_by(config, chain, trained_of(config, chain))


def recommender_by(config: RunConfig, chain: Chain, trained: Trained) -> Recommender:
  """As `recommender_of`, by its model in the shapes given."""
  ids, model, params, trie = trained
  mesh = mesh_lib.make_mesh(model=config.mesh.model)
  recommend_users = make_recommend_users(model, search_trie(trie, mesh), config.search, mesh)
  return Recommender(load_prepared(chain), ids, params, recommend_users)


def load_sasrec(config: RunConfig | ConfigDict, workdir: PathLike) -> tuple[RecommendUsers, dict]:
  """The trained SASRec of a work directory: its exact ranking, and its parameters."""
  config = run_config(config)
  return sasrec_of(config, find(SASREC, config, as_path(workdir)))


def sasrec_of(config: RunConfig, chain: Chain, name: str = "sasrec") -> tuple[RecommendUsers, dict]:
  """The trained SASRec, or 'bsarec': its exact ranking, and its parameters."""
  model, c = make_sasrec(config, load_prepared(chain).items.num_items, name), config.search
  recommend_users = make_sasrec_recommend_users(
    model, c.results, c.batch_size, mesh_lib.make_mesh()
  )
  return recommend_users, load_params(chain[name].file(f"{name}/params"))
