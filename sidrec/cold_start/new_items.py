"""A trained recommender over a catalogue that has grown, without training."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import Trie, build_trie
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.batches import last_items
from sidrec.data.dataset import Dataset, Histories, Items
from sidrec.data.parts import join_items
from sidrec.data.seen import SeenItems
from sidrec.features.unit_rows import unit_rows
from sidrec.models.histories import LATEST
from sidrec.models.own_models import check_grows
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, transfer
from sidrec.parallel import mesh as mesh_lib
from sidrec.run import load
from sidrec.run.generations import Chain
from sidrec.run.load import Recommender
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search.batched import RecommendUsers, make_recommend_users
from sidrec.search.merge import merge, normalised
from sidrec.search.new_items import check_not_certified
from sidrec.search.results import Recommendations
from sidrec.search.similarity import UnitVectors, by_similarity

_USERS_AT_ONCE = 128


class Search(NamedTuple):
  """A search and its parameters."""

  recommend_users: RecommendUsers
  params: dict


class Grown(NamedTuple):
  """A catalogue with new items after the known ones, and the searches in it."""

  dataset: Dataset  # known items keep their rows; new ones follow and are in no history
  ids: SemanticIDManager
  unit_NxF: np.ndarray  # vectors of all items, of length 1; float32
  latest: int  # items of a history that similarity counts
  known: Search  # among the items that were trained on, as before
  new: Search  # among the new items
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
    known, new = recommend_both(grown, params, histories, users_R, seen)
    return jax.tree.map(np.asarray, merge(known, new, share))

  return Recommender(grown.dataset, grown.ids, params_of_both(grown), recommend_users)


def params_of_both(grown: Grown) -> dict:
  """The parameters that `recommend_both` takes."""
  return {"known": grown.known.params, "new": grown.new.params}


def recommend_both(
  grown: Grown, params: dict, histories: Histories, users_R: np.ndarray, seen: SeenItems | None
) -> tuple[Recommendations, Recommendations]:
  """The best known and the best new items of each user, with scores that `merge` compares.

  They are those of a served catalogue, but in the vectors' float32; see `search.new_items`.
  """
  known = grown.known.recommend_users(params["known"], histories, users_R, seen)
  new = grown.new.recommend_users(params["new"], histories, users_R, seen)
  latest_RxS = last_items(histories, grown.latest)[users_R]
  vectors = UnitVectors(jnp.asarray(grown.unit_NxF), jnp.zeros((0, grown.unit_NxF.shape[1])))
  parts = []
  for start in range(0, len(users_R), _USERS_AT_ONCE):
    at_B = np.arange(start, min(start + _USERS_AT_ONCE, len(users_R)))
    filled_B = np.resize(at_B, _USERS_AT_ONCE)  # repeats users, so that one shape is compiled
    lists = jax.tree.map(functools.partial(np.take, indices=filled_B, axis=0), (known, new))
    found = _by_similarity(*lists, latest_RxS[filled_B], vectors)
    parts.append(jax.tree.map(functools.partial(_first, len(at_B)), found))
  ranked = jax.tree.map(lambda *x: np.concatenate(x), *parts) if parts else new
  return known, ranked


def _first(count: int, x_BxK: jax.Array) -> np.ndarray:
  return np.asarray(x_BxK)[:count]


_by_similarity = jax.jit(by_similarity)


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
  known_N = grown_ids.item_ids < ids.num_items
  trained_row_N = np.where(known_N, grown_ids.item_ids, UNKNOWN)
  search = config.search.uncertified

  def search_in(trie: Trie) -> Search:
    resized = model.clone(sizes=CatalogueSizes.of(trie, model.sizes.codebook_size))
    found = make_recommend_users(resized, trie, search, mesh_lib.make_mesh())

    def recommend_users(params, histories, users_R, seen=None):
      result = found(params, histories, users_R, seen)
      if search.gives_probabilities:
        return result
      return jax.tree.map(np.asarray, normalised(result)[0])

    return Search(recommend_users, transfer(params, trained, trie, trained_row_N))

  return Grown(
    dataset._replace(items=join_items([dataset.items, new_items])),
    grown_ids,
    unit_rows(vectors_NxF),
    min(LATEST, model.config.history_length),
    search_in(build_trie(grown_ids.codes, known_N)),
    search_in(build_trie(grown_ids.codes, ~known_N)),
    search_in(build_trie(grown_ids.codes)),
  )
