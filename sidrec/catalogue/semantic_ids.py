"""The two-way map between items and semantic IDs, and its files."""

import operator
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sidrec.catalogue import semantic_id_files
from sidrec.catalogue.class_or_instance import ClassOrInstanceMethod
from sidrec.catalogue.collisions import next_radix_codes
from sidrec.catalogue.id_lookups import IDLookups
from sidrec.catalogue.lookup import check_ids
from sidrec.catalogue.reassignment import place_items
from sidrec.catalogue.semantic_id_files import Content
from sidrec.catalogue.tokenizer_content import pack_fitted, unpack_fitted
from sidrec.core.codes import as_integers, check_codes, check_sizes, radix_codes
from sidrec.core.paths import as_path

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Fitted

# Methods whose IDs are running numbers in base V: new items need no tokenizer and no vectors.
BASE_CONVERSIONS = ("simple_mapping", "radix")


class SemanticIDManager(IDLookups):
  """A two-way map: item id (a non-negative integer) ↔ tuple of L tokens.

  `add_items` and `remove_items` return another map, in which every item that was there
  before has the ID it had. Only `load_from_file` changes the map that it is called on.

  Example:
    >>> manager = SemanticIDManager(id_length=4, codebook_size=256, num_items=3706)
    >>> manager.get_semantic_id(520)
    [8, 2, 0, 0]
    >>> manager.get_item_id([8, 2, 0, 0])
    520
  """

  def __init__(self, id_length: int, codebook_size: int, num_items: int | None = None):
    """The simple mapping: items 0..num_items-1 in base V, least significant token first.

    Without `num_items`, an empty map that `load_from_file` fills.

    Raises:
      ValueError: if num_items > codebook_size**id_length, or a size makes no sense.
    """
    if num_items is None:
      check_sizes(id_length, codebook_size)
      nothing = np.zeros((0, id_length), np.int32)
      self._fill(nothing, codebook_size, np.zeros(0, np.int64), "custom", None)
      return
    if operator.index(num_items) < 1:
      raise ValueError(f"num_items is {num_items}; give at least 1")
    codes_NxL = radix_codes(num_items, id_length, codebook_size)
    self._fill(codes_NxL, codebook_size, np.arange(num_items), "simple_mapping", None)

  @classmethod
  def from_codes(
    cls,
    codes: ArrayLike,
    codebook_size: int,
    item_ids: ArrayLike | None = None,
    generation_method: str = "custom",
    fitted: "Fitted | None" = None,
    num_items: int | None = None,
  ) -> "SemanticIDManager":
    """A map from any tokenizer's codes.

    Args:
      codes: integer [N, L] in [0, V), rows unique. Copied.
      codebook_size: V.
      item_ids: integer [N], the item of each row, in any order; None for 0..N-1.
      generation_method: how the codes were made, for the metadata.
      fitted: the tokenizer that made them, for `add_items`. Tokens beyond its levels
        are extra digits; without any, the tokenizer's own codes were made unique.
      num_items: the size of the catalogue, if the codes are of some of its items; None for N.

    Raises:
      ValueError: if codes or item ids repeat, are out of range or have a wrong shape, num_items
        is less than N, or the tokenizer cannot have made such IDs.
    """
    check_sizes(1, codebook_size)
    codes_NxL = check_codes(codes, codebook_size)
    num_rows, id_length = codes_NxL.shape
    num_items = num_rows if num_items is None else operator.index(num_items)
    if num_items < num_rows:
      raise ValueError(f"num_items is {num_items}, but there are {num_rows} items")
    if fitted is not None:
      _check_fitted(fitted, id_length, codebook_size)
    ids_N = np.arange(num_rows) if item_ids is None else check_ids(item_ids, num_rows)
    manager = cls.__new__(cls)
    manager._fill(codes_NxL, codebook_size, ids_N, generation_method, fitted, num_items - num_rows)
    return manager

  def _with(self, codes_NxL: np.ndarray, ids_N: np.ndarray) -> "SemanticIDManager":
    """A map of other items, made in the same way."""
    manager = SemanticIDManager.__new__(SemanticIDManager)
    manager._fill(
      codes_NxL,
      self._codebook_size,
      ids_N,
      self._generation_method,
      self._fitted,
      self._num_others,
    )
    return manager

  def add_items(self, vectors: np.ndarray | None, item_ids: ArrayLike) -> "SemanticIDManager":
    """A new map with items added after the old ones, whose IDs stay as they are.

    The tokenizer, which is not trained further, encodes the items. With extra digits
    a new item gets the lowest free number of its tuple; a tuple that is full, or taken where
    there are no extra digits, sends it to the nearest one with room. Base-conversion
    maps ('simple_mapping', 'radix') give the lowest numbers that are not in use, and
    need neither vectors nor a tokenizer. IDs of removed items may be given again.

    Args:
      vectors: float32 [M, F], made like those that the tokenizer was fitted on; None
        for base-conversion maps, which ignore them.
      item_ids: integer [M], the ids of the new items.

    Raises:
      ValueError: if an id is here already or repeats, there is no tokenizer, or no free ID; or if
        the map lacks items of its catalogue, because an ID that looks free may be theirs.
    """
    self._check_filled()
    if self._num_others:
      raise ValueError(
        f"this map has {len(self._ids_N)} of the {self.num_items} items of its catalogue, so it "
        "does not know which IDs are free; load the whole map to add items"
      )
    ids_M = as_integers(item_ids, "item ids")
    if ids_M.shape == (0,):
      return self
    ids_M = check_ids(ids_M, ids_M.size)
    _, known_M = self._find(ids_M)
    if known_M.any():
      raise ValueError(
        f"item {ids_M[known_M.argmax()]} is in this map already ({known_M.sum()} such in all); "
        "add new items only"
      )
    new_MxL = self._new_codes(vectors, len(ids_M))
    return self._with(
      np.concatenate([self._codes_NxL, new_MxL]), np.concatenate([self._ids_N, ids_M])
    )

  def _new_codes(self, vectors: np.ndarray | None, num_new: int) -> np.ndarray:
    """Free IDs for new items: int32 [M, L]."""
    if self._generation_method in BASE_CONVERSIONS:
      return next_radix_codes(num_new, self._codebook_size, self._codes_NxL)
    if self._fitted is None:
      raise ValueError(
        "this map has no tokenizer to encode new items by; get it with its tokenizer from "
        "sidrec.run.load.load_semantic_ids, or SemanticIDManager.load_from_file(path, fitted=...), "
        "or from a file that save_to_file(path, with_tokenizer=True) wrote"
      )
    if vectors is None or len(vectors) != num_new:
      given = "no vectors" if vectors is None else f"vectors of shape {np.shape(vectors)}"
      raise ValueError(f"{given} for {num_new} new items; give one row for each")
    return place_items(self._fitted, vectors, self._codes_NxL)

  def remove_items(self, item_ids: ArrayLike) -> "SemanticIDManager":
    """A new map without these items; the others keep their IDs and their order.

    Args:
      item_ids: integer [M].

    Raises:
      KeyError: if an item is unknown; names the first and how many there are.
      ValueError: if no item would be left, or the ids are not integers.
    """
    kept_N = np.ones(len(self._ids_N), bool)
    kept_N[self._rows(item_ids)] = False
    if not kept_N.any():
      raise ValueError(f"all {len(kept_N)} items would be removed; keep at least one")
    return self._with(self._codes_NxL[kept_N], self._ids_N[kept_N])

  def save_to_file(self, path: str | os.PathLike, *, with_tokenizer: bool = False) -> None:
    """Writes the map as JSON, or as `.npz` if the name ends so; makes parent folders.

    The file appears whole or not at all, and holds a checksum of what it says.

    Args:
      path: the file.
      with_tokenizer: writes the fitted tokenizer into the file too, so that `add_items` works
        after `load_from_file`.

    Raises:
      ValueError: if the map is empty, or with_tokenizer for a map without one that files can hold.
    """
    self._check_filled()
    tokenizer = None
    if with_tokenizer:
      if self._fitted is None:
        raise ValueError("this map has no tokenizer to write; leave with_tokenizer out")
      tokenizer = pack_fitted(self._fitted)
    content = Content(self._codes_NxL, self._ids_N, self.metadata, tokenizer)
    semantic_id_files.write(as_path(path), content)

  @ClassOrInstanceMethod
  def load_from_file(
    self_or_class,  # noqa: N805
    path: str | os.PathLike,
    fitted: "Fitted | None" = None,
  ) -> "SemanticIDManager":
    """Reads what `save_to_file` wrote, into a new map or, called on a map, into that one.

    Args:
      path: the file.
      fitted: the tokenizer that made the IDs, for `add_items`; None for that of the file, if any.

    Returns:
      The map.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged, contradicts itself or the tokenizer, or has IDs of other
        sizes than the map that it is read into; says where. That map stays as it was.
    """
    path = as_path(path)
    if not path.is_file():
      raise FileNotFoundError(
        f"no semantic-ID file {path}; make one with python -m sidrec.generate_semantic_ids"
      )
    on_class = isinstance(self_or_class, type)
    try:
      content = semantic_id_files.read(path)
      loaded = _from_content(self_or_class if on_class else type(self_or_class), content, fitted)
      if on_class:
        return loaded
      _check_same_sizes(loaded, self_or_class)
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error
    self_or_class.__dict__.update(loaded.__dict__)
    return self_or_class


def _from_content(
  made: type[SemanticIDManager], content: Content, fitted: "Fitted | None"
) -> SemanticIDManager:
  """The map of a file."""
  if fitted is None and content.tokenizer is not None:
    fitted = unpack_fitted(content.tokenizer)
  metadata = content.metadata
  return made.from_codes(
    content.codes_NxL,
    metadata["codebook_size"],
    content.ids_N,
    metadata["generation_method"],
    fitted,
    metadata["num_items"],
  )


def _check_same_sizes(loaded: SemanticIDManager, wanted: SemanticIDManager) -> None:
  sizes, own = (f"{m.id_length} tokens of {m.codebook_size} codes" for m in (loaded, wanted))
  if sizes != own:
    raise ValueError(
      f"the IDs have {sizes}, but this map is for {own}; make the map with the sizes of the file, "
      "or call SemanticIDManager.load_from_file(path)"
    )


def _check_fitted(fitted: "Fitted", id_length: int, codebook_size: int) -> None:
  """Raises ValueError if the tokenizer cannot have made IDs of these sizes."""
  tokenizer = fitted.tokenizer
  if tokenizer.codebook_size != codebook_size or tokenizer.num_levels > id_length:
    raise ValueError(
      f"IDs of {id_length} tokens of {codebook_size} codes are not from the tokenizer "
      f"{tokenizer.name!r}, which has {tokenizer.num_levels} levels of {tokenizer.codebook_size} "
      "codes; give the tokenizer that made them"
    )
