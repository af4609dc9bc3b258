"""Lookups in a map between items and semantic IDs."""

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from sidrec.catalogue.lookup import SortedKeys, first_true, pack
from sidrec.core.codes import as_codes, as_integers

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Fitted


class IDLookups:
  """What a map between items and semantic IDs can be asked.

  One table of codes and two sorted indices; no Python object per item. Lookups are
  binary searches, over single ids or over NumPy or JAX arrays of any leading shape.
  """

  def _fill(
    self,
    codes_NxL: np.ndarray,
    codebook_size: int,
    ids_N: np.ndarray,
    generation_method: str,
    fitted: "Fitted | None",
    num_others: int = 0,
  ) -> None:
    """Takes checked codes and ids, and sorts them; ValueError if two items share an ID."""
    self._codes_NxL, self._ids_N = codes_NxL, ids_N
    self._num_others = num_others  # items of the catalogue whose IDs the map does not know
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

  @property
  def num_items(self) -> int:
    """The size of the catalogue: N, unless the map was loaded from a file of only some items."""
    return len(self._codes_NxL) + self._num_others

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
    """The tokenizer that encodes new items."""
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
    self._check_filled()
    ids = as_integers(item_ids, "item ids")
    rows, known = self._find(ids)
    if not known.all():
      at, where = first_true(~known)
      raise KeyError(
        f"no item {ids[at]}{where} among the {len(self._ids_N)} items of this map "
        f"({(~known).sum()} unknown in all); use the mapping made for this catalogue"
      )
    return rows

  def _find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of items, integer [...], and which of them are in the map."""
    wanted = ids.astype(np.int64)  # a uint64 too large for it turns negative, so is not found
    if self._rows_by_id is None:
      return wanted, (wanted >= 0) & (wanted < len(self._ids_N))
    return self._rows_by_id.find(wanted)

  def get_batch_item_ids(self, semantic_ids: ArrayLike) -> np.ndarray:
    """Tokens, integer [..., L], to item ids, int64 [...].

    Raises:
      KeyError: if no item has an ID; names the first and how many there are.
      ValueError: if the last axis is not L, or a token is no integer in [0, V).
    """
    self._check_filled()
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

  def _check_filled(self) -> None:
    if not len(self._ids_N):
      raise ValueError(
        "this map is empty; fill it with load_from_file(path), or give SemanticIDManager num_items"
      )
