"""What others recommend after the same history: the baselines of the evaluation, and SASRec."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import TEXT, Dataset, Histories, held_out_view, training_view
from sidrec.data.events import Events, action_rows, checked_ratings
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig
from sidrec.evaluation.baselines import ScoreBlock, best_item_knn, popularity, top_items
from sidrec.models.sasrec import SASRec
from sidrec.run.reading import Reading
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


class Heard(NamedTuple):
  """A history as these systems read it."""

  rows: tuple[int, ...]  # item rows, oldest first
  history_1xS: np.ndarray | Events | None  # for SASRec; None where there is none


class Others:
  """The other systems of a run."""

  def __init__(self, dataset: Dataset, sasrec: Trained | str, inputs: InputsConfig = ITEMS_ALONE):
    """Takes the data that all learnt from, SASRec or why there is none, what requests give."""
    self._dataset, self._sasrec, self._given = dataset, sasrec, inputs
    if isinstance(sasrec, Trained) and (lacking := _lacking(sasrec.model.config.inputs, inputs)):
      self._sasrec = f"this run's SASRec reads {lacking}, and requests have none"

  def start(self) -> None:
    """Compiles SASRec, if there is one."""
    if isinstance(self._sasrec, Trained):
      self._next_item(self.heard(Reading((), times=(), ratings=(), actions=()), 0))

  def heard(self, reading: Reading, request_time: int | None) -> Heard:
    """A history as the systems read it: its items that were in the data, the latest for SASRec.

    Raises:
      ValueError: for times or ratings that cannot be.
    """
    kept = [at for at, row in enumerate(reading.rows) if row < self._dataset.items.num_items]
    rows = tuple(reading.rows[at] for at in kept)
    if not isinstance(self._sasrec, Trained):
      return Heard(rows, None)
    config = self._sasrec.model.config
    inputs, latest = config.inputs, kept[-config.history_length :]
    history_1xS = _filled(reading.rows, latest, config.history_length, np.int32, NO_ITEM)
    if not inputs.any:
      return Heard(rows, history_1xS)
    time_1xS = rating_1xS = action_1xS = None
    if inputs.times:
      time_1xS = _filled(reading.times or (), latest, config.history_length, np.int64, 0)
    if inputs.rating:
      rating_1xS = _filled(reading.ratings or (), latest, config.history_length, np.float32, np.nan)
      rating_1xS = checked_ratings(rating_1xS, inputs)
    if inputs.actions:
      row_of = action_rows(self._given.actions, inputs)  # behind the first, which is unknown
      known = row_of[np.array(reading.actions or (), np.int64) - 1].tolist()
      action_1xS = _filled(known, latest, config.history_length, np.int32, 0)
    asked = request_time if inputs.asks else None
    return Heard(rows, Events.of(history_1xS, time_1xS, rating_1xS, asked, action_1xS))

  def lists(self, heard: Heard, question: Question, k: int, gone_R: np.ndarray) -> list[Other]:
    """What each recommends after a history under the request's filters.

    Items that are gone from the catalogue, `gone_R`, are left out.
    """
    k, found = min(k, self._dataset.items.num_items), []
    for name, score in self._systems().items():
      if isinstance(score, str):
        found.append(Other(name, missing=score))
        continue
      item_1xK, valid_1xK = top_items(self._filtered(score(heard), question, gone_R)[None], k)
      found.append(Other(name, tuple(item_1xK[0][valid_1xK[0]].tolist())))
    return found

  def _systems(self) -> dict[str, Callable[[Heard], np.ndarray] | str]:
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
    validation = held_out_view(self._dataset.histories, "valid")
    return best_item_knn(self._training, validation, self._dataset.items.num_items)[0]

  @functools.cached_property
  def _popular(self) -> ScoreBlock:
    return popularity(self._training, self._dataset.items.num_items)

  def _next_item(self, heard: Heard) -> np.ndarray:
    assert isinstance(self._sasrec, Trained)
    model, params = self._sasrec
    return np.asarray(_next_item(params, heard.history_1xS, model=model))[0].copy()

  def _filtered(self, score_N: np.ndarray, question: Question, gone_R: np.ndarray) -> np.ndarray:
    listed_N = np.zeros(len(score_N), bool)
    listed_N[question.listed_J[question.listed_J < len(score_N)]] = True
    score_N = np.where(listed_N == question.allows, score_N, -np.inf)
    score_N[gone_R[gone_R < len(score_N)]] = -np.inf
    return score_N


def _lacking(read: InputsConfig, given: InputsConfig) -> str:
  """What a model reads and requests do not give; '' for nothing."""
  if read.times and not given.times:
    return "times"
  if read.rating and not given.rating:
    return "ratings"
  if not set(read.actions) <= set(given.actions):
    return "other actions"
  return "the request's time" if read.asks and not given.asks else ""


def _filled(values: Sequence[float], at: list[int], width: int, dtype: type, fill: Any) -> Any:
  """One row of these values, filled up: [1, S]."""
  row_1xS = np.full((1, width), fill, dtype)
  row_1xS[0, : len(at)] = [values[place] for place in at]
  return row_1xS


def _scores_of(block: ScoreBlock, heard: Heard) -> np.ndarray:
  """A baseline's score of each item after one history."""
  rows = heard.rows
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
