"""Searches of any length through a handful of compiled shapes.

Requests are filled up to a few batch sizes, histories to the model's length, a half of it, a
quarter …, and lists of items to 64 · 4^n, so that a new length compiles nothing new. Longer lists
become a bit for each item, so that any list fits one shape.

Where new items have a trie of their own (`new_items.py`), the same programs search both.
"""

import dataclasses
import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.models.histories import check_histories
from sidrec.search import beam, new_items
from sidrec.search.batched import history_width
from sidrec.search.checks import check_fit
from sidrec.search.filters import Filters, RowBits, list_width, num_words, row_bits
from sidrec.search.new_items import BothBits, NewItems
from sidrec.search.questions import Question, histories_of
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig

CPU_BATCHES = (1, 4, 16)  # a CPU is fastest while a batch stays in its caches
OTHER_BATCHES = (1, 8, 32, 128)
# A CPU computes what a batch is filled up with like the rest of it, and a request costs about as
# much in a small batch as in a large one. So a batch is filled up from here on. Others compute a
# batch at once, and fill up any.
CPU_LEAST_FILL = 0.75
NARROWEST = 64  # listed items
MOST_LISTED = 16384  # items that a request to a bundle may list, where the catalogue has more
_MIDDLE = 1024  # where lists are longer, a bit for each item costs less


class Shape(NamedTuple):
  """What a compiled search takes."""

  batch: int
  history: int  # columns, without that of the user's token
  listed: int
  allows: bool
  bits: bool = False  # whether items are listed by a bit for each, which says both

  def holds(self, other: "Shape") -> bool:
    """Whether requests of the other shape can be filled up to this one."""
    alike = self.bits or (not other.bits and self.allows == other.allows)
    return alike and all(mine >= its for mine, its in zip(self[:3], other[:3], strict=True))


class Found(NamedTuple):
  """The results of one request, best first."""

  item_K: np.ndarray  # int32 item rows; fewer than there are beams where no more are allowed
  score_K: np.ndarray  # float32

  def certified(self, k: int) -> bool | None:
    """Whether the first k are the best k under the model; None without `search.certify`."""
    del k
    return None


class CertifiedFound(Found):
  """Results with a bound of what is not among them, as `Recommendations.bound_B`."""

  bound: float

  def __new__(cls, item_K: np.ndarray, score_K: np.ndarray, bound: float) -> "CertifiedFound":
    """Takes the parts of `Found`, and the bound."""
    self = super().__new__(cls, item_K, score_K)
    self.bound = bound
    return self

  def certified(self, k: int) -> bool | None:
    """See `Found`."""
    return (float(self.score_K[k - 1]) if k <= len(self.score_K) else -math.inf) >= self.bound


class NotCompiledError(ValueError):
  """A request that no shape holds which was compiled ahead."""


def listed_width(count: int) -> int:
  """64 · 4^n, the first that holds so many listed items."""
  return list_width(count, NARROWEST)


def lists_ahead(num_items: int) -> list[tuple[int, bool]]:
  """Few widths of lists that hold all of up to MOST_LISTED items, and whether they allow."""
  most = min(listed_width(num_items), MOST_LISTED)
  few, middle = (min(width, most) for width in (NARROWEST, _MIDDLE))
  wide = [(width, allows) for width in (middle, most) for allows in (False, True)]
  return list(dict.fromkeys([(few, False), *wide]))


def bucket_function(
  model: SemanticIDModel, config: SearchConfig, allows: bool, bits: bool = False
) -> Callable[..., Recommendations]:
  """What is compiled for a shape, here, in a server and in a bundle: one pure function.

  Returns:
    (params, trie, history_BxS, listed_BxJ, temperature_B) → results, as many as there are beams;
    with bits, they stand in place of the list. B may be symbolic. With `NewItems` as one argument
    more, these are searched, too; then there are bits for either trie, in a pair.
  """

  def find(params, trie, history_BxS, listed_BxJ, temperature_B, new=None):
    traced = dataclasses.replace(config, temperature=temperature_B[:, None, None])
    if new is not None:
      filters = BothBits(*map(RowBits, listed_BxJ)) if bits else of_lists(listed_BxJ)
      return new_items.search(model, params, trie, history_BxS, traced, new, filters)
    filters = RowBits(listed_BxJ) if bits else of_lists(listed_BxJ)
    return beam.search(model, params, trie, history_BxS, traced, filters)

  def of_lists(listed_BxJ):
    return Filters(None, listed_BxJ) if allows else Filters(listed_BxJ)

  return find


class BucketSearch:
  """The search of one model, compiled for a shape when it is first needed, or ahead.

  It may be used by several threads. `only_compiled` refuses what would need another compilation.
  """

  def __init__(
    self,
    model: SemanticIDModel,
    params: dict,
    trie: Trie,
    search: SearchConfig,
    new: NewItems | None = None,
  ):
    """Takes the model and how to search, which are static, and what is put on the device.

    With `new`, `trie` and `params` are those of the known items.

    Raises:
      ValueError: for parameters or a trie of another catalogue.
    """
    check_fit(model, params, trie)
    if new is not None:
      check_fit(new.model_of(model), {**params, **new.tables}, new.trie)
    self.model, self.search_config = model, search
    self.num_items = int(trie.used)
    device = jax.local_devices()[0]
    self.batches: tuple[int, ...] = CPU_BATCHES if device.platform == "cpu" else OTHER_BATCHES
    self.least_fill = CPU_LEAST_FILL if device.platform == "cpu" else 0.0
    # A CPU takes as long where 1024 items are listed as where 64 are.
    self.widths = (_MIDDLE,) if device.platform == "cpu" else (NARROWEST, _MIDDLE)
    self.only_compiled = False
    self.params, self.trie, self.new = jax.device_put((params, trie, new), device)
    self._compiled: dict[Shape, jax.stages.Compiled] = {}
    self._lock = threading.Lock()

  def over(
    self, model: SemanticIDModel, params: dict, trie: Trie, new: NewItems | None = None
  ) -> "BucketSearch":
    """The search of what the catalogue has become, by the same programs where they fit.

    They do if all shapes, types and static parts of model, parameters and trie are the same; see
    `catalogue.trie.resize`. Otherwise nothing is compiled yet.

    Raises:
      ValueError: as the class does.
    """
    other = BucketSearch(model, params, trie, self.search_config, new)
    other.batches, other.only_compiled = self.batches, self.only_compiled
    if other.program_key == self.program_key:
      other._compiled, other._lock = self._compiled, self._lock
    return other

  def limit_batches(self, largest: int) -> None:
    """Searches so many requests together at most; nothing is compiled for more."""
    largest = min(largest, self.batches[-1])
    self.batches = (*(batch for batch in self.batches if batch < largest), largest)

  @functools.cached_property
  def program_key(self) -> tuple[object, ...]:
    """All that a compiled search depends on: what is static, and shapes and types of the rest."""
    leaves, structure = jax.tree.flatten(self._arrays)
    return self.model, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)

  @property
  def _arrays(self) -> tuple[dict, Trie, NewItems | None]:
    return self.params, self.trie, self.new

  @property
  def shapes(self) -> list[Shape]:
    """What is compiled."""
    return sorted(self._compiled)

  def most_listed(self) -> int:
    """Items that a request may list in what is compiled, without bits."""
    return max((shape.listed for shape in self._compiled if not shape.bits), default=0)

  def shapes_ahead(self) -> list[Shape]:
    """A handful of shapes that hold every request, whatever it lists."""
    history = self.model.config.history_length
    widths = [min(listed_width(self.trie.num_items), width) for width in self.widths]
    middle = widths[-1]
    shapes = [Shape(batch, history, width, False) for width in widths for batch in self.batches]
    shapes += [Shape(batch, history, middle, True) for batch in (self.batches[0], self.batches[-1])]
    if self.trie.num_items > middle:
      shapes += [self.bits_shape(batch, history) for batch in self.batches]
    return list(dict.fromkeys(shapes))

  def bits_shape(self, batch: int, history: int) -> Shape:
    """What holds any list."""
    return Shape(batch, history, self.trie.num_items, allows=False, bits=True)

  def compile(self, shape: Shape) -> jax.stages.Compiled:
    """The search for a shape, compiled unless it is already."""
    with self._lock:
      if shape not in self._compiled:
        self._compiled[shape] = self._lowered(shape).compile()
      return self._compiled[shape]

  def find(self, questions: Sequence[Question]) -> list[Found]:
    """The best items for each request, in their order, as many as there are beams.

    Raises:
      ValueError: for histories that are not of item rows, or lack what the model reads.
      NotCompiledError: with `only_compiled`, if no compiled shape holds a request.
    """
    found: list[Found | None] = [None] * len(questions)
    order = sorted(range(len(questions)), key=lambda at: self._needs(questions[at : at + 1])[::-1])
    for allows in (False, True):
      alike = [at for at in order if questions[at].allows == allows]
      while alike:
        count = self.batch_of([questions[at] for at in alike[: self.batches[-1]]])
        chunk, alike = alike[:count], alike[count:]
        results = self._run([questions[at] for at in chunk])
        for at, result in zip(chunk, results, strict=True):
          found[at] = result
    return [result for result in found if result is not None]

  def batch_of(self, questions: Sequence[Question]) -> int:
    """How many of these requests, the first ones, to search for at once."""
    sizes = self.batches
    if self.only_compiled:  # not every list goes with every batch size
      needed = self._needs(questions)._replace(batch=1)
      sizes = sorted({shape.batch for shape in self._compiled if shape.holds(needed)}) or sizes
    count = len(questions)
    above = next((size for size in sizes if size >= count), 0)
    if above and count >= self.least_fill * above:
      return count
    return max((size for size in sizes if size <= count), default=count)

  def _needs(self, questions: Sequence[Question]) -> Shape:
    longest = max(len(question.history_S) for question in questions)
    length = self.model.config.history_length
    listed = max(len(question.listed_J) for question in questions)
    batch = next(batch for batch in self.batches if batch >= len(questions))
    width = history_width(min(longest, length), length)
    if listed > _MIDDLE:
      return self.bits_shape(batch, width)
    return Shape(batch, width, listed_width(listed), questions[0].allows)

  def shape_for(self, questions: Sequence[Question]) -> Shape:
    """The shape that these requests are filled up to, all of one kind, at most a batch.

    Raises:
      NotCompiledError: with `only_compiled`, if no compiled shape holds them.
    """
    needed = self._needs(questions)
    if not self.only_compiled:
      return needed
    holding = [shape for shape in self._compiled if shape.holds(needed)]
    if not holding:
      raise NotCompiledError(
        f"a request lists {needed.listed} items after a history of {needed.history}, and no search "
        "was compiled for so many; list fewer"
      )
    return min(holding)

  def _run(self, questions: Sequence[Question]) -> list[Found]:
    shape = self.shape_for(questions)
    found = jax.device_get(self.compile(shape)(*self._arguments(questions, shape)))
    kept = [np.flatnonzero(valid_K) for valid_K in found.valid_BxK[: len(questions)]]
    lists = [(found.item_BxK[b][at], found.score_BxK[b][at]) for b, at in enumerate(kept)]
    if found.bound_B is None:
      return [Found(*one) for one in lists]
    bounds = found.bound_B.tolist()
    return [CertifiedFound(*one, bound) for one, bound in zip(lists, bounds, strict=False)]

  def filled(
    self, questions: Sequence[Question], shape: Shape
  ) -> tuple[np.ndarray | Events, np.ndarray | tuple[np.ndarray, ...], np.ndarray]:
    """The arrays of a batch; what is left of it is empty histories."""
    listed_BxJ = self._listed(questions, shape)
    temperature_B = np.ones(shape.batch, np.float32)
    temperature_B[: len(questions)] = [question.temperature for question in questions]
    histories = histories_of(questions, shape.batch, shape.history, self.model.config)
    items = histories.item_BxS if isinstance(histories, Events) else histories
    check_histories(items[:, -shape.history :], self.num_items)  # without the user's token
    if isinstance(histories, Events) and histories.earlier_BxX is not None:
      check_histories(histories.earlier_BxX, self.num_items)
    return histories, listed_BxJ, temperature_B

  def _arguments(self, questions: Sequence[Question], shape: Shape) -> tuple:
    new = () if self.new is None else (self.new,)
    return self.params, self.trie, *self.filled(questions, shape), *new

  def _listed(
    self, questions: Sequence[Question], shape: Shape
  ) -> np.ndarray | tuple[np.ndarray, ...]:
    """Lists, or bits, of a batch; bits for each trie where there are two."""
    if shape.bits:
      empty = shape.batch - len(questions)
      lists = [question.listed_J for question in questions] + [np.zeros(0, np.int32)] * empty
      allows = [question.allows for question in questions] + [False] * empty
      tries = (self.trie,) if self.new is None else (self.trie, self.new.trie)
      made = [
        row_bits(row_of_N, num_words(trie), lists, allows)
        for row_of_N, trie in zip(self._rows_of_N, tries, strict=True)
      ]
      return made[0] if self.new is None else tuple(made)
    listed_BxJ = np.full((shape.batch, shape.listed), NO_ITEM, np.int32)
    for b, question in enumerate(questions):
      listed_BxJ[b, : len(question.listed_J)] = question.listed_J
    return listed_BxJ

  @functools.cached_property
  def _rows_of_N(self) -> list[np.ndarray]:
    """Item row → row, of each trie."""
    tries = (self.trie,) if self.new is None else (self.trie, self.new.trie)
    return [np.asarray(trie.row_of_N) for trie in tries]

  def _lowered(self, shape: Shape) -> jax.stages.Lowered:
    find = bucket_function(self.model, self.search_config, shape.allows, shape.bits)
    return jax.jit(find).lower(*self._arguments([], shape))
