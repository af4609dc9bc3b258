"""IDs of new items by what a finished run has learnt, all of it in memory.

A service gives IDs while the folder of its run may be trained anew, and it has to say of an item
what its description lacks.
"""

import dataclasses
import functools
import string
from collections.abc import Sequence

import numpy as np

from sidrec.catalogue.semantic_ids import BASE_CONVERSIONS, SemanticIDManager
from sidrec.core.printable import printable
from sidrec.data.dataset import Items
from sidrec.data.parts import take_items
from sidrec.features.own_blocks import chosen_blocks
from sidrec.features.settings import FeaturesConfig
from sidrec.features.vector_file import file_vectors
from sidrec.run.fitted_catalogue import load_fitted_catalogue
from sidrec.run.generations import Chain
from sidrec.run.item_vectors import Known, known_parts, new_item_vectors
from sidrec.run.load import item_vectors_of, semantic_ids_of
from sidrec.run.settings import RunConfig
from sidrec.run.tokenize_items import category_labels, new_item_inputs
from sidrec.training.checkpoint import load_params


class FrozenIDs:
  """The tokenizer of a run, and what the vectors of its items are made of."""

  def __init__(self, config: RunConfig, chain: Chain):
    """Reads the parameters and the vectors of a finished run.

    Raises:
      ValueError, FileNotFoundError: if they are damaged or gone.
    """
    self._config, tokenized = config, chain["tokenize"]
    self.ids = semantic_ids_of(config, chain)
    self._labels = category_labels(config.tokenizer, tokenized.file("tokenizer"))
    self._params = load_params(tokenized.file("features"))
    self._items, self._vectors_NxF = load_fitted_catalogue(config, chain)
    self._fields = described_by(config.features, self._items)
    self._files = vector_file_blocks(config.features)
    # Of the run's items, which new ones can be compared with; None where these have none.
    self.vectors_NxF: np.ndarray | None = None
    if not self._are_numbers and (self._fields or self._files):
      self.vectors_NxF = item_vectors_of(chain)

  @functools.cached_property
  def _known(self) -> Known:
    return known_parts(self._config.features, self._items, self._params, self._vectors_NxF)

  @property
  def _are_numbers(self) -> bool:
    """Whether IDs are running numbers, which need no vectors."""
    return self.ids.metadata["generation_method"] in BASE_CONVERSIONS

  def warm_up(self) -> None:
    """Compiles what giving IDs needs, so that nothing is compiled later."""
    fitted = self.ids.fitted
    if fitted is None or self._are_numbers or not (self._fields or self._files):
      return
    _ = self._known
    vector_1xF = np.array(self._vectors_NxF[:1], np.float32)
    input_1xF = new_item_inputs(self._labels, take_items(self._items, np.zeros(1, int)), vector_1xF)
    codes_1xL = np.asarray(fitted.tokenizer.encode(fitted.params, input_1xF))
    if fitted.tokenizer.costs is not None:
      for level in range(fitted.tokenizer.num_levels):
        np.asarray(fitted.tokenizer.costs(fitted.params, input_1xF, codes_1xL, level))

  def check(self, items: Items) -> None:
    """Checks that new items say what their IDs are made of.

    Raises:
      ValueError: if no new item can get an ID, or one of these lacks what it takes.
    """
    if self._are_numbers:
      return
    if self.ids.fitted is None:
      raise ValueError("the run's IDs came from a file, and no tokenizer is there for new items")
    if not self._fields and not self._files:
      raise ValueError(
        "the vectors of the run's items are learnt from behaviour alone, which new items lack; "
        "give content, text, image or audio a weight and train again"
      )
    for block in self._files:
      self._check_file(block, items)
    if self._files:
      return
    for row in range(items.num_items):
      if not any(_says(items, row, field) for field in self._fields):
        raise ValueError(
          f"item '{printable(str(items.ids_N[row]))[:80]}' has no {', '.join(self._fields[:-1])}"
          f"{' or ' if self._fields[1:] else ''}{self._fields[-1]}, and its ID is made of these; "
          "give at least one"
        )

  def _check_file(self, block: str, items: Items) -> None:
    settings = dataclasses.replace(getattr(self._config.features, block), missing="error")
    try:
      file_vectors(items, settings)
    except (ValueError, OSError):
      raise ValueError(
        f"the file of features.{block}.path has no vector of some of the new items; add theirs"
      ) from None

  def inputs(self, items: Items) -> np.ndarray | None:
    """What `SemanticIDManager.add_items` takes for new items; raises as `new_item_vectors` does."""
    if self._are_numbers:
      return None
    features, known = self._config.features, self._known
    vectors_MxF = new_item_vectors(
      features, self._items, self._params, self._vectors_NxF, items, known
    )
    return new_item_inputs(self._labels, items, vectors_MxF)


def described_by(features: FeaturesConfig, items: Items) -> tuple[str, ...]:
  """What is known of a catalogue's items that their vectors are made of, files left out."""
  weights, fields = features.weights(), []
  if "content" in weights:
    content = features.content
    if content.title_buckets:
      fields.append("title")
    if content.max_categories or content.tag_buckets:
      fields.append("categories")
    if content.text_buckets:
      fields.append("text")
    fields += items.numeric
  if "text" in weights and not features.text.path:
    fields += [name for _, name, _, _ in string.Formatter().parse(features.text.template) if name]
  if chosen_blocks(features.plugins, "items"):  # it may read all of these
    fields += ["title", "categories", "text", *items.numeric]
  return tuple(field for field in dict.fromkeys(fields) if field != "id" and _known(items, field))


def vector_file_blocks(features: FeaturesConfig) -> list[str]:
  """The blocks whose vectors come from files."""
  names = [name for name in ("text", "image", "audio") if name in features.weights()]
  return [name for name in names if name != "text" or features.text.path]


def with_new_items(
  ids: SemanticIDManager, inputs_MxF: np.ndarray | None, count: int, unused: Sequence[int] = ()
) -> np.ndarray:
  """IDs of new items that a map lacks, free in it: int32 [M, L].

  The IDs of the items in `unused` are free, too.

  Raises:
    ValueError: as `SemanticIDManager.add_items` does.
  """
  new_rows = np.arange(ids.num_items, ids.num_items + count)
  kept = ids.remove_items(np.array(unused)) if len(unused) else ids
  return kept.add_items(inputs_MxF, new_rows).codes[-count:]


def _known(items: Items, field: str) -> bool:
  return any(_says(items, row, field) for row in range(items.num_items))


def _says(items: Items, row: int, field: str) -> bool:
  """Whether something is known of an item."""
  match field:
    case "title":
      return bool(str(items.titles_N[row]).strip())
    case "text":
      return bool(str(items.text_N[row]).strip())
    case "categories":
      return any(items.categories_of(row))
    case _:
      return bool(np.isfinite(items.numeric[field][row])) if field in items.numeric else False
