"""What a search ranks, before it is ranked: each candidate with all that it is ranked by.

Here C counts what ranks an item, in the order of `evidence.Weights`.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.base import SemanticIDModel
from sidrec.parallel import mesh as mesh_lib
from sidrec.search import beam, evidence
from sidrec.search.batched import check_nothing_shared, in_batches_of
from sidrec.search.filters import Filters
from sidrec.search.levels import call
from sidrec.search.settings import SearchConfig


class Candidates(NamedTuple):
  """The candidates of each history."""

  item_BxX: jax.Array  # int32, NO_ITEM for none
  part_BxXxC: jax.Array  # float32, log p by IDs and by what is joined with it; 0 for what is not


def make_find_candidates(
  model: SemanticIDModel, trie: Trie, config: SearchConfig, mesh: jax.sharding.Mesh
) -> Callable[..., Candidates]:
  """Compiles what finds the candidates of many users, spread over the mesh's devices.

  Args:
    model: the recommender.
    trie: the catalogue.
    config: of the search; its weights do not matter.
    mesh: the devices.

  Returns:
    (params, histories, users_R, seen) → candidates on the host, as `batched.in_batches` has it.
  """
  config = dataclasses.replace(config.uncertified, weights="fitted")

  def find(same, batch) -> Candidates:
    params, trie = same
    history_BxS, seen_BxJ = batch
    encoded = call(model, params, "encode", history_BxS, trie.codes_NxL, config.beams, trie.used)
    levels, state = beam.descended(model, params, trie, encoded, config, Filters(seen_BxJ))
    item_BxX, logp_BxX = beam.candidates(levels, state)
    parts = [logp_BxX, *evidence.parts(model, params, trie, encoded, config, item_BxX)]
    valid_BxX = jnp.isfinite(logp_BxX)
    part_BxXxC = jnp.where(valid_BxX[..., None], jnp.stack(parts, axis=-1), 0.0)
    return Candidates(jnp.where(valid_BxX, item_BxX, NO_ITEM), part_BxXxC)

  compiled = mesh_lib.on_own_rows(mesh, find)

  def rank(params, history_BxS, seen_BxJ, shared):
    check_nothing_shared(shared, "the search for candidates")
    return compiled((params, trie), (history_BxS, seen_BxJ))

  return in_batches_of(model, trie, config.batch_size, mesh, rank)
