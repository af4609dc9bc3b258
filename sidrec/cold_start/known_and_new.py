"""A trained model over a catalogue that has grown: known and new items in a trie each.

Known items are those that the model was trained on. They have the first item rows, in the order of
the training, and keep them when they leave the catalogue. See `search.new_items` for how both are
searched.
"""

from typing import NamedTuple

import numpy as np

from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.catalogue.trie.resize import rebuilt
from sidrec.catalogue.trie.trie import Trie
from sidrec.features.unit_rows import unit_rows
from sidrec.models.base import SemanticIDModel
from sidrec.models.own_models import check_grows
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, by_node, descend, transfer
from sidrec.search.near_head import Near, with_room
from sidrec.search.new_items import NewItems
from sidrec.search.similarity import UnitVectors

# Of vectors in a search: two bytes a number. Cosines are off by 0.0005 at most.
VECTOR_TYPE = np.float16


class Known(NamedTuple):
  """What was trained."""

  model: SemanticIDModel
  params: dict
  trie: Trie
  unit_NxF: AnyArray  # of `searchable`, of the items that it was trained on


class Catalogue(NamedTuple):
  """What is to be searched, by item row."""

  codes_NxL: np.ndarray  # of every item row in use
  among_N: np.ndarray  # bool, which of them are in the catalogue
  new_MxF: np.ndarray  # of `searchable`, of the rows behind the known ones
  near: Near | None  # of the same rows, for a model with an item head


class Parts(NamedTuple):
  """What a search takes."""

  model: SemanticIDModel  # for the trie of known items
  params: dict
  trie: Trie
  new: NewItems


def searchable(vectors_NxF: np.ndarray) -> np.ndarray:
  """Vectors as a search takes them: of length 1, float16."""
  return unit_rows(vectors_NxF).astype(VECTOR_TYPE)


def known_and_new(
  known: Known, tries: tuple[Trie, Trie], catalogue: Catalogue, share: float
) -> Parts:
  """The parts of a search in a catalogue.

  Args:
    known: what was trained.
    tries: of the catalogue before, or of `resize.with_room_apart`, whose room is kept.
    catalogue: with the known items in the first rows.
    share: as `NewItems` has it.

  Raises:
    ValueError: if two items share an ID, or the model cannot take other items.
  """
  check_grows(known.model)
  codes_NxL, among_N, new_MxF, near = catalogue
  trained = known.trie.num_items
  is_new_N = np.arange(len(among_N)) >= trained
  sides = [among_N & ~is_new_N, among_N & is_new_N]
  of_known, of_new = (
    rebuilt(trie, codes_NxL, _or_first(side_N)) for trie, side_N in zip(tries, sides, strict=True)
  )
  _check_apart(of_known, codes_NxL, *sides)
  row_R = np.full(of_known.num_items, UNKNOWN)
  row_R[:trained] = np.arange(trained)
  vectors_MxF = np.zeros((of_known.num_items - trained, known.unit_NxF.shape[1]), VECTOR_TYPE)
  vectors_MxF[: len(new_MxF)] = new_MxF
  new = NewItems(
    of_new,
    transfer(by_node(known.params), known.trie, of_new, row_R),
    UnitVectors(known.unit_NxF, vectors_MxF),
    None if near is None else with_room(near, len(vectors_MxF)),
    np.float32(share),
    *(np.asarray(side_N.any()) for side_N in sides),
  )
  sizes = CatalogueSizes.of(of_known, known.model.sizes.codebook_size)
  params = transfer(known.params, known.trie, of_known, row_R)
  return Parts(known.model.clone(sizes=sizes), params, of_known, new)


def _or_first(among_N: np.ndarray) -> np.ndarray:
  """Some items, or the first one where there are none, for a trie has to lead somewhere."""
  return among_N if among_N.any() else np.arange(len(among_N)) < 1


def _check_apart(
  of_known: Trie, codes_NxL: np.ndarray, known_N: np.ndarray, new_N: np.ndarray
) -> None:
  """Raises ValueError if a new item has the ID of a known one; either trie notices its own."""
  if not known_N.any() or not new_N.any():
    return
  taken = np.flatnonzero(descend(of_known, codes_NxL[new_N])[:, -1] != UNKNOWN)
  if len(taken):
    row = np.flatnonzero(new_N)[taken[0]]
    raise ValueError(
      f"item {row} has the semantic ID {codes_NxL[row].tolist()} of a known one; resolve "
      "collisions first"
    )
