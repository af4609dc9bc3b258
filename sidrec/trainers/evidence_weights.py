"""The weights of what ranks items, fitted on validation when a training has ended.

A list ranks candidates by w · x, where x are the log p of an item by its ID, by the item head, by
what followed and by similarity. Taken as a conditional logit model (McFadden, 1974), these weights
make p(item) ∝ exp(w · x) among the candidates. They are fitted by the likelihood of validation's
targets, of those among the candidates, so that no log needs weights chosen by hand, and the
probabilities of lists are calibrated too. Few targets say little: a Gaussian prior holds the
weights near those of the settings, with a deviation as large as they are. What followed has one of
two floors, see `models.followers`, whichever is likelier.

Here C counts what ranks an item, and R users.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy.optimize import minimize

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import HeldOut
from sidrec.data.seen import seen_items
from sidrec.models.base import SemanticIDModel
from sidrec.models.counted import FITTED
from sidrec.models.followers import EVEN, FLOOR
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hosts import is_primary
from sidrec.search import evidence
from sidrec.search.candidates import Candidates, make_find_candidates
from sidrec.search.settings import SearchConfig

# A floor of `followers.log_p` next to 1 / N. Likelihoods are flat from 0.001 to 0.01 on validation
# of logs of 2,400 to a million items.
_FLOOR = 0.003
_LEAST_OF_IDS = 0.01  # beams go by IDs, so that log p of IDs always counts


class Fit(NamedTuple):
  """The likeliest weights of some candidates."""

  weight_C: np.ndarray  # float32
  count: int  # targets among the candidates
  loss: float  # the negative log of likelihood times prior


def fitted(
  model: SemanticIDModel,
  trie: Trie,
  params: dict,
  search: SearchConfig,
  mesh: jax.sharding.Mesh,
  task: HeldOut,
  users_R: np.ndarray,
) -> dict[str, np.ndarray]:
  """The fitted parameters: the weights, float32 [4] in the order of `Weights`, and the floor.

  Args:
    model: the recommender.
    trie: the catalogue.
    params: trained, with what is counted.
    search: of the run; its weights are where the fit starts.
    mesh: the devices.
    task: of validation.
    users_R: int, the users whose targets count.
  """
  seen = None if model.config.repeats else seen_items(task.histories)
  find = make_find_candidates(model, trie, search, mesh)
  start_C = np.array(evidence.given(model.config, search))
  fits = []
  for floor in _floors(params):
    there = params if floor is None else {**params, FLOOR: floor}
    placed = jax.device_put(there, mesh_lib.state_shardings(mesh, there))
    found = find(placed, task.histories, users_R, seen)
    fits.append((fit(found, task.target_U[users_R], start_C / start_C.sum()), floor))
  (weight_C, count, _), floor = min(fits, key=lambda one: one[0].loss)
  if is_primary():
    used = list(evidence.uses(model.config, search))
    parts = zip(evidence.names(model.config, search), weight_C[1:][used], strict=True)
    words = ", ".join(f"{value / weight_C[0]:.3g} × {name}" for name, value in parts)
    of_floor = "" if floor is None else f"; what followed has a floor of {float(floor):.2g}"
    print(
      f"recommender: lists rank by the ID + {words}, as fits {count:,} targets of validation; "
      f"sharpness {weight_C.sum():.3g}{of_floor}",
      flush=True,
    )
  return {FITTED: weight_C} if floor is None else {FITTED: weight_C, FLOOR: floor}


def _floors(params: dict) -> list[np.ndarray | None]:
  """Floors of what followed to choose from; None alone for a model without followers."""
  if EVEN not in params:
    return [None]
  even = np.asarray(params[EVEN], np.float32)
  return [even, np.asarray(np.maximum(even, _FLOOR), np.float32)]


def fit(found: Candidates, target_R: np.ndarray, start_C: np.ndarray) -> Fit:
  """The likeliest weights.

  Args:
    found: the candidates of each user, on the host.
    target_R: int32, the item that came next.
    start_C: where the prior has its mean; what is 0 there stays 0.
  """
  valid_RxX = np.asarray(found.item_BxX) != NO_ITEM
  is_target_RxX = (np.asarray(found.item_BxX) == target_R[:, None]) & valid_RxX
  known_R = is_target_RxX.any(axis=1)
  valid_RxX, is_target_RxX = valid_RxX[known_R], is_target_RxX[known_R]
  part_RxXxC = np.asarray(found.part_BxXxC, np.float64)[known_R]
  target_part_C = part_RxXxC[is_target_RxX].sum(axis=0)
  free_C = start_C > 0
  deviation_C = np.where(free_C, start_C, 1.0)

  def loss(weight_C: np.ndarray) -> tuple[float, np.ndarray]:
    """The negative log of likelihood times prior, and its gradient."""
    score_RxX = np.where(valid_RxX, part_RxXxC @ weight_C, -np.inf)
    largest_Rx1 = score_RxX.max(axis=1, keepdims=True, initial=-np.inf)
    p_RxX = np.exp(score_RxX - largest_Rx1)
    total_Rx1 = p_RxX.sum(axis=1, keepdims=True)
    p_RxX /= total_Rx1
    log_likelihood = target_part_C @ weight_C - (largest_Rx1 + np.log(total_Rx1)).sum()
    gradient_C = target_part_C - np.einsum("rx,rxc->c", p_RxX, part_RxXxC)
    away_C = (weight_C - start_C) / deviation_C
    return 0.5 * away_C @ away_C - log_likelihood, away_C / deviation_C - gradient_C

  least_C = np.where(np.arange(len(start_C)) == 0, _LEAST_OF_IDS, 0.0)
  bounds = [(low, None) if free else (0, 0) for low, free in zip(least_C, free_C, strict=True)]
  best = minimize(loss, start_C, jac=True, method="L-BFGS-B", bounds=bounds)
  return Fit(best.x.astype(np.float32), int(known_R.sum()), float(best.fun))
