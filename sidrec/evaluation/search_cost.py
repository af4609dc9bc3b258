"""How recall and speed depend on the number of beams, measured on validation users.

The curve is for choosing a number of beams, and what is chosen on test users says nothing of
others. Times are of warm, synchronised calls, several searches taking turns.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import HeldOut
from sidrec.data.seen import seen_items
from sidrec.evaluation.metrics import per_user_metrics, rank_in_list
from sidrec.evaluation.overlap import in_common
from sidrec.evaluation.settings import SearchCostConfig
from sidrec.search.batched import RecommendUsers

SPLIT = "valid"
RESULTS = 10  # of each list, that count
FEWEST = 10  # users of an exact ranking that says anything


class BeamCount(NamedTuple):
  """A search with so many beams."""

  beams: int
  rank_R: np.ndarray  # int64, of each user's target among ten results; -1 where it is not there
  seconds: tuple[float, ...]  # of each timed pass over all users
  found_X: np.ndarray  # int64, how many of the exact ten it finds, for the first users

  @property
  def metrics(self) -> dict[str, np.ndarray]:
    """Metric → float64 [R], a value for each user."""
    return per_user_metrics(self.rank_R, RESULTS)

  @property
  def users_per_second(self) -> float:
    """By the median of the passes."""
    return len(self.rank_R) / statistics.median(self.seconds)

  @property
  def speeds(self) -> tuple[float, float]:
    """Users a second of the slowest and of the fastest pass."""
    users = len(self.rank_R)
    return users / max(self.seconds), users / min(self.seconds)


class SearchCost(NamedTuple):
  """Searches of the same users. Items of their histories are taken out (masked)."""

  users_R: np.ndarray  # int64, rows, in the order that they were drawn
  counts: tuple[BeamCount, ...]  # by number of beams
  exact_X: np.ndarray  # int64, how many items the exact lists of the first users hold
  no_exact: str  # why there are no exact lists; empty if there are
  hardware: str

  @property
  def identity(self) -> str:
    """Changes with anything that was measured: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(to_json(self)).encode()).hexdigest()[:16]

  def with_beams(self, beams: int) -> BeamCount:
    """The search with so many beams."""
    return next(count for count in self.counts if count.beams == beams)

  def share_of_exact(self, count: BeamCount) -> float | None:
    """The share of the exact lists' items that a search finds, if it is known."""
    total = int(self.exact_X.sum())
    return float(count.found_X.sum()) / total if total else None


def draw(settings: SearchCostConfig, num_users: int) -> np.ndarray:
  """User rows at random with a fixed seed: int64 [R]."""
  return np.random.default_rng(0).permutation(num_users)[: settings.users or num_users]


def num_exact(settings: SearchCostConfig, num_users: int, num_items: int) -> int:
  """For how many users every item is scored; 0 if they would be too few to say anything."""
  count = min(num_users, settings.exact_scores // num_items)
  return count if count >= min(FEWEST, num_users) else 0


def beam_counts(settings: SearchCostConfig, own: int, num_items: int) -> list[int]:
  """Numbers of beams in order: the run's own, and others that are no more than there are items."""
  return sorted({own, *(count for count in settings.beams if count <= num_items)})


def measure(
  searches: Mapping[int, RecommendUsers],
  exact: RecommendUsers | None,
  params: dict,
  held_out: HeldOut,
  users_R: np.ndarray,
  exact_users: int,
  passes: int,
) -> tuple[tuple[BeamCount, ...], np.ndarray]:
  """Searches with each number of beams.

  Args:
    searches: number of beams → the search.
    exact: the ranking of all items; None for no exact lists.
    params: of the recommender.
    held_out: histories and targets.
    users_R: int [R], user rows.
    exact_users: X, how many of the first users get exact lists.
    passes: timed ones of each search, after one that compiles.

  Returns:
    What each search found and took, and how many items the exact lists hold: int64 [X].
  """
  seen, target_R = seen_items(held_out.histories), held_out.target_U[users_R]

  def lists(search: RecommendUsers, users_R: np.ndarray) -> np.ndarray:
    # On the host, so that nothing is still computed when it returns.
    item_RxK, _, valid_RxK = search(params, held_out.histories, users_R, seen)
    return np.where(valid_RxK, item_RxK, NO_ITEM)[:, :RESULTS]

  item_of = {beams: lists(search, users_R) for beams, search in searches.items()}
  seconds: dict[int, list[float]] = {beams: [] for beams in searches}
  for _ in range(passes):
    for beams, search in searches.items():
      start = time.perf_counter()
      lists(search, users_R)
      seconds[beams].append(time.perf_counter() - start)
  best_XxK = np.zeros((0, RESULTS), np.int64)
  if exact is not None:
    best_XxK = lists(exact, users_R[:exact_users])
  counts = []
  for beams, item_RxK in item_of.items():
    rank_R = rank_in_list(item_RxK, item_RxK != NO_ITEM, target_R)
    found_X = in_common(item_RxK[: len(best_XxK)], best_XxK).astype(np.int64)
    counts.append(BeamCount(beams, rank_R, tuple(seconds[beams]), found_X))
  return tuple(counts), (best_XxK != NO_ITEM).sum(axis=1)


def to_json(cost: SearchCost) -> dict[str, Any]:
  """What JSON can hold."""
  counts = [
    {
      "beams": count.beams,
      "rank": count.rank_R.tolist(),
      "seconds": list(count.seconds),
      "found": count.found_X.tolist(),
    }
    for count in cost.counts
  ]
  return {
    "split": SPLIT,
    "users": cost.users_R.tolist(),
    "exact": cost.exact_X.tolist(),
    "no_exact": cost.no_exact,
    "hardware": cost.hardware,
    "searches": counts,
  }


def from_json(content: Mapping[str, Any]) -> SearchCost:
  """The inverse of `to_json`.

  Raises:
    ValueError: if it is not what `to_json` made.
  """
  try:
    counts = tuple(
      BeamCount(
        int(one["beams"]),
        np.array(one["rank"], np.int64),
        tuple(map(float, one["seconds"])),
        np.array(one["found"], np.int64),
      )
      for one in content["searches"]
    )
    users_R, exact_X = (np.array(content[name], np.int64) for name in ("users", "exact"))
    cost = SearchCost(users_R, counts, exact_X, str(content["no_exact"]), str(content["hardware"]))
  except (KeyError, TypeError, ValueError, OverflowError):
    raise ValueError("garbled") from None
  is_whole = bool(counts) and all(
    len(count.rank_R) == len(users_R) > 0
    and len(count.found_X) == len(exact_X)
    and count.seconds
    and min(count.seconds) > 0
    for count in counts
  )
  if not is_whole or content.get("split") != SPLIT:
    raise ValueError("garbled")
  return cost


def table(cost: SearchCost) -> list[tuple[str, ...]]:
  """Rows of text, the header first."""
  rows: list[tuple[str, ...]] = [("beams", "Recall@10", "NDCG@10", "of exact ten", "users/s")]
  for count in cost.counts:
    share = cost.share_of_exact(count)
    rows.append(
      (
        f"{count.beams:,}",
        f"{count.metrics['recall@10'].mean():.4f}",
        f"{count.metrics['ndcg@10'].mean():.4f}",
        "–" if share is None else f"{share:.1%}",
        f"{count.users_per_second:,.0f}",
      )
    )
  return rows
