"""A trained recommender over a catalogue that has grown, without training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import Trie, build_trie
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.dataset import Dataset, Items
from sidrec.data.parts import join_items
from sidrec.features.unit_rows import unit_rows
from sidrec.models.base import SemanticIDModel
from sidrec.models.histories import latest_items
from sidrec.models.own_models import check_grows
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, by_node, transfer
from sidrec.parallel import mesh as mesh_lib
from sidrec.run import load
from sidrec.run.generations import Chain
from sidrec.run.load import Recommender
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search import beam
from sidrec.search.batched import check_nothing_shared, in_batches_of, make_recommend_users
from sidrec.search.filters import Filters
from sidrec.search.levels import call
from sidrec.search.merge import merge, normalised
from sidrec.search.near_head import nearest_known
from sidrec.search.new_items import NewItems, among_new, check_not_certified, items_of
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig
from sidrec.search.similarity import UnitVectors


class Search(NamedTuple):
  """A search and its parameters."""

  recommend_users: Callable[..., Any]  # as `batched.RecommendUsers` is
  params: dict


class Grown(NamedTuple):
  """A catalogue with new items after the known ones, and the searches in it."""

  dataset: Dataset  # known items keep their rows; new ones follow and are in no history
  ids: SemanticIDManager
  unit_NxF: np.ndarray  # vectors of all items, of length 1; float32
  both: Search  # among the items that were trained on, and apart from them among the new ones
  all: Search  # among all items, in one trie


def with_new_items(
  config: RunConfig | ConfigDict, workdir: PathLike, new_items: Items, share: float
) -> Recommender:
  """A finished run's recommender that recommends new items too.

  Args:
    config: the run's settings.
    workdir: its folder.
    new_items: their ids, titles, categories, numbers and text; see `data.build.item_table`.
    share: the probability that the next item is a new one, before anything is known of the user,
      in [0, 1]. A larger share gives more new items; see `merge`. `--mode=cold_start` measures
      what a share costs and gains.

  Raises:
    ValueError: as `load.new_item_vectors` and `SemanticIDManager.add_items` do, or if an item
      is in the catalogue already.
    FileNotFoundError: if the recommender is not trained yet.
  """
  config = run_config(config)
  check_not_certified(config.search)
  grown = grow(config, find(TRAIN, config, as_path(workdir)), new_items)

  def recommend_users(params, histories, users_R, seen=None):
    known, new = grown.both.recommend_users(params, histories, users_R, seen)
    return jax.tree.map(np.asarray, merge(known, new, share))

  return Recommender(grown.dataset, grown.ids, grown.both.params, recommend_users)


def grow(config: RunConfig, chain: Chain, new_items: Items) -> Grown:
  """Gives new items IDs and parameters, and makes the searches; see `with_new_items`."""
  dataset = load_prepared(chain)
  _, model, params, trained = load.trained_of(config, chain)
  check_grows(model)
  inputs_MxF = load.new_item_vectors_of(config, chain, new_items)
  ids = load.semantic_ids_of(config, chain)
  new_rows = np.arange(ids.num_items, ids.num_items + new_items.num_items)
  grown_ids = ids.add_items(inputs_MxF, new_rows)
  known_NxF = load.item_vectors_of(chain)
  # Some tokenizers also take category paths, which come before the vectors.
  vectors_NxF = np.concatenate([known_NxF, inputs_MxF[:, -known_NxF.shape[1] :]])
  unit_NxF = unit_rows(vectors_NxF)
  known_N = grown_ids.item_ids < ids.num_items
  trained_row_N = np.where(known_N, grown_ids.item_ids, UNKNOWN)
  search, mesh = config.search.uncertified, mesh_lib.make_mesh()
  tries = [build_trie(grown_ids.codes, among_N) for among_N in (known_N, ~known_N, None)]
  of_known, of_new, of_all = (
    transfer(moved, trained, trie, trained_row_N)
    for moved, trie in zip((params, by_node(params), params), tries, strict=True)
  )
  vectors = UnitVectors(unit_NxF[: ids.num_items], unit_NxF[ids.num_items :])
  there = np.asarray(True)
  near = nearest_known(*vectors) if model.config.item_head else None
  new = NewItems(tries[1], of_new, vectors, near, np.float32(1), there, there)
  return Grown(
    dataset._replace(items=join_items([dataset.items, new_items])),
    grown_ids,
    unit_NxF,
    Search(_search_both(_resized(model, tries[0]), tries[0], new, search, mesh), of_known),
    Search(make_recommend_users(_resized(model, tries[2]), tries[2], search, mesh), of_all),
  )


def _resized(model: SemanticIDModel, trie: Trie) -> SemanticIDModel:
  return model.clone(sizes=CatalogueSizes.of(trie, model.sizes.codebook_size))


def _search_both(
  model: SemanticIDModel,
  trie: Trie,
  new: NewItems,
  config: SearchConfig,
  mesh: jax.sharding.Mesh,
) -> Callable[..., tuple[Recommendations, Recommendations]]:
  """The search among known items, to which the trie leads, and among new ones, of all users.

  It returns the best of each, with scores that `merge` compares. They are those of a served
  catalogue, but in the vectors' float32; see `search.new_items`.
  """

  def search(same, batch) -> tuple[Recommendations, Recommendations]:
    params, trie, new = same
    history_BxS, seen_BxJ = batch
    encoded = call(model, params, "encode", history_BxS, trie.codes_NxL, config.beams, trie.used)
    filters = Filters(seen_BxJ)
    known = beam.searched(model, params, trie, encoded, config, filters)
    if not config.gives_probabilities:
      known, _ = normalised(known)
    latest_BxS = latest_items(items_of(model, history_BxS))
    return known, among_new(model, params, encoded, latest_BxS, config, known, new, filters)

  compiled = mesh_lib.on_own_rows(mesh, search)

  def rank(params, history_BxS, seen_BxJ, shared):
    check_nothing_shared(shared, "the search among known and new items")
    return compiled((params, trie, new), (history_BxS, seen_BxJ))

  return in_batches_of(model, trie, config.batch_size, mesh, rank)
