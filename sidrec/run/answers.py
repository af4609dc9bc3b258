"""What a run answers: items by their original ids, and what it could not read of the request."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

Id = str | int  # an original id; as text or as a number it names the same item


class Recommended(NamedTuple):
  """One item of an answer."""

  id: Id  # original
  title: str  # '' where unknown
  score: float  # log probability; with search.level_weights a sum that only ranks
  probability: float | None  # None where scores are no log probabilities
  semantic_id: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Answer:
  """The items for one request, best first, and how the request was read."""

  items: tuple[Recommended, ...]
  user: Id | None = None  # original id, if the request named one
  unknown: tuple[str, ...] = ()  # ids and titles that name no item; nothing stands in for them
  # Title of several items, none of which was taken → their ids.
  ambiguous: Mapping[str, tuple[Id, ...]] = dataclasses.field(default_factory=dict)
  # Title that no item has as it was written → the item that was taken.
  taken_for: Mapping[str, Id] = dataclasses.field(default_factory=dict)
  read: int = 0  # items of the history that the model read; it reads the latest
  asked_at: int | None = None  # seconds since 1970 of the request, where the model reads it
  # Whether no item that is left out is better under the model, so that the list is exact; False
  # says nothing, and None is without `search.certify`.
  certified: bool | None = None

  @property
  def ids(self) -> list[Id]:
    """The original ids, best first."""
    return [item.id for item in self.items]

  @property
  def titles(self) -> list[str]:
    """The titles, best first."""
    return [item.title for item in self.items]


class Options(TypedDict, total=False):
  """What a request may ask besides whom it is for; the defaults are those of `Wanted`."""

  k: int
  exclude_seen: bool
  forbidden: Sequence[Id]
  allowed: Sequence[Id] | None
  categories: Sequence[str] | None
  forbidden_categories: Sequence[str]
  temperature: float | None
  times: Sequence[float]
  ratings: Sequence[float | None]
  actions: Sequence[str | None]
  attributes: Any
  request_time: int | None


@dataclasses.dataclass(frozen=True)
class Wanted:
  """The options of a request, checked."""

  k: int = 10  # results, at most the run's number of beams
  exclude_seen: bool = True  # leaves out all items of the history, those that are not read, too
  forbidden: Sequence[Id] = ()  # items not to return
  allowed: Sequence[Id] | None = None  # the only items to return; None for all
  # Names of categories: only items with one of these are returned, of the allowed ones; None for
  # all. And no items with one of those.
  categories: Sequence[str] | None = None
  forbidden_categories: Sequence[str] = ()
  temperature: float | None = None  # that logits are divided by; None for the run's own
  # What a model with such inputs reads of the items or titles that are given: seconds since 1970,
  # ratings, None or NaN where unknown, and names of actions, None where unknown; one for each item,
  # or a list for each history.
  times: Sequence[Any] | None = None
  ratings: Sequence[Any] | None = None
  actions: Sequence[Any] | None = None
  # What is known of the user of the items or titles, where the model reads it: a mapping of names
  # to text or numbers, or one for each history; what it does not name is unknown.
  attributes: Any = None
  request_time: int | None = None  # seconds since 1970, if the model reads it; None for now

  def __post_init__(self) -> None:
    if isinstance(self.k, bool) or not isinstance(self.k, int):
      raise TypeError(f"k is {self.k!r:.40}; give a whole number")
    if self.k < 1:
      raise ValueError(f"k is {self.k}; give 1 or more")
    if not isinstance(self.exclude_seen, bool):
      raise TypeError(f"exclude_seen is {self.exclude_seen!r:.40}; give True or False")
    t = self.temperature
    if t is not None and (isinstance(t, bool) or not isinstance(t, (int, float))):
      raise TypeError(f"temperature is {t!r:.40}; give a number")
    if t is not None and not 0.01 <= t <= 100:
      raise ValueError(f"temperature is {t}; give 0.01 to 100")
    asked = self.request_time
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int)):
      raise TypeError(f"request_time is {asked!r:.40}; give whole seconds since 1970")
    if asked is not None and not 0 <= asked < 10**12:
      raise ValueError(f"request_time is {asked}; give seconds since 1970")


AS_USUAL = Wanted()
OPTIONS = tuple(field.name for field in dataclasses.fields(Wanted))


def wanted_of(options: dict[str, Any]) -> Wanted:
  """The options of a call.

  Raises:
    TypeError: for an option that there is not.
  """
  for name in options:
    if name not in OPTIONS:
      raise TypeError(f"there is no option {name!r}; there are {', '.join(sorted(OPTIONS))}")
  return Wanted(**options)
