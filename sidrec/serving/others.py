"""What others recommend after the same history: the baselines of the evaluation, and SASRec."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import TEXT, Dataset, Histories, training_view
from sidrec.evaluation.baselines import ScoreBlock, item_knn, popularity, top_items
from sidrec.models.sasrec import SASRec
from sidrec.search.questions import Question

MOST_ITEMS = 200_000  # of a catalogue whose items are all compared with each other


class Other(NamedTuple):
  """One system: its list, or why there is none."""

  name: str
  rows: tuple[int, ...] = ()  # item rows, best first
  missing: str = ""


class Trained(NamedTuple):
  """A SASRec of the run."""

  model: SASRec
  params: dict


class Others:
  """The other systems of a run."""

  def __init__(self, dataset: Dataset, sasrec: Trained | str):
    """Takes the data that all learnt from, and SASRec or why there is none."""
    self._dataset, self._sasrec = dataset, sasrec
    if isinstance(sasrec, Trained) and sasrec.model.config.inputs.any:
      self._sasrec = "this run's SASRec reads times or ratings, and requests have none"

  def start(self) -> None:
    """Compiles SASRec, if there is one."""
    if isinstance(self._sasrec, Trained):
      self._next_item([0])

  def lists(self, rows: list[int], question: Question, k: int, gone_R: np.ndarray) -> list[Other]:
    """What each recommends after item rows, oldest first, under the request's filters.

    Items that are gone from the catalogue, `gone_R`, are left out.
    """
    num_items = self._dataset.items.num_items
    rows, k = [row for row in rows if row < num_items], min(k, num_items)
    found = []
    for name, score in self._systems().items():
      if isinstance(score, str):
        found.append(Other(name, missing=score))
        continue
      item_1xK, valid_1xK = top_items(self._filtered(score(rows), question, gone_R)[None], k)
      found.append(Other(name, tuple(item_1xK[0][valid_1xK[0]].tolist())))
    return found

  def _systems(self) -> dict[str, Callable[[list[int]], np.ndarray] | str]:
    knn, sasrec = self._knn, self._sasrec
    return {
      "item-kNN": knn if isinstance(knn, str) else functools.partial(_scores_of, knn),
      "SASRec": sasrec if isinstance(sasrec, str) else self._next_item,
      "most popular": functools.partial(_scores_of, self._popular),
    }

  @functools.cached_property
  def _training(self) -> Histories:
    return training_view(self._dataset.histories)

  @functools.cached_property
  def _knn(self) -> ScoreBlock | str:
    if self._dataset.items.num_items > MOST_ITEMS:
      return f"not made for more than {MOST_ITEMS:,} items"
    return item_knn(self._training, self._dataset.items.num_items)

  @functools.cached_property
  def _popular(self) -> ScoreBlock:
    return popularity(self._training, self._dataset.items.num_items)

  def _next_item(self, rows: list[int]) -> np.ndarray:
    assert isinstance(self._sasrec, Trained)
    model, params = self._sasrec
    length = model.config.history_length
    history_1xS = np.full((1, length), NO_ITEM, np.int32)
    latest = rows[-length:]
    history_1xS[0, : len(latest)] = latest
    return np.asarray(_next_item(params, history_1xS, model=model))[0].copy()

  def _filtered(self, score_N: np.ndarray, question: Question, gone_R: np.ndarray) -> np.ndarray:
    listed_N = np.zeros(len(score_N), bool)
    listed_N[question.listed_J[question.listed_J < len(score_N)]] = True
    score_N = np.where(listed_N == question.allows, score_N, -np.inf)
    score_N[gone_R[gone_R < len(score_N)]] = -np.inf
    return score_N


def _scores_of(block: ScoreBlock, rows: list[int]) -> np.ndarray:
  """A baseline's score of each item after one history."""
  one = Histories(
    offsets_Up1=np.array([0, len(rows)], np.int64),
    item_T=np.array(rows, np.int32),
    time_T=np.arange(len(rows), dtype=np.int64),
    rating_T=np.full(len(rows), np.nan, np.float32),
    user_ids_U=np.array([""], TEXT),
  )
  return block(one, np.array([0]))[0]


@functools.partial(jax.jit, static_argnames="model")
def _next_item(params, history_1xS, *, model):
  return model.apply({"params": params}, history_1xS, method="next_item")
