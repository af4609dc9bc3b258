"""The updated model and others on the newest events: the same users, the same targets.

Each model searches its own catalogue. That of the run before lacks new items: they are left out of
the histories it reads, and as targets they count as misses.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.data.batches import ragged_arange
from sidrec.data.dataset import Dataset, HeldOut, Histories, held_out_view, leave_last_out
from sidrec.data.seen import seen_items
from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from sidrec.evaluation.evaluate import measure_lists
from sidrec.models.transfer import UNKNOWN
from sidrec.parallel import mesh as mesh_lib
from sidrec.run.load import Recommender
from sidrec.run.settings import RunConfig
from sidrec.update.logs import Growth, is_newest

METRIC = "ndcg@10"
_NOTHING = -2  # a target that a catalogue lacks; no search returns such a row


class Task(NamedTuple):
  """Users and the last event of each, which no model was trained on."""

  held_out: HeldOut
  are_newest: bool  # whether these events are new; else none is, and the users are any
  num_users: int  # of whom these were drawn


def newest_task(new: Dataset, growth: Growth, users: int, seed: int) -> Task:
  """The last events of users where these are new; of any users where no user's is.

  Args:
    new: the grown data set.
    growth: of it.
    users: at most so many, drawn evenly; 0 for all.
    seed: of the draw.
  """
  newest_U, asked_R = is_newest(new, growth), leave_last_out(new.histories).user_R
  user_R = np.flatnonzero(newest_U) if newest_U.any() else asked_R
  drawn_R = user_R
  if 0 < users < len(user_R):
    drawn_R = np.sort(np.random.default_rng(seed).permutation(user_R)[:users])
  task = held_out_view(new.histories, "test")
  row_R = np.searchsorted(asked_R, drawn_R)  # of those who have a target
  held_out = HeldOut(of_users(task.histories, row_R), task.target_U[row_R])
  return Task(held_out, bool(newest_U.any()), len(user_R))


def in_rows_of(held_out: HeldOut, row_N: np.ndarray) -> HeldOut:
  """The same task in the rows of another catalogue.

  What that lacks is left out of histories; as a target it is missed.

  Args:
    held_out: a task.
    row_N: int [N], the other catalogue's row of each item, or UNKNOWN.
  """
  histories = held_out.histories
  row_T = row_N[histories.item_T]
  kept_T = row_T != UNKNOWN
  kept_before = np.concatenate([[0], np.cumsum(kept_T)]).astype(np.int64)
  target_U = row_N[held_out.target_U]
  return HeldOut(
    histories._replace(item_T=row_T.astype(np.int32)).taken(
      kept_before[histories.offsets_Up1], kept_T
    ),
    np.where(target_U == UNKNOWN, _NOTHING, target_U).astype(np.int32),
  )


def metric_of(recommender: Recommender, held_out: HeldOut, num_results: int) -> np.ndarray:
  """NDCG@10 of each user, seen items masked: float64 [U]."""
  users_U = np.arange(held_out.histories.num_users)
  lists = recommender.recommend_users(
    recommender.params, held_out.histories, users_U, seen_items(held_out.histories)
  )
  num_items = recommender.dataset.items.num_items
  return measure_lists(lists, held_out.target_U, num_items, num_results).metrics[METRIC]


def placed(config: RunConfig, params: dict) -> dict:
  """Parameters on the devices, where training has them, so that searches share their programs."""
  mesh = mesh_lib.make_mesh(model=config.mesh.model)
  return jax.device_put(params, mesh_lib.state_shardings(mesh, params))


def figures(task: Task, known_U: np.ndarray, of_system: dict[str, np.ndarray]) -> dict[str, Any]:
  """What is compared, for `update.json`: means, and differences to the model before.

  Args:
    task: what was asked.
    known_U: bool, whether the catalogue before has the target.
    of_system: 'updated', 'before' and perhaps 'from zero' → the metric of each user.
  """
  before_U = of_system["before"]
  found: dict[str, Any] = {
    "metric": f"{METRIC}, seen items masked",
    "users": len(before_U),
    "of so many": task.num_users,
    "targets": f"the {'new ' if task.are_newest else ''}last events",
    "targets that are new items": int((~known_U).sum()),
    "candidates": "each model's own catalogue; the one before lacks new items",
  }
  for system, value_U in of_system.items():
    found[system] = bootstrap_mean(value_U)._asdict()
    if known_U.any() and not known_U.all():
      found[system]["mean on items known before"] = float(value_U[known_U].mean())
    if system != "before":
      found[f"{system} - before"] = bootstrap_difference(value_U, before_U)._asdict()
  if "from zero" in of_system:
    difference = bootstrap_difference(of_system["updated"], of_system["from zero"])
    found["updated - from zero"] = difference._asdict()
  return found


def of_users(histories: Histories, user_R: np.ndarray) -> Histories:
  """The histories of some users."""
  length_R = histories.lengths_U[user_R]
  of_T, within_T = ragged_arange(length_R)
  at_T = histories.offsets_Up1[user_R][of_T] + within_T
  asked_U = histories.request_time_U
  some = histories.taken(np.concatenate([[0], np.cumsum(length_R)]).astype(np.int64), at_T)
  return some._replace(
    user_ids_U=histories.user_ids_U[user_R],
    request_time_U=None if asked_U is None else asked_U[user_R],
    users=histories.users_at(user_R),
  )
