"""Exact ranking: SASRec scores every item, so nothing is searched."""

from typing import cast

import jax
import jax.numpy as jnp

from sidrec.core.item_rows import as_array, widened
from sidrec.data.events import Events
from sidrec.models.sasrec import SASRec
from sidrec.parallel import mesh as mesh_lib
from sidrec.search.batched import RecommendUsers, check_nothing_shared, in_batches
from sidrec.search.checks import checked_columns
from sidrec.search.filters import Filters, checked
from sidrec.search.results import Recommendations, nothing


def recommend(
  model: SASRec,
  params: dict,
  history_BxS: jax.Array | Events,
  num_results: int,
  forbidden_BxJ: jax.Array | None = None,
) -> Recommendations:
  """The K best items for each history, by scoring every item; of a tie, the lowest row.

  Args:
    model: SASRec; its config is static under jit.
    params: its parameters.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; or events.
    num_results: K.
    forbidden_BxJ: int32 item rows never to return, in any order, repeats allowed,
      filled up with NO_ITEM; None to allow everything. Other rows match nothing.

  Returns:
    Recommendations with K results per history, scored by log p(item | history).

  Raises:
    TypeError, ValueError: for what is not as above; for histories, see `SASRec.next_item`.
  """
  if num_results < 1:
    raise ValueError(f"num_results is {num_results}; give at least 1")
  events = history_BxS if isinstance(history_BxS, Events) else Events(history_BxS)
  item_BxS = as_array("histories", events.item_BxS)
  if item_BxS.ndim != 2 or not 1 <= item_BxS.shape[1] <= model.config.history_length:
    raise ValueError(
      f"histories have shape {item_BxS.shape}; give [requests, 1 to "
      f"{model.config.history_length} items]"
    )
  history_BxS = checked_columns(events._replace(item_BxS=item_BxS), model.config.inputs)
  forbidden_BxJ = checked(Filters(forbidden_BxJ), history_BxS.shape[0]).forbidden_BxJ
  if not history_BxS.shape[0]:
    return nothing(num_results)
  score_BxN = cast(jax.Array, model.apply({"params": params}, history_BxS, method="next_item"))
  return best_of_all(without_items(score_BxN, forbidden_BxJ), num_results)


def without_items(score_BxN: jax.Array, forbidden_BxJ: jax.Array | None) -> jax.Array:
  """Scores of all items, -inf for those that are forbidden.

  Args:
    score_BxN: float [B, N].
    forbidden_BxJ: int32 item rows, filled up with NO_ITEM; None to allow everything.
  """
  if forbidden_BxJ is None:
    return score_BxN
  forbidden_BxJ = widened(forbidden_BxJ)
  column_BxJ = jnp.where(forbidden_BxJ < 0, score_BxN.shape[1], forbidden_BxJ)
  row_Bx1 = jnp.arange(column_BxJ.shape[0])[:, None]
  return score_BxN.at[row_Bx1, column_BxJ].set(-jnp.inf, mode="drop")


def best_of_all(score_BxN: jax.Array, num_results: int) -> Recommendations:
  """The K items of the highest scores; of a tie, the lowest row. Items at -inf are left out."""
  kept = min(num_results, score_BxN.shape[1])
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
    batch_size: users per call, rounded up to what the devices share evenly; 0 for what suits them.
    mesh: the devices.

  Returns:
    What `make_recommend_users` returns for the recommender, so that `evaluate` takes either.
  """

  def best(params, batch) -> Recommendations:
    history_BxS, seen_BxJ = batch
    return recommend(model, params, history_BxS, num_results, seen_BxJ)

  compiled = mesh_lib.on_own_rows(mesh, best)

  def rank(params, history_BxS, seen_BxJ, shared):
    check_nothing_shared(shared, "SASRec's ranking")
    return compiled(params, (history_BxS, seen_BxJ))

  c = model.config
  return in_batches(rank, c.num_items, c.history_length, batch_size, mesh, inputs=c.inputs)
