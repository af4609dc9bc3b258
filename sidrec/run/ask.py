"""Requests by original ids and titles: to item rows, and from what a search found to answers."""

import copy
import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sidrec.catalogue.categories import Categories
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.titles import TitleIndex
from sidrec.core.item_rows import as_int32
from sidrec.core.printable import printable
from sidrec.data.batches import user_tokens
from sidrec.data.columns import actions_of as actions_in
from sidrec.data.dataset import Dataset, Items
from sidrec.data.events import action_rows
from sidrec.models.base import SemanticIDModel
from sidrec.run.answers import AS_USUAL, Answer, Id, Recommended, Wanted
from sidrec.run.frames import histories_of_frame, is_frame
from sidrec.run.given import listed, name_of
from sidrec.run.reading import Reading, context, given_user, own_user
from sidrec.search.buckets import Found
from sidrec.search.questions import Question, check_question
from sidrec.search.settings import SearchConfig

NOBODY = "you"  # whose token those have who are no user of the run

Find = Callable[[Sequence[Question]], list[Found]]


class Asker:
  """Reads requests to a run, and words its answers."""

  def __init__(
    self, dataset: Dataset, ids: SemanticIDManager, model: SemanticIDModel, search: SearchConfig
  ):
    """Takes the parts of a run."""
    self.dataset, self.ids, self.model, self.search = dataset, ids, model, search
    self._ids_N = dataset.items.ids_N.tolist()
    self._titles_N = dataset.items.titles_N.tolist()
    self.row_of = rows_by_id(dataset.items.ids_N)

  def with_items(self, items: Items, ids: SemanticIDManager) -> "Asker":
    """The asker of a catalogue that has grown: its first items are those of this one."""
    grown, known = copy.copy(self), len(self._ids_N)
    grown.dataset, grown.ids = self.dataset._replace(items=items), ids
    grown._ids_N = [*self._ids_N, *items.ids_N[known:].tolist()]
    grown._titles_N = [*self._titles_N, *items.titles_N[known:].tolist()]
    new = {str(name): row for row, name in enumerate(grown._ids_N[known:], known)}
    grown.row_of = {**self.row_of, **new}
    grown.titles = self.titles.with_titles(grown._titles_N)
    grown.categories = Categories(items)
    return grown

  @functools.cached_property
  def user_of(self) -> dict[str, int]:
    """The row of each user, by original id as text."""
    return rows_by_id(self.dataset.histories.user_ids_U)

  @functools.cached_property
  def titles(self) -> TitleIndex:
    """The titles of the catalogue."""
    return TitleIndex(self._titles_N)

  @functools.cached_property
  def categories(self) -> Categories:
    """The categories of the catalogue."""
    return Categories(self.dataset.items)

  def described(self, row: int) -> tuple[Id, str]:
    """The original id and the title of an item row."""
    return self._ids_N[row], self._titles_N[row]

  # From ids to rows.

  def of_items(
    self,
    ids: Any,
    user: Id | None = None,
    times: Any = None,
    ratings: Any = None,
    actions: Any = None,
    attributes: Any = None,
  ) -> Reading:
    """A history of original ids, oldest first, with what is known of each, and of the user."""
    names, rows = self._looked_up("items", ids)
    unknown = tuple(name for name, row in zip(names, rows, strict=True) if row is None)
    known = tuple(row for row in rows if row is not None)
    context = self._context(rows, times, ratings, actions)
    return Reading(
      known, user, unknown, {}, {}, *context, given_user(attributes, self.model.config.inputs)
    )

  def of_titles(
    self,
    titles: Any,
    times: Any = None,
    ratings: Any = None,
    actions: Any = None,
    attributes: Any = None,
  ) -> Reading:
    """A history of titles, oldest first; each names an item as `catalogue.titles` says."""
    rows: list[int | None] = []
    unknown = []
    ambiguous: dict[str, tuple[Id, ...]] = {}
    taken_for: dict[str, Id] = {}
    for title in listed("titles", titles):
      if not isinstance(title, str):
        raise TypeError(f"titles hold {title!r:.40}; give titles as text")
      found, is_exact = self.titles.rows(title)
      rows.append(found[0] if len(found) == 1 else None)
      if not found:
        unknown.append(title)
      elif len(found) > 1:
        ambiguous[title] = tuple(self._ids_N[row] for row in found)
      elif not is_exact:
        taken_for[title] = self._ids_N[found[0]]
    known = (row for row in rows if row is not None)
    context = self._context(rows, times, ratings, actions)
    said = *context, given_user(attributes, self.model.config.inputs)
    return Reading(tuple(known), None, tuple(unknown), ambiguous, taken_for, *said)

  def of_user(self, user: Any, attributes: Any = None) -> Reading:
    """The whole history of a user of the run, with their own attributes.

    Raises:
      ValueError: for a user whom the run does not know, or for other attributes.
    """
    row = self.user_of.get(name_of("user", user))
    if row is None:
      example = printable(self.dataset.histories.user_ids_U.item(0))
      raise ValueError(
        f"user '{printable(str(user))[:80]}' is not in the data set; user ids look like {example}, "
        "and others may be asked for by the items of their history"
      )
    if attributes is not None:
      given_user(attributes, self.model.config.inputs)
      raise ValueError("attributes go with items or titles; a user of the run has their own")
    histories, inputs = self.dataset.histories, self.model.config.inputs
    events = slice(*histories.offsets_Up1[row : row + 2].tolist())
    return Reading(
      tuple(histories.item_T[events].tolist()),
      histories.user_ids_U.item(row),
      times=tuple(histories.time_T[events].tolist()) if inputs.times else None,
      ratings=tuple(histories.rating_T[events].tolist()) if inputs.rating else None,
      actions=self._actions_in_log(events) if inputs.actions else None,
      attributes=own_user(histories, row, inputs),
    )

  def _actions_in_log(self, events: slice) -> tuple[int, ...]:
    histories = self.dataset.histories
    row_of = action_rows(histories.actions or (), self.model.config.inputs)
    return tuple(row_of[actions_in(histories)[events]].tolist())

  def reading(self, whom: str, value: Any, wanted: Wanted) -> Reading:
    """The history of a request: of 'items', 'titles' or a 'user'."""
    match whom:
      case "user":
        return self.of_user(value, wanted.attributes)
      case "items":
        return self.of_items(value, None, *self._said(wanted))
      case _:
        return self.of_titles(value, *self._said(wanted))

  def _said(self, wanted: Wanted) -> tuple[Any, ...]:
    return wanted.times, wanted.ratings, wanted.actions, wanted.attributes

  def of_nobody(self, user: Id, attributes: Any = None) -> Reading:
    """The empty history of a user whom the run does not know."""
    inputs = self.model.config.inputs
    return Reading(
      (),
      user,
      times=() if inputs.times else None,
      ratings=() if inputs.rating else None,
      actions=() if inputs.actions else None,
      attributes=given_user(attributes, inputs),
    )

  def of_histories(
    self, histories: Any, columns: dict[str, str], wanted: Wanted = AS_USUAL
  ) -> list[Reading]:
    """Many histories: a list of original ids for each, or a table of users and items.

    Users of a table who are users of the run have their own attributes; of others all are unknown.
    """
    inputs = self.model.config.inputs
    given = dict(
      zip(("times", "ratings", "actions", "attributes"), self._said(wanted), strict=True)
    )
    if is_frame(histories):
      if given.pop("attributes") is not None:
        raise ValueError("attributes go with lists of histories; a table says nothing of its users")
      if any(values is not None for values in given.values()):
        what = " and ".join(name for name, values in given.items() if values is not None)
        raise ValueError(f"a table has {what} in columns of its own; give no others")
      readings = [
        self.of_items(
          one.items,
          one.user,
          one.times if inputs.times else None,
          one.ratings if inputs.rating else None,
          one.actions if inputs.actions else None,
        )
        for one in histories_of_frame(histories, columns)
      ]
      if not inputs.user_attributes:
        return readings
      for at, reading in enumerate(readings):
        if (row := self.user_of.get(str(reading.user))) is not None:
          own = own_user(self.dataset.histories, row, inputs)
          readings[at] = reading._replace(attributes=own)
      return readings
    items = listed("histories", histories)
    each = [
      [None] * len(items) if values is None else listed(what, values)
      for what, values in given.items()
    ]
    for what, values in zip(given, each, strict=True):
      if len(values) != len(items):
        raise ValueError(f"{len(values)} lists of {what} are given for {len(items)} histories")
    return [self.of_items(ids, None, *rest) for ids, *rest in zip(items, *each, strict=True)]

  def rows_of(self, what: str, ids: Any) -> tuple[list[int], list[str]]:
    """The rows of original ids, and the ids that no item has.

    Raises:
      TypeError: for what is no list, or holds anything else than text and whole numbers.
    """
    names, rows = self._looked_up(what, ids)
    unknown = [name for name, row in zip(names, rows, strict=True) if row is None]
    return [row for row in rows if row is not None], unknown

  def _looked_up(self, what: str, ids: Any) -> tuple[list[str], list[int | None]]:
    names = [name_of(what, item) for item in listed(what, ids)]
    return names, [self.row_of.get(name, self.row_of.get(name.strip())) for name in names]

  def _context(
    self, rows: Sequence[int | None], times: Any, ratings: Any, actions: Any
  ) -> tuple[tuple | None, tuple | None, tuple | None]:
    """Times, ratings and actions of the items that have a row."""
    inputs, in_log = self.model.config.inputs, self.dataset.histories.actions or ()
    return context(rows, times, ratings, actions, inputs, in_log)

  def known_action(self, name: str | None) -> str | None:
    """An action that the model or its log knows; None for any other."""
    known = (*self.model.config.inputs.actions, *(self.dataset.histories.actions or ()))
    return name if name in known else None

  # From rows to a search's question.

  def question(
    self, reading: Reading, wanted: Wanted, withdrawn: Iterable[int] = (), *, spare: int = 0
  ) -> tuple[Question, list[str]]:
    """What to search for, and the listed ids that no item has.

    Args:
      reading: the history.
      wanted: the options.
      withdrawn: item rows that nobody gets now.
      spare: items that the question has before those that the model reads.

    Raises:
      TypeError, ValueError: for lists that are none, more results than beams, or a category that
        no item has.
    """
    given = (wanted.times, wanted.ratings, wanted.actions)
    if reading.user is not None and given != (None, None, None):
      raise ValueError(
        "times, ratings and actions go with items or titles; a user of the run has their own"
      )
    if wanted.k > self.search.beams:
      raise ValueError(f"k is {wanted.k}; this run finds at most {self.search.beams} items")
    forbidden, unknown = self.rows_of("forbidden", wanted.forbidden)
    banned = {*forbidden, *withdrawn, *(reading.rows if wanted.exclude_seen else ())}
    banned_J = self._banned(banned, wanted)
    allowed_J, more = self._allowed(wanted)
    unknown += more
    allows = allowed_J is not None
    listed_J = banned_J if allowed_J is None else np.setdiff1d(allowed_J, banned_J)
    c = self.model.config
    who = np.array([NOBODY if reading.user is None else reading.user])
    latest = slice(-c.known_length - spare, None)
    question = Question(
      as_int32(np.array(reading.rows[latest], np.int64)),
      as_int32(listed_J),
      allows,
      self.search.temperature if wanted.temperature is None else wanted.temperature,
      int(user_tokens(who, c.user_tokens)[0]) if c.user_tokens else 0,
      None if reading.times is None else np.array(reading.times[latest]).astype(np.int64),
      None if reading.ratings is None else np.array(reading.ratings[latest], np.float32),
      self._request_time(reading, wanted),
      None if reading.actions is None else np.array(reading.actions[latest], np.int32),
      None if reading.attributes is None else np.array(reading.attributes, np.int32),
    )
    if c.inputs.any:
      check_question(question, c)  # alone, so that nobody else's request fails with it
    return question, unknown

  def _banned(self, rows: set[int], wanted: Wanted) -> np.ndarray:
    """These rows, and those of the forbidden categories: int64, sorted, each once."""
    banned_J, names = np.array(sorted(rows), np.int64), wanted.forbidden_categories
    if not (names := listed("forbidden_categories", names)):
      return banned_J
    return np.union1d(banned_J, self.categories.rows_of("forbidden_categories", names))

  def _allowed(self, wanted: Wanted) -> tuple[np.ndarray | None, list[str]]:
    """Rows of the only items that may be returned, sorted, each once; and ids that no item has."""
    allowed_J, unknown = None, []
    if wanted.allowed is not None:
      rows, unknown = self.rows_of("allowed", wanted.allowed)
      allowed_J = np.unique(np.array(rows, np.int64))
    if wanted.categories is not None:
      having_J = self.categories.rows_of("categories", listed("categories", wanted.categories))
      allowed_J = having_J if allowed_J is None else np.intersect1d(allowed_J, having_J)
    return allowed_J, unknown

  def _request_time(self, reading: Reading, wanted: Wanted) -> int | None:
    """When the request is made, where the model reads it: now, unless it says so."""
    if self.model.config.inputs.asks:
      # A client's clock may be ahead of ours.
      now = max(int(time.time()), math.ceil(max(reading.times or (0,))))
      return now if wanted.request_time is None else wanted.request_time
    if wanted.request_time is not None:
      raise ValueError("request_time is given, and this model does not read it (model.inputs)")
    return None

  # From what was found to an answer.

  def answer(
    self,
    reading: Reading,
    found: Found,
    k: int,
    unknown: Sequence[str] = (),
    asked_at: int | None = None,
  ) -> Answer:
    """The answer to a request."""
    is_probability = self.search.gives_probabilities

    def item(row: int, score: float, semantic_id: list[int]) -> Recommended:
      probability = math.exp(score) if is_probability else None
      return Recommended(*self.described(row), score, probability, tuple(semantic_id))

    rows, scores = found.item_K[:k].tolist(), found.score_K[:k].tolist()
    semantic_ids = self.ids.get_batch_semantic_ids(found.item_K[:k]).tolist()
    return Answer(
      tuple(map(item, rows, scores, semantic_ids)),
      reading.user,
      tuple(dict.fromkeys((*reading.unknown, *unknown))),
      reading.ambiguous,
      reading.taken_for,
      min(len(reading.rows), self.model.config.history_length),
      asked_at,
      found.certified(k),
    )

  def ask(self, readings: Sequence[Reading], wanted: Wanted, find: Find) -> list[Answer]:
    """Answers requests that share their options."""
    asked = [self.question(reading, wanted) for reading in readings]
    found = find([question for question, _ in asked])
    return [
      self.answer(reading, one, wanted.k, unknown, question.request_time)
      for reading, one, (question, unknown) in zip(readings, found, asked, strict=True)
    ]


def rows_by_id(ids_N: np.ndarray) -> dict[str, int]:
  """The row of each original id, which is looked for as text."""
  return {str(original): row for row, original in enumerate(ids_N.tolist())}
