"""Why a search found what it found: its beams level by level, and what each history item adds.

`explain` runs two compiled functions of fixed shapes. One is the search itself with its levels one
after the other, so that the beams behind each of them come out. The other scores given items after
given histories; asked for the history without one of its items, it says what that item adds.
"""

import dataclasses
import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import ROOT, Trie
from sidrec.data.events import Events
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.histories import check_histories, latest_items
from sidrec.search import beam, evidence, given, new_items
from sidrec.search.beam_state import BeamState
from sidrec.search.buckets import Found
from sidrec.search.checks import check_fit
from sidrec.search.filters import RowBits, any_allowed, num_words, row_bits
from sidrec.search.levels import Continuations, Levels
from sidrec.search.new_items import NewItems, items_of
from sidrec.search.questions import Question, histories_of
from sidrec.search.settings import SearchConfig
from sidrec.search.similarity import ranking_score

SHOWN = 10  # prefixes that a filter removed, of each level
HISTORIES = 16  # scored at once
RESULTS = 10  # scored at once


class Prefixes(NamedTuple):
  """Some prefixes of one length, the most probable first."""

  item_K: np.ndarray  # int32, row of an item whose ID begins so
  items_K: np.ndarray  # int32, how many items there are whose ID does
  score_K: np.ndarray  # float32, log p(prefix | history)


class Level(NamedTuple):
  """What a search kept behind one level."""

  kept: Prefixes  # the beams
  removed: Prefixes  # what the filter left nothing of: the most probable ones
  num_removed: int  # how many the filter removed here, below the beams of the level before
  removed_mass: float  # sum of p of these


class Explained(NamedTuple):
  """One search."""

  levels: tuple[Level, ...]
  found: Found  # as `BucketSearch.find` returns it
  # float32, score of each of the first R results, less its score without this history item; but for
  # what lists of known and new items share, and with an item head what all results share.
  added_SxR: np.ndarray
  first: int  # history items before those of added_SxR, which the model does not read
  again: float | None  # p that an item of the history comes again; None without repeats


class _Traced(NamedTuple):
  """Prefixes of one level on the device, [1, K] each."""

  item: jax.Array
  items: jax.Array
  score: jax.Array


def explain(
  params: dict,
  trie: Trie,
  question: Question,
  results: int,
  *,
  model: SemanticIDModel,
  search: SearchConfig,
  new: NewItems | None = None,
) -> Explained:
  """Searches for one request, and says how.

  Another history, filter, temperature or number of results compiles nothing new.

  Args:
    params: the recommender's parameters.
    trie: the catalogue.
    question: the request. Of a history that is longer than the model reads, give one item more,
      with its time, rating and action: it is read where a later one is left out.
    results: R, results of which it is said what history items add to them.
    model: the recommender.
    search: how to search.
    new: the new items, if they have a trie of their own.

  Raises:
    ValueError: for histories that are not of item rows, or lack what the model reads; parameters
      of another catalogue.
  """
  check_fit(model, params, trie)
  check_histories(np.asarray(question.history_S)[None], int(trie.used))
  word_1xX, *more = (
    row_bits(np.asarray(one.row_of_N), num_words(one), [question.listed_J], [question.allows])
    for one in ((trie,) if new is None else (trie, new.trie))
  )
  temperature = np.float32(question.temperature)
  levels, found, removed, again = jax.device_get(
    _trace(
      params,
      trie,
      histories_of([question], 1, model.config.history_length, model.config),
      word_1xX,
      temperature,
      None if new is None else (new, *more),
      model=model,
      search=search,
    )
  )
  kept_K = np.flatnonzero(found.valid_BxK[0])
  answer = Found(found.item_BxK[0][kept_K], found.score_BxK[0][kept_K])
  item_R = answer.item_K[:results]
  added_SxR = _added(params, trie, question, item_R, model=model, search=search)
  if new is not None:
    of_new = {**params, **new.tables}, new.trie, question, item_R, new
    added_new_SxR = _added(*of_new, model=new.model_of(model), search=search)
    is_new_1xR = (item_R >= new.vectors.known_NxF.shape[0])[None]
    added_SxR = np.where(is_new_1xR, added_new_SxR, added_SxR)
  return Explained(
    tuple(
      Level(_prefixes(level), _prefixes(best), int(count), float(mass))
      for level, (best, count, mass) in zip(levels, removed, strict=True)
    ),
    answer,
    added_SxR,
    len(question.history_S) - len(added_SxR),
    float(again) if model.config.repeats else None,
  )


def _prefixes(traced: _Traced) -> Prefixes:
  kept_K = np.flatnonzero(np.isfinite(traced.score[0]))
  return Prefixes(*(np.asarray(x_1xK[0])[kept_K] for x_1xK in traced))


def left_out(question: Question, history_length: int) -> list[Question]:
  """The request, and then the request without each of the items that are read, oldest first.

  What is left out takes its time, rating and action along, so that gaps are those of the others.
  """
  count = len(question.history_S)

  def without(at: int) -> Question:
    time_S, rating_S, action_S = question.time_S, question.rating_S, question.action_S
    return question._replace(
      history_S=np.delete(question.history_S, at),
      time_S=None if time_S is None else np.delete(time_S, at),
      rating_S=None if rating_S is None else np.delete(rating_S, at),
      action_S=None if action_S is None else np.delete(action_S, at),
    )

  return [question, *map(without, range(max(0, count - history_length), count))]


def check_left_out(question: Question, model: SemanticIDModel) -> None:
  """Raises ValueError if a request, or one without an item of it, has times that cannot be."""
  questions, config = left_out(question, model.config.history_length), model.config
  histories_of(questions, len(questions), config.history_length, config)


def _added(params, trie, question, item_R, new=None, *, model, search) -> np.ndarray:
  """The score of each item, less its score without each history item that is read: [S, R].

  With `new`, of its items; those that the trie lacks get NaN.
  """
  config, temperature = model.config, np.float32(question.temperature)
  questions = left_out(question, config.history_length)
  score_BxR = np.empty((len(questions), len(item_R)), np.float32)
  for start in range(0, len(item_R), RESULTS):
    some = item_R[start : start + RESULTS]
    item_R_full = np.zeros(RESULTS, np.int32)
    item_R_full[: len(some)] = some
    for at in range(0, len(questions), HISTORIES):
      lot = questions[at : at + HISTORIES]
      history_BxS = histories_of(lot, HISTORIES, config.history_length, config)
      scores = _score(
        *(params, trie, history_BxS, item_R_full, temperature),
        new,
        model=model,
        search=search,
      )
      score_BxR[at : at + len(lot), start : start + len(some)] = np.asarray(scores)[
        : len(lot), : len(some)
      ]
  with np.errstate(invalid="ignore"):  # items of another trie score -inf
    return score_BxR[0] - score_BxR[1:]


@functools.partial(jax.jit, static_argnames=("model", "search"))
def _trace(params, trie, history_1xS, word_1xX, temperature, new=None, *, model, search):
  """The search of one history: the beams behind each level, what is found, what is removed."""
  config = dataclasses.replace(search, temperature=temperature, certify=False)
  encoded = _encode(model, params, trie, history_1xS, config.beams)
  levels = beam.make_levels(model, params, trie, encoded, config, RowBits(word_1xX))
  state, kept, removed = levels.start(1), [], []
  for level in range(trie.num_levels):
    more = levels.continuations(state, level, trie.fan_outs[level])
    removed.append(_removed(levels, state, more))
    state = levels.best(state, level, more)
    kept.append(_described(trie, state.node_BxK, state.score_BxK))
  found = beam.results(levels, state)
  if new is not None:
    bits = RowBits(new[1])
    found = new_items.with_new(model, params, encoded, history_1xS, config, found, new[0], bits)
    # A trie of no known items leads to one nevertheless.
    kept, removed = jax.tree.map(
      lambda x: jnp.where(new[0].any_known, x, _nothing(x)), (kept, removed)
    )
  again = 0.0 if levels.again is None else 1 - jnp.exp(levels.again.new_B[0])
  return kept, found, removed, again


def _nothing(x: jax.Array) -> jax.Array:
  """What is in place of scores, numbers and items where nothing is."""
  return jnp.full_like(x, -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) and x.ndim else 0)


def _removed(levels: Levels, state: BeamState, more: Continuations):
  """What the filter removes of the continuations of the beams: the best, their number, their p."""
  assert levels.rows is not None
  node_BxKxC, score_BxKxC = more.children.node, state.score_BxK[..., None] + more.logp_BxKxC
  is_removed = jnp.isfinite(score_BxKxC) & ~any_allowed(levels.trie, node_BxKxC, levels.rows)
  flat_BxX = jnp.where(is_removed, score_BxKxC, -jnp.inf).reshape(1, -1)
  score_BxR, at_BxR = jax.lax.top_k(flat_BxX, min(SHOWN, flat_BxX.shape[1]))
  node_BxR = jnp.take_along_axis(node_BxKxC.reshape(1, -1), at_BxR, axis=1)
  node_BxR = jnp.where(jnp.isfinite(score_BxR), node_BxR, ROOT)
  best = _described(levels.trie, node_BxR, score_BxR)
  return best, is_removed.sum(), jnp.exp(flat_BxX).sum()


def _described(trie: Trie, node_BxK: jax.Array, score_BxK: jax.Array) -> _Traced:
  first_BxK, stop_BxK = trie_lib.rows_below(trie, node_BxK)
  return _Traced(trie.item_N[first_BxK], stop_BxK - first_BxK, score_BxK)


@functools.partial(jax.jit, static_argnames=("model", "search"))
def _score(params, trie, history_BxS, item_R, temperature, new=None, *, model, search):
  """The score of each item after each history, as a search with enough beams has it: [B, R].

  With `new`, the items are new ones, and what these are ranked by counts, too.
  """
  config = dataclasses.replace(search, temperature=temperature, certify=False)
  encoded = _encode(model, params, trie, history_BxS, len(item_R))
  levels = beam.make_levels(model, params, trie, encoded, config)
  item_BxR = jnp.broadcast_to(item_R, (history_BxS.shape[0], len(item_R)))
  score_BxR = given.log_p(levels, item_BxR)
  if levels.again is not None:  # an item of the history has no path
    same_BxPxR = levels.again.item_BxP[..., None] == item_BxR[:, None]
    again_BxPxR = jnp.where(same_BxPxR, levels.again.logp_BxP[..., None], -jnp.inf)
    score_BxR = jnp.maximum(score_BxR, again_BxPxR.max(axis=1))
  if evidence.is_used(model.config, config):
    score_BxR = evidence.sums(model, params, trie, encoded, config, item_BxR, score_BxR)
    if config.gives_probabilities:  # as in `joint.pooled`, up to a number that all results share
      score_BxR = score_BxR * evidence.sharpness(model.config, config, params)
  if new is not None:
    latest_BxS = latest_items(items_of(model, history_BxS))
    head = new.head_of(model, params, encoded, config)
    score_BxR = ranking_score(score_BxR, latest_BxS, item_BxR, new.vectors, head)
  return score_BxR


def _encode(
  model: SemanticIDModel, params: dict, trie: Trie, history_BxS: jax.Array | Events, beams: int
) -> EncoderOutput:
  inputs = history_BxS, trie.codes_NxL, beams, trie.used
  return cast(EncoderOutput, model.apply({"params": params}, *inputs, method="encode"))
