"""What a new version of the catalogue has to pass before it answers anybody."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.data.columns import actions_of, users_of
from sidrec.data.events import action_rows
from sidrec.models.base import SemanticIDModel
from sidrec.models.histories import latest_items
from sidrec.search import evidence
from sidrec.search.buckets import BucketSearch, Found, Shape
from sidrec.search.levels import call
from sidrec.search.likelihood import item_paths, likelihood_scores
from sidrec.search.new_items import NewItems, items_of
from sidrec.search.questions import Question
from sidrec.search.settings import SearchConfig
from sidrec.search.similarity import ranking_score
from sidrec.serving.snapshot import Snapshot

SAMPLE = 16  # stored histories that are searched
# Of each, the latest items, so that a check costs little while others ask: what is new in a version
# are tables of items and nodes, and the likelihood reads these at every place of a history.
_LATEST = 8
# How far apart a score of the search and of the likelihood may be, in nats and in parts of itself;
# accelerators multiply float32 with fewer bits.
_APART = {"float32": 1e-3, "bfloat16": 0.2}
_APART_ELSEWHERE = 0.1


class InvalidCatalogueError(ValueError):
  """A version that would answer wrongly."""


class _Side(NamedTuple):
  """A trie with the model and the parameters for it: of all items, of known ones, or of new."""

  model: SemanticIDModel
  params: dict
  trie: Trie
  new: NewItems | None  # of the side of new items

  def has(self, item_K: np.ndarray, trained: int, *, apart: bool) -> np.ndarray:
    """Which items it leads to: bool [K]."""
    if not apart:
      return np.ones(len(item_K), bool)
    return item_K < trained if self.new is None else item_K >= trained


def _sides(search: BucketSearch) -> list[_Side]:
  sides, new = [_Side(search.model, search.params, search.trie, None)], search.new
  if new is not None:
    params = {**search.params, **new.tables}
    sides.append(_Side(new.model_of(search.model), params, new.trie, new))
  return sides


class Validator:
  """Checks versions; its own programs are compiled with those of a search."""

  def __init__(self) -> None:
    """Has compiled nothing yet."""
    self._key: tuple[object, ...] = ()  # of the search that it was compiled for
    self._scores: list[jax.stages.Compiled] = []  # of each side

  def compile(self, snapshot: Snapshot) -> None:
    """Compiles what checks such a snapshot, unless it was compiled for one of the same shapes."""
    search = snapshot.search
    if self._key == search.program_key:
      return
    history_BxS = search.filled([], _shape(snapshot))[0]
    self._scores = []
    for side in _sides(search):
      scores = functools.partial(_ranking_scores, side.model, search.search_config)
      arguments = _arguments(side, history_BxS, np.zeros(SAMPLE, np.int32))
      self._scores.append(jax.jit(scores).lower(*arguments).compile())
    self._key = search.program_key

  def check(self, snapshot: Snapshot, before: Snapshot | None = None) -> None:
    """Checks a snapshot: what it consists of, what it finds, and how it scores that.

    Args:
      snapshot: the new version, whose programs are compiled.
      before: the version that it follows.

    Raises:
      InvalidCatalogueError: naming the first thing that is wrong.
    """
    _check_parts(snapshot)
    if before is not None:
      _check_known(snapshot, before)
    _check_new(snapshot, before)
    questions = sample(snapshot)
    found = snapshot.search.find(questions)
    _check_found(snapshot, questions, found)
    self._check_scores(snapshot, questions, found)

  def _check_scores(
    self, snapshot: Snapshot, questions: Sequence[Question], found: Sequence[Found]
  ) -> None:
    """The first and the last item of each kind: scores by the search, and by the likelihood."""
    self.compile(snapshot)
    search, trained = snapshot.search, snapshot.state.trained
    apart, mixed = search.new is not None, search.new is not None and bool(search.new.any_new)
    worst = 0.0
    for side, scores in zip(_sides(search), self._scores, strict=True):
      kept = [side.has(f.item_K, trained, apart=apart) for f in found]
      lists = [Found(f.item_K[has], f.score_K[has]) for f, has in zip(found, kept, strict=True)]
      pairs = [(q, f) for q, f in zip(questions, lists, strict=True) if len(f.item_K)]
      if pairs:
        # With an item head, and in mixed lists, scores are known but for what a list shares.
        shifted = mixed or evidence.is_used(search.model.config, search.search_config)
        worst = max(worst, _apart(snapshot, side, scores, pairs, shifted=shifted))
    dtype, on_cpu = search.model.config.dtype, jax.default_backend() == "cpu"
    if not worst <= (_APART[dtype] if on_cpu else max(_APART[dtype], _APART_ELSEWHERE)):
      raise InvalidCatalogueError(f"scores of the search are {worst:.3g} from the likelihood")


def _apart(
  snapshot: Snapshot,
  side: _Side,
  scores: jax.stages.Compiled,
  pairs: Sequence[tuple[Question, Found]],
  *,
  shifted: bool,
) -> float:
  """How far the scores of lists are from what they should be, in nats and in parts of themselves.

  Where they may be shifted, their difference within a list is compared.
  """
  bare = [question._replace(listed_J=np.zeros(0, np.int32)) for question, _ in pairs]
  history_BxS = snapshot.search.filled(bare, _shape(snapshot))[0]
  apart, size_B = [], np.ones(len(pairs))
  for at in (0, -1):
    item_B, score_B = (np.array([getattr(f, x)[at] for _, f in pairs]) for x in Found._fields)
    filled_B = np.full(SAMPLE, item_B[0], np.int32)
    filled_B[: len(pairs)] = item_B
    made_B = scores(*_arguments(side, history_BxS, filled_B))
    apart.append(np.asarray(made_B)[: len(pairs)] - score_B)
    size_B = np.maximum(size_B, np.abs(score_B))
  if shifted:
    apart = [apart[1] - apart[0]]
  return float(np.max(np.abs(apart) / size_B))


def _ranking_scores(
  model: SemanticIDModel,
  config: SearchConfig,
  params: dict,
  trie: Trie,
  new: NewItems | None,
  path_NxLp1: jax.Array,
  history_BxS: Any,
  item_B: jax.Array,
) -> jax.Array:
  """The score of one item for each history, but for a number that all new ones share: [B]."""
  score_B = likelihood_scores(model, config, params, trie, path_NxLp1, history_BxS, item_B)
  if new is None:
    return score_B
  latest_BxS = latest_items(items_of(model, history_BxS))
  encoded = call(model, params, "encode", history_BxS, trie.codes_NxL, 1, trie.used)
  head = new.head_of(model, params, encoded, config)
  return ranking_score(score_B[:, None], latest_BxS, item_B[:, None], new.vectors, head)[:, 0]


def _arguments(side: _Side, history_BxS: Any, item_B: np.ndarray) -> tuple:
  return side.params, side.trie, side.new, item_paths(side.trie), history_BxS, item_B


def sample(snapshot: Snapshot) -> list[Question]:
  """The ends of stored histories of users of the run, spread over all, without what they saw."""
  histories, length = snapshot.asker.dataset.histories, _shape(snapshot).history
  filled_U = np.flatnonzero(histories.lengths_U)
  users = filled_U[np.linspace(0, len(filled_U) - 1, min(SAMPLE, len(filled_U))).astype(int)]
  most, inputs = snapshot.search.most_listed(), snapshot.search.model.config.inputs
  row_of, questions = action_rows(histories.actions or (), inputs), []
  for user in users.tolist():
    events = slice(*histories.offsets_Up1[user : user + 2].tolist())
    row, time_S = histories.item_T[events].astype(np.int32), histories.time_T[events]
    questions.append(
      Question(
        row[-length:],
        np.unique(row)[:most],
        time_S=time_S[-length:] if inputs.times else None,
        rating_S=histories.rating_T[events][-length:] if inputs.rating else None,
        request_time=int(time_S[-1]) if inputs.asks else None,
        action_S=row_of[actions_of(histories)[events]][-length:] if inputs.actions else None,
        user_X=users_of(histories, np.array([user]), inputs)[0] if inputs.user_attributes else None,
      )
    )
  return questions


def _shape(snapshot: Snapshot) -> Shape:
  history = min(_LATEST, snapshot.search.model.config.history_length)
  return Shape(SAMPLE, history, 1, False)


def _check_parts(snapshot: Snapshot) -> None:
  state, search = snapshot.state, snapshot.search
  count = state.items.num_items
  sizes = {count, state.ids.num_items, len(state.among_N), len(snapshot.asker.row_of)}
  if len(sizes) > 1 or search.num_items != count:
    raise InvalidCatalogueError("items, IDs and trie differ in number")
  if not np.array_equal(np.asarray(search.trie.codes_NxL)[:count], state.ids.codes):
    raise InvalidCatalogueError("the trie has other IDs than the map")
  if not np.array_equal(np.sort(_reached(search)), np.flatnonzero(state.among_N)):
    raise InvalidCatalogueError("the trie leads to other items than the catalogue has")
  if search.new is not None and not np.array_equal(
    np.asarray(search.new.trie.codes_NxL)[:count], state.ids.codes
  ):
    raise InvalidCatalogueError("the trie of new items has other IDs than the map")
  for path, leaf in jax.tree.leaves_with_path((search.params, _floats_of(search))):
    values = np.asarray(leaf)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
      name = jax.tree_util.keystr(path)
      raise InvalidCatalogueError(f"parameters {name} hold NaN or infinity")


def _reached(search: BucketSearch) -> np.ndarray:
  """The items that the tries lead to."""
  tries = [search.trie]
  if search.new is not None:  # a trie of no items leads to one nevertheless
    sides = (search.trie, search.new.any_known), (search.new.trie, search.new.any_new)
    tries = [trie for trie, any_item in sides if any_item]
  return np.concatenate([np.asarray(trie.item_N)[: int(trie.row_E[1])] for trie in tries])


def _floats_of(search: BucketSearch) -> Any:
  """What is known of new items, but for the vectors of others, which never change."""
  new = search.new
  return () if new is None else (new.tables, new.vectors.new_MxF, new.near)


def _check_known(snapshot: Snapshot, before: Snapshot) -> None:
  """Items that both know have the same rows and IDs; others have rows that nothing else needs."""
  mine, its = snapshot.state, before.state
  shared = min(mine.items.num_items, its.items.num_items)
  same_N = mine.items.ids_N[:shared] == its.items.ids_N[:shared]
  if not same_N[: its.trained].all():
    raise InvalidCatalogueError("items that the run was trained on have other rows now")
  if not np.array_equal(mine.ids.codes[:shared][same_N], its.ids.codes[:shared][same_N]):
    raise InvalidCatalogueError("items that were there before have other IDs now")
  if (mine.among_N[:shared] & its.among_N[:shared] & ~same_N).any():
    raise InvalidCatalogueError("an item has the row of one that was not removed before")
  known = {*mine.items.ids_N.tolist()} & {*its.items.ids_N.tolist()}
  if len(known) != same_N.sum():
    raise InvalidCatalogueError("items that were there before have other rows now")


def _check_new(snapshot: Snapshot, before: Snapshot | None) -> None:
  """Every item that came is found by a request that allows no others than some that came."""
  among_N, search = snapshot.state.among_N, snapshot.search
  was_N = np.zeros_like(among_N)
  if before is not None:
    shared = min(len(among_N), len(before.state.among_N))
    was_N[:shared] = before.state.among_N[:shared]
  else:
    was_N[: len(was_N)] = True
  came = np.flatnonzero(among_N & ~was_N).astype(np.int32)
  if not len(came) or search.search_config.most_per_prefix:
    return
  question, beams = sample(snapshot)[0], search.search_config.beams
  parts = np.split(came, range(beams, len(came), beams))
  lists = search.find([question._replace(listed_J=part, allows=True) for part in parts])
  for part, found in zip(parts, lists, strict=True):
    if not np.array_equal(np.sort(found.item_K), part):
      missing = snapshot.asker.described(int(np.setdiff1d(part, found.item_K)[0]))[0]
      raise InvalidCatalogueError(f"no search finds item {str(missing)!r:.80}")


def _check_found(snapshot: Snapshot, questions: Sequence[Question], found: Sequence[Found]) -> None:
  """Lists of items of the catalogue, each once, none of those listed, best first."""
  beams = snapshot.search.search_config.beams
  limited = bool(snapshot.search.search_config.most_per_prefix)
  for question, (item_K, score_K) in zip(questions, found, strict=True):
    allowed = snapshot.state.among_N.copy()
    allowed[question.listed_J] = False
    full = len(item_K) == min(beams, int(allowed.sum())) or limited
    if not full or not allowed[item_K].all() or len(np.unique(item_K)) < len(item_K):
      raise InvalidCatalogueError("a search gives items twice, or too few, or that it may not give")
    if not np.isfinite(score_K).all() or (np.diff(score_K) > 0).any():
      raise InvalidCatalogueError("a search gives scores that are not in order")
