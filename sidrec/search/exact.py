"""Exact ranking: SASRec scores every item, so nothing is searched.

Letters: B batch, S history length, N items, K results, J listed items of a request.
"""

from typing import cast

import jax
import jax.numpy as jnp

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.sasrec import SASRec
from sidrec.parallel import mesh as mesh_lib
from sidrec.search.batched import RecommendUsers, in_batches
from sidrec.search.results import Recommendations


def recommend(
  model: SASRec,
  params: dict,
  history_BxS: jax.Array,
  num_results: int,
  forbidden_BxJ: jax.Array | None = None,
) -> Recommendations:
  """The K best items for each history, by scoring every item; of a tie, the lowest row.

  Args:
    model: SASRec; its config is static under jit.
    params: its parameters.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest.
    num_results: K.
    forbidden_BxJ: int32 item rows never to return, in any order, repeats allowed,
      filled up with NO_ITEM; None to allow everything.

  Returns:
    Recommendations with K results per history, scored by log p(item | history).
  """
  num_items = model.config.num_items
  score_BxN = cast(jax.Array, model.apply({"params": params}, history_BxS, method="next_item"))
  if forbidden_BxJ is not None:
    column_BxJ = jnp.where(forbidden_BxJ == NO_ITEM, num_items, forbidden_BxJ)
    row_Bx1 = jnp.arange(column_BxJ.shape[0])[:, None]
    score_BxN = score_BxN.at[row_Bx1, column_BxJ].set(-jnp.inf, mode="drop")
  kept = min(num_results, num_items)
  score_BxK, item_BxK = jax.lax.top_k(score_BxN, kept)
  missing = ((0, 0), (0, num_results - kept))
  score_BxK = jnp.pad(score_BxK, missing, constant_values=-jnp.inf)
  valid_BxK = jnp.isfinite(score_BxK)
  return Recommendations(jnp.where(valid_BxK, jnp.pad(item_BxK, missing), -1), score_BxK, valid_BxK)


def make_sasrec_recommend_users(
  model: SASRec, num_results: int, batch_size: int, mesh: jax.sharding.Mesh
) -> RecommendUsers:
  """Compiles the exact ranking for batches of users, spread over the mesh's devices.

  Args:
    model: SASRec.
    num_results: K.
    batch_size: users per call; must divide by the number of devices. 0 for what suits them.
    mesh: the devices.

  Returns:
    What `make_recommend_users` returns for the recommender, so that `evaluate` takes either.
  """
  compiled = jax.jit(
    lambda params, history_BxS, seen_BxJ: recommend(
      model, params, history_BxS, num_results, seen_BxJ
    ),
    out_shardings=mesh_lib.replicated(mesh),
  )
  return in_batches(compiled, model.config.history_length, batch_size, mesh)
