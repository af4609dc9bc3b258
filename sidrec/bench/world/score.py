"""How a trained run does beside the truth: the share of the best possible lists' NDCG@10.

For each of some users, the state before the test event gives p(item | state) of any item. The
NDCG@10 that a list can expect is Σ_k p(its k-th item) / log2(k + 2), k from 0: what its mean over
all next events would be, and so without the noise of one drawn event. That of the best list is the
oracle's, and no list has more. Items of the history count, for this world repeats.

Here R counts the users that are scored.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from sidrec.bench.world.catalogue import Catalogue, ids_of, rows_of
from sidrec.bench.world.truth import best, probability
from sidrec.bench.world.users import State, simulate
from sidrec.bench.world.write import read_world
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.core.tables import aligned_table
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data import store
from sidrec.data.batches import last_items
from sidrec.data.dataset import Dataset, HeldOut, Histories, held_out_view, training_view
from sidrec.evaluation.baselines import ScoreBlock, best_item_knn, popularity, top_items
from sidrec.features.nearest_followers import nearest_followers
from sidrec.models import followers
from sidrec.models.histories import LATEST
from sidrec.run.config_file import load_config
from sidrec.run.generations import Chain
from sidrec.run.load import recommender_of, sasrec_of
from sidrec.run.prepare import load_prepared
from sidrec.run.sasrec import SASREC
from sidrec.run.settings import RunConfig
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search.batched import RecommendUsers

RESULTS = 10
KNN_ITEMS = 100_000  # of more, so many neighbours of each are kept, for all pairs do not fit memory
KEPT = 64
_AT_ONCE = 64  # users whose scores of all items are held together


class Task(NamedTuple):
  """Users before their test event, and the truth about it."""

  catalogue: Catalogue
  config: RunConfig
  dataset: Dataset
  held_out: HeldOut  # of all users of the data set
  users_R: np.ndarray  # int64, rows of the data set
  state: State  # of these users

  @property
  def num_items(self) -> int:
    """N."""
    return self.dataset.items.num_items


def score_run(
  workdir: PathLike,
  world: epath.Path | None = None,
  count: int = 2000,
  say: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Scores a run, its SASRec if it has one, popular items, item-kNN and the oracle.

  Args:
    workdir: of a run that is trained on a world.
    world: its folder; None for the one that `config.data.path` lies in.
    count: users, drawn evenly.

  Returns:
    Flat: 'sidrec_ndcg@10', '…_share' of the oracle's, '…_error', the standard error of the first,
    and '…_drawn_ndcg@10' of the events that did happen; and so on for each.

  Raises:
    FileNotFoundError: if there is no such run or world.
    ValueError: if the run's histories are not those of the world.
  """
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  task = make_task(config, load_prepared(chain), world, count)
  figures: dict[str, Any] = {"items": task.num_items, "scored_users": len(task.users_R)}
  lists = {"oracle": oracle(task), "sidrec": ours(task, chain)}
  if config.sasrec.enabled:
    lists["sasrec"] = sasrecs(task, find(SASREC, config, as_path(workdir)))
  for name, found_RxK in (lists | baselines(task, say)).items():
    figures |= {f"{name}_{what}": value for what, value in worth(task, found_RxK).items()}
  for name in [key.removesuffix("_ndcg@10") for key in figures if key.endswith("_ndcg@10")]:
    if not name.endswith("_drawn"):
      figures[f"{name}_share"] = figures[f"{name}_ndcg@10"] / figures["oracle_ndcg@10"]
  return figures


def table(figures: dict[str, Any]) -> str:
  """The figures of `score_run` as text, a system a row."""
  rows = [("system", "NDCG@10", "±", "of the oracle", "as drawn")]
  for name in [key.removesuffix("_share") for key in figures if key.endswith("_share")]:
    values = [figures[f"{name}_{what}"] for what in ("ndcg@10", "error", "share", "drawn_ndcg@10")]
    shown = (f"{values[0]:.4f}", f"{values[1]:.4f}", f"{values[2]:.1%}", f"{values[3]:.4f}")
    rows.append((name, *shown))
  return aligned_table(rows, 1)


def make_task(
  config: RunConfig, dataset: Dataset, world: epath.Path | None = None, count: int = 2000
) -> Task:
  """The users that are scored, and their states; arguments and errors as `score_run`."""
  catalogue = read_world(as_path(config.data.path).parent if world is None else world)
  if dataset.items.num_items != catalogue.config.items:
    raise ValueError(
      f"the run has {dataset.items.num_items:,} items and the world {catalogue.config.items:,}; "
      "name the world that the run was trained on"
    )
  held_out = held_out_view(dataset.histories, "test")
  num_users = held_out.histories.num_users
  users_R = store.drawn_users(num_users, min(count, num_users))
  user_R, length_R = (
    x[users_R] for x in (dataset.histories.user_ids_U, dataset.histories.lengths_U)
  )
  again, _ = simulate(catalogue, user_R, length_R)
  for row, user in enumerate(users_R):
    same = np.array_equal(
      ids_of(catalogue, again.of(row).astype(np.int64)), dataset.histories.of(user)
    )
    if not same:
      raise ValueError(
        f"user {user_R[row]} of the run has another history in the world; name the world that the "
        "run was trained on"
      )
  _, state = simulate(catalogue, user_R, length_R - 1)
  return Task(catalogue, config, dataset, held_out, users_R, state)


def worth(task: Task, item_RxK: np.ndarray) -> dict[str, float]:
  """What lists of the data set's rows are worth, best first, NO_ITEM for no item.

  Raises:
    ValueError: for a list that has an item twice, which would count twice.
  """
  sorted_RxK = np.sort(item_RxK, axis=1)
  if ((sorted_RxK[:, 1:] == sorted_RxK[:, :-1]) & (sorted_RxK[:, 1:] != NO_ITEM)).any():
    raise ValueError("a list has an item twice; give distinct items, NO_ITEM for none")
  discount_K = 1.0 / np.log2(np.arange(item_RxK.shape[1]) + 2.0)
  row_RxK = np.where(item_RxK == NO_ITEM, NO_ITEM, rows_of(task.catalogue, item_RxK))
  expected_R = probability(task.catalogue, task.state, row_RxK) @ discount_K
  target_Rx1 = task.held_out.target_U[task.users_R][:, None]
  drawn_R = (item_RxK == target_Rx1) @ discount_K
  return {
    "ndcg@10": float(expected_R.mean()),
    "error": float(expected_R.std(ddof=1) / np.sqrt(len(expected_R))),
    "drawn_ndcg@10": float(drawn_R.mean()),
  }


# The lists of each: int64 [R, K], rows of the data set.


def oracle(task: Task) -> np.ndarray:
  """The best lists by the truth."""
  row_RxK, _ = best(task.catalogue, task.state, RESULTS)
  return np.where(row_RxK == NO_ITEM, NO_ITEM, ids_of(task.catalogue, row_RxK))


def ours(task: Task, chain: Chain) -> np.ndarray:
  """The recommender's, by the run's own search."""
  found = recommender_of(task.config, chain)
  return lists_of(task, found.recommend_users, found.params, task.users_R)


def sasrecs(task: Task, chain: Chain) -> np.ndarray:
  """SASRec's, which scores every item."""
  return lists_of(task, *sasrec_of(task.config, chain), task.users_R)


def lists_of(
  task: Task, recommend_users: RecommendUsers, params: dict, users_R: np.ndarray
) -> np.ndarray:
  """What a model recommends to users of the data set, after their test histories."""
  found = recommend_users(params, task.held_out.histories, users_R)
  return np.asarray(found.item_BxK)[:, :RESULTS]


def baselines(task: Task, say: Callable[[str], None]) -> dict[str, np.ndarray]:
  """Those of what needs no training, from the training interactions of all users."""
  histories = _all_histories(task)
  training, validation = training_view(histories), held_out_view(histories, "valid")
  lists = {"popular": _top(task, popularity(training, task.num_items), everybody_alike=True)}
  if task.num_items <= KNN_ITEMS:
    neighbours, _ = best_item_knn(training, validation, task.num_items)
    lists["item-knn"] = _top(task, neighbours)
  else:
    say(
      f"item-kNN keeps {KEPT} neighbours of each item: all pairs of {task.num_items:,} are too many"
    )
    lists["item-knn"] = kept_item_knn(task, training)
  return lists


def kept_item_knn(task: Task, training: Histories, kept: int = KEPT) -> np.ndarray:
  """What followed the latest items most, where a few followers of each item are kept.

  How popular an item is counts by `nearest_followers.EXPONENTS`; nothing is chosen on validation.
  """
  kept_NxR = nearest_followers([training], task.num_items, kept)
  tables = dict(zip((followers.FOLLOWERS, followers.SIMILARITIES), kept_NxR, strict=True))

  @jax.jit
  def strongest(tables: dict, latest_BxA: jax.Array) -> jax.Array:
    return followers.strongest(tables, latest_BxA, lambda item_BxX: item_BxX >= 0, RESULTS)

  history_RxA = last_items(task.held_out.histories, LATEST)[task.users_R]
  return np.asarray(strongest(jax.device_put(tables), history_RxA))


def _all_histories(task: Task) -> Histories:
  """Also of users whom the run leaves on the disk."""
  data = task.config.data
  return store.load_store(data.path).histories if data.store.users else task.dataset.histories


def _top(task: Task, score_block: ScoreBlock, *, everybody_alike: bool = False) -> np.ndarray:
  users_R = task.users_R[:1] if everybody_alike else task.users_R
  found = []
  for at in range(0, len(users_R), _AT_ONCE):
    scores_BxN = score_block(task.held_out.histories, users_R[at : at + _AT_ONCE])
    item_BxK, valid_BxK = top_items(scores_BxN, RESULTS)
    found.append(np.where(valid_BxK, item_BxK, NO_ITEM))
  item_RxK = np.concatenate(found)
  return np.broadcast_to(item_RxK, (len(task.users_R), RESULTS)) if everybody_alike else item_RxK
