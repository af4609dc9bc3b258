"""The two-way map between items and semantic IDs, and its files."""

import operator
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from sidrec.catalogue import semantic_id_files
from sidrec.catalogue.collisions import next_radix_codes
from sidrec.catalogue.lookup import SortedKeys, check_ids, first_true, pack
from sidrec.catalogue.reassignment import place_items
from sidrec.core.codes import as_codes, as_integers, check_codes, check_sizes, radix_codes

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Fitted

# Methods whose IDs are running numbers in base V: new items need no tokenizer and no vectors.
BASE_CONVERSIONS = ("simple_mapping", "radix")


class SemanticIDManager:
  """A fixed two-way map: item id (a non-negative integer) ↔ tuple of L tokens.

  One table of codes and two sorted indices; no Python object per item. Lookups are
  binary searches, over single ids or over NumPy or JAX arrays of any leading shape.
  A map never changes: `add_items` and `remove_items` return another one, in which
  every item that was there before has the ID it had.

  Example:
    >>> manager = SemanticIDManager(id_length=4, codebook_size=256, num_items=3706)
    >>> manager.get_semantic_id(520)
    [8, 2, 0, 0]
    >>> manager.get_item_id([8, 2, 0, 0])
    520
  """

  def __init__(self, id_length: int, codebook_size: int, num_items: int):
    """The simple mapping: items 0..num_items-1 in base V, least significant token first.

    Raises:
      ValueError: if num_items > codebook_size**id_length, or a size makes no sense.
    """
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
  ) -> "SemanticIDManager":
    """A map from any tokenizer's codes.

    Args:
      codes: integer [N, L] in [0, V), rows unique. Copied.
      codebook_size: V.
      item_ids: integer [N], the item of each row, in any order; None for 0..N-1.
      generation_method: how the codes were made, for the metadata.
      fitted: the tokenizer that made them, for `add_items`. Tokens beyond its levels
        are extra digits; without any, the tokenizer's own codes were made unique.

    Raises:
      ValueError: if codes or item ids repeat, are out of range or have a wrong shape,
        or the tokenizer cannot have made such IDs.
    """
    check_sizes(1, codebook_size)
    codes_NxL = check_codes(codes, codebook_size)
    num_items, id_length = codes_NxL.shape
    if fitted is not None:
      _check_fitted(fitted, id_length, codebook_size)
    ids_N = np.arange(num_items) if item_ids is None else check_ids(item_ids, num_items)
    manager = cls.__new__(cls)
    manager._fill(codes_NxL, codebook_size, ids_N, generation_method, fitted)
    return manager

  def _fill(
    self,
    codes_NxL: np.ndarray,
    codebook_size: int,
    ids_N: np.ndarray,
    generation_method: str,
    fitted: "Fitted | None",
  ) -> None:
    """Takes checked codes and ids, and sorts them; ValueError if two items share an ID."""
    self._codes_NxL, self._ids_N = codes_NxL, ids_N
    codes_NxL.flags.writeable = ids_N.flags.writeable = False
    self._codebook_size = operator.index(codebook_size)
    self._generation_method = generation_method
    self._fitted = fitted
    # Ids 0..N-1 are their own rows; any others are searched for.
    dense = (ids_N == np.arange(len(ids_N))).all()
    self._rows_by_id = None if dense else SortedKeys(ids_N)
    self._rows_by_codes = SortedKeys(pack(codes_NxL, self._codebook_size))
    repeats = self._rows_by_codes.repeats()
    if len(repeats):
      first, second = repeats[0]
      raise ValueError(
        f"items {ids_N[first]} and {ids_N[second]} have the same semantic ID "
        f"{codes_NxL[first].tolist()} ({len(repeats)} such in all); make codes unique with "
        "sidrec.catalogue.collisions.add_extra_digit or sidrec.catalogue.reassignment.reassign"
      )

  def _with(self, codes_NxL: np.ndarray, ids_N: np.ndarray) -> "SemanticIDManager":
    """A map of other items, made in the same way."""
    manager = SemanticIDManager.__new__(SemanticIDManager)
    manager._fill(codes_NxL, self._codebook_size, ids_N, self._generation_method, self._fitted)
    return manager

  @property
  def num_items(self) -> int:
    """N."""
    return len(self._codes_NxL)

  @property
  def id_length(self) -> int:
    """L."""
    return self._codes_NxL.shape[1]

  @property
  def codebook_size(self) -> int:
    """V."""
    return self._codebook_size

  @property
  def codes(self) -> np.ndarray:
    """codes_NxL int32, read-only, in the order of `item_ids`."""
    return self._codes_NxL

  @property
  def item_ids(self) -> np.ndarray:
    """The item of each row of `codes`: int64 [N], read-only."""
    return self._ids_N

  @property
  def fitted(self) -> "Fitted | None":
    """The tokenizer that encodes new items; not in the file."""
    return self._fitted

  @property
  def metadata(self) -> dict[str, Any]:
    """As in the file: id_length, codebook_size, num_items, generation_method."""
    return {
      "id_length": self.id_length,
      "codebook_size": self.codebook_size,
      "num_items": self.num_items,
      "generation_method": self._generation_method,
    }

  def get_semantic_id(self, item_id: int) -> list[int]:
    """The L tokens of an item.

    Raises:
      KeyError: if the item is unknown.
      ValueError: if it is not one integer.
    """
    item = as_integers(item_id, "item ids")
    if item.ndim:
      raise ValueError(
        f"an item id of shape {item.shape} is not one integer; "
        "use get_batch_semantic_ids for several"
      )
    return self.get_batch_semantic_ids(item).tolist()

  def get_item_id(self, semantic_id: ArrayLike) -> int:
    """The item of L tokens.

    Raises:
      KeyError: if no item has this ID.
      ValueError: if it is not L integers in [0, V).
    """
    tokens_L = as_integers(semantic_id, "tokens")
    if tokens_L.ndim != 1:
      raise ValueError(
        f"a semantic ID of shape {tokens_L.shape} is not one row of {self.id_length} tokens; "
        "use get_batch_item_ids for several"
      )
    return int(self.get_batch_item_ids(tokens_L))

  def get_batch_semantic_ids(self, item_ids: ArrayLike) -> np.ndarray:
    """Item ids, integer [...], to tokens, int32 [..., L].

    Raises:
      KeyError: if an item is unknown; names the first and how many there are.
      ValueError: if the ids are not integers.
    """
    return np.take(self._codes_NxL, self._rows(item_ids), axis=0)

  def _rows(self, item_ids: ArrayLike) -> np.ndarray:
    """The rows of items, integer [...]; KeyError if one is unknown."""
    ids = as_integers(item_ids, "item ids")
    rows, known = self._find(ids)
    if not known.all():
      at, where = first_true(~known)
      raise KeyError(
        f"no item {ids[at]}{where} among the {self.num_items} items of this map "
        f"({(~known).sum()} unknown in all); use the mapping made for this catalogue"
      )
    return rows

  def _find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of items, integer [...], and which of them are in the map."""
    wanted = ids.astype(np.int64)  # a uint64 too large for it turns negative, so is not found
    if self._rows_by_id is None:
      return wanted, (wanted >= 0) & (wanted < self.num_items)
    return self._rows_by_id.find(wanted)

  def get_batch_item_ids(self, semantic_ids: ArrayLike) -> np.ndarray:
    """Tokens, integer [..., L], to item ids, int64 [...].

    Raises:
      KeyError: if no item has an ID; names the first and how many there are.
      ValueError: if the last axis is not L, or a token is no integer in [0, V).
    """
    tokens = as_integers(semantic_ids, "tokens")
    if tokens.ndim == 0 or tokens.shape[-1] != self.id_length:
      got = tokens.shape[-1] if tokens.ndim else "no"
      raise ValueError(f"a semantic ID has {self.id_length} tokens here, but {got} were given")
    keys = pack(as_codes(tokens, self.codebook_size), self.codebook_size)
    rows, known = self._rows_by_codes.find(keys)
    if not known.all():
      at, where = first_true(~known)
      raise KeyError(
        f"no item has the semantic ID {tokens[at].tolist()}{where} "
        f"({(~known).sum()} unknown in all); only IDs of this map's items can be looked up"
      )
    return np.asarray(self._ids_N[rows])

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
      ValueError: if an id is here already or repeats, there is no tokenizer, or no free ID.
    """
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
        "sidrec.run.load.load_semantic_ids, or "
        "SemanticIDManager.load_from_file(path, fitted=...)"
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
    kept_N = np.ones(self.num_items, bool)
    kept_N[self._rows(item_ids)] = False
    if not kept_N.any():
      raise ValueError(f"all {self.num_items} items would be removed; keep at least one")
    return self._with(self._codes_NxL[kept_N], self._ids_N[kept_N])

  def save_to_file(self, path: str | os.PathLike) -> None:
    """Writes the map as JSON, or as `.npz` if the name ends so; makes parent folders.

    The file appears whole or not at all.
    """
    semantic_id_files.write(Path(path), self._codes_NxL, self._ids_N, self.metadata)

  @classmethod
  def load_from_file(
    cls, path: str | os.PathLike, fitted: "Fitted | None" = None
  ) -> "SemanticIDManager":
    """Reads what `save_to_file` wrote.

    Args:
      path: the file.
      fitted: the tokenizer that made the IDs, for `add_items`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged, contradicts itself or the tokenizer; says where.
    """
    path = Path(path)
    if not path.is_file():
      raise FileNotFoundError(
        f"no semantic-ID file {path}; make one with python -m sidrec.generate_semantic_ids"
      )
    try:
      codes_NxL, ids_N, metadata = semantic_id_files.read(path)
      return cls.from_codes(
        codes_NxL, metadata["codebook_size"], ids_N, metadata["generation_method"], fitted
      )
    except ValueError as error:
      raise ValueError(f"{path}: {error}") from error


def _check_fitted(fitted: "Fitted", id_length: int, codebook_size: int) -> None:
  """Raises ValueError if the tokenizer cannot have made IDs of these sizes."""
  tokenizer = fitted.tokenizer
  if tokenizer.codebook_size != codebook_size or tokenizer.num_levels > id_length:
    raise ValueError(
      f"IDs of {id_length} tokens of {codebook_size} codes are not from the tokenizer "
      f"{tokenizer.name!r}, which has {tokenizer.num_levels} levels of {tokenizer.codebook_size} "
      "codes; give the tokenizer that made them"
    )
