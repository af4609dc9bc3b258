"""Few beams first, and the run's own for the lists that few beams do not certify.

Most histories need few beams for their best items. Those whose lists are not certified are
searched again, with more beams, in full batches: both searches keep their compiled shapes. What is
certified is exact. The rest is what many beams find.

Here X counts the users that are searched for again.
"""

import dataclasses

import jax
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.data.dataset import Histories
from sidrec.data.seen import SeenItems
from sidrec.models.base import SemanticIDModel
from sidrec.search.batched import NOTHING_SHARED, RecommendUsers, Shared, make_recommend_users
from sidrec.search.results import Recommendations, first
from sidrec.search.settings import SearchConfig


def make_adaptive_recommend_users(
  model: SemanticIDModel,
  trie: Trie,
  config: SearchConfig,
  first_beams: int,
  k: int,
  mesh: jax.sharding.Mesh,
) -> RecommendUsers:
  """Compiles both searches for batches of users, spread over the mesh's devices.

  Args:
    model: the recommender.
    trie: the catalogue.
    config: how to search again.
    first_beams: of the first search; fewer than those of `config`.
    k: K, results a list.
    mesh: the devices.

  Returns:
    What `make_recommend_users` returns, but with k results a list, with certificates.

  Raises:
    ValueError: for numbers that make no sense, and for what has no certificate.
  """
  if not 1 <= k <= first_beams < config.beams:
    raise ValueError(
      f"k is {k}, first_beams {first_beams} and search.beams {config.beams}; give "
      "1 ≤ k ≤ first_beams < beams"
    )
  many = dataclasses.replace(config, certify=True)
  few = dataclasses.replace(many, beams=first_beams)
  return in_two_passes(
    make_recommend_users(model, trie, few, mesh), make_recommend_users(model, trie, many, mesh), k
  )


def in_two_passes(few: RecommendUsers, many: RecommendUsers, k: int) -> RecommendUsers:
  """A search with few beams, and one with many for users whose first k results are not certified.

  With an item head, scores of a list add up to what the search found (`joint.py`), so those of
  certified lists have another zero point than with many beams.

  Args:
    few: gives lists with certificates, of k results or more.
    many: gives such lists, too.
    k: K, results a list.
  """

  def recommend_users(
    params: dict,
    histories: Histories,
    users_R: np.ndarray,
    seen: SeenItems | None = None,
    shared: Shared = NOTHING_SHARED,
  ) -> Recommendations:
    found = few(params, histories, users_R, seen, shared)
    again_X = np.flatnonzero(~np.asarray(found.certified_B(k)))
    found = jax.device_get(first(found, k))
    if not len(again_X):
      return found
    better = first(many(params, histories, np.asarray(users_R)[again_X], seen, shared), k)

    def with_better(x_RxK: np.ndarray, x_XxK: np.ndarray) -> np.ndarray:
      x_RxK = np.array(x_RxK)
      x_RxK[again_X] = x_XxK
      return x_RxK

    return jax.tree.map(with_better, found, better)

  return recommend_users
