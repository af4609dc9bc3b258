"""How a request was searched: prefixes with what they mean, and what history items add."""

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.data.dataset import training_view
from sidrec.models.base import SemanticIDModel
from sidrec.run.answers import Answer, Id, Wanted
from sidrec.run.ask import Asker
from sidrec.run.reading import Reading
from sidrec.search import explain as search_explain
from sidrec.search.explain import Explained, Prefixes
from sidrec.search.new_items import NewItems
from sidrec.search.questions import Question
from sidrec.tokenizers.report.prefixes import Mark, PrefixIndex

_WEIGHTIEST = 3  # history items that the text names for each result


class Named(NamedTuple):
  """An item."""

  id: Id  # original
  title: str  # '' where unknown


class Prefix(NamedTuple):
  """The first codes of semantic IDs, and the items whose IDs begin so."""

  codes: tuple[int, ...]
  score: float  # log p(prefix | history)
  probability: float | None  # None where scores are no log probabilities
  items: int  # how many there are
  categories: tuple[Mark, ...]  # what marks them, compared with the whole catalogue
  decades: tuple[Mark, ...]
  examples: tuple[Named, ...]  # the most popular of them


class LevelExplanation(NamedTuple):
  """What a search kept of the prefixes of one length."""

  kept: tuple[Prefix, ...]  # the beams, best first
  removed: tuple[Prefix, ...]  # what the filters left nothing of, best first; the first ten
  num_removed: int
  kept_probability: float | None  # of all kept prefixes together
  removed_probability: float | None  # of all that were removed here


class HistoryItem(NamedTuple):
  """An item of the history that the model read."""

  id: Id
  title: str
  semantic_id: tuple[int, ...]
  # For each result, its score less its score after the same history without this item: how much
  # the item speaks for it; with an item head but for what all results share. Where new items are
  # ranked by similarity, for a known result that of the search among known items, for a new one
  # that by which new items are ranked.
  added: tuple[float, ...]


class Explanation(NamedTuple):
  """An answer, and how it came about."""

  answer: Answer  # as `recommend` gives it
  levels: tuple[LevelExplanation, ...]  # among known items, where new ones have their own search
  history: tuple[HistoryItem, ...]  # what was read, oldest first
  # p that an item of the history comes again; the levels lead to something new then. None for a
  # model without repeats.
  again_probability: float | None = None

  def __str__(self) -> str:
    """The results, each with the history items that add most to its score or take most away."""
    lines = []
    for at, result in enumerate(self.answer.items):
      lines.append(f"{at + 1:4d}. {result.title or result.id}  {result.score:.2f}")
      weightiest = sorted(self.history, key=lambda item: -abs(item.added[at]))[:_WEIGHTIEST]
      lines += [f"      {item.added[at]:+.2f}  {item.title or item.id}" for item in weightiest]
    return "\n".join(lines)


class Explainer:
  """Explains the searches of a run."""

  def __init__(self, asker: Asker, among_N: np.ndarray | None = None):
    """Takes what reads its requests, and which item rows are in the catalogue; None for all."""
    self.asker, self._among_N = asker, among_N

  @functools.cached_property
  def prefixes(self) -> PrefixIndex:
    """The catalogue by prefix."""
    dataset = self.asker.dataset
    num_items = dataset.items.num_items
    codes_NxL = codes_by_row(self.asker)
    if self._among_N is not None:
      codes_NxL[~self._among_N] = -1
    popularity_N = np.bincount(training_view(dataset.histories).item_T, minlength=num_items)
    return PrefixIndex(codes_NxL, dataset.items, popularity_N)

  def question(
    self, reading: Reading, wanted: Wanted, withdrawn: Iterable[int] = ()
  ) -> tuple[Question, list[str]]:
    """As `Asker.question`, with one item more than is read: it is read where one is left out.

    Raises:
      TypeError, ValueError: as `Asker.question` does, and for times of the item more.
    """
    question, unknown = self.asker.question(reading, wanted, withdrawn, spare=1)
    if self.asker.model.config.inputs.any:
      search_explain.check_left_out(question, self.asker.model)
    return question, unknown

  def explain(
    self,
    model: SemanticIDModel,
    params: dict,
    trie: Trie,
    reading: Reading,
    wanted: Wanted,
    withdrawn: Iterable[int] = (),
    *,
    new: NewItems | None = None,
    explained: int | None = None,
  ) -> Explanation:
    """Searches for one request, and says how.

    Args:
      model: the recommender.
      params: its parameters.
      trie: the catalogue.
      reading: the history.
      wanted: the options.
      withdrawn: item rows that nobody gets now.
      new: the new items, if they have a trie of their own.
      explained: results of which it is said what history items add to them; None for all.

    Raises:
      TypeError, ValueError: as `question` does.
    """
    asker = self.asker
    question, unknown = self.question(reading, wanted, withdrawn)
    results = wanted.k if explained is None else min(wanted.k, explained)
    found = search_explain.explain(
      params,
      trie,
      question,
      results,
      model=model,
      search=asker.search,
      new=new,
    )
    answer = asker.answer(reading, found.found, wanted.k, unknown, question.request_time)
    rows = question.history_S[found.first :].tolist()
    history = (
      HistoryItem(*asker.described(row), tuple(asker.ids.get_semantic_id(row)), tuple(added_R))
      for row, added_R in zip(rows, found.added_SxR.tolist(), strict=True)
    )
    return Explanation(answer, self._levels(found), tuple(history), found.again)

  def _levels(self, found: Explained) -> tuple[LevelExplanation, ...]:
    is_probability = self.asker.search.gives_probabilities

    def level(depth: int, one: search_explain.Level) -> LevelExplanation:
      kept_probability = float(np.exp(one.kept.score_K).sum()) if is_probability else None
      return LevelExplanation(
        self._described(one.kept, depth, is_probability),
        self._described(one.removed, depth, is_probability),
        one.num_removed,
        kept_probability,
        one.removed_mass if is_probability else None,
      )

    return tuple(level(depth, one) for depth, one in enumerate(found.levels, 1))

  def _described(self, prefixes: Prefixes, depth: int, is_probability: bool) -> tuple[Prefix, ...]:
    codes_K = [
      tuple(self.asker.ids.get_semantic_id(row)[:depth]) for row in prefixes.item_K.tolist()
    ]
    return tuple(
      Prefix(
        codes,
        score,
        math.exp(score) if is_probability else None,
        meaning.items,
        meaning.categories,
        meaning.decades,
        tuple(Named(*self.asker.described(row)) for row in meaning.examples),
      )
      for codes, score, meaning in zip(
        codes_K, prefixes.score_K.tolist(), self.prefixes.meanings(codes_K), strict=True
      )
    )


def codes_by_row(asker: Asker) -> np.ndarray:
  """The semantic ID of each item row, -1 for rows without one: int32 [N, L]."""
  rows_N, codes_NxL = asker.ids.item_ids, asker.ids.codes
  by_row_NxL = np.full((int(rows_N.max()) + 1, codes_NxL.shape[1]), -1, np.int32)
  by_row_NxL[rows_N] = codes_NxL
  return by_row_NxL
