"""A run's catalogue with new items, as a search takes it."""

from typing import NamedTuple

import numpy as np

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.resize import with_room_apart
from sidrec.catalogue.trie.trie import Trie
from sidrec.cold_start.frozen_ids import FrozenIDs, with_new_items
from sidrec.cold_start.known_and_new import Catalogue, Known, Parts, known_and_new
from sidrec.cold_start.new_vectors import NewVectors
from sidrec.data.dataset import Items
from sidrec.data.parts import join_items
from sidrec.models.base import SemanticIDModel


class GrownRun(NamedTuple):
  """A catalogue in which new items follow the known ones."""

  items: Items
  ids: SemanticIDManager  # item row ↔ semantic ID
  parts: Parts


def with_new(
  known: Items,
  ids: FrozenIDs,
  trained: tuple[SemanticIDModel, dict, Trie],
  items: Items,
  share: float,
) -> GrownRun:
  """Gives new items IDs, and makes the search in which they are ranked by similarity.

  Args:
    known: the run's items.
    ids: the run's tokenizer, and what it encodes.
    trained: the run's model, parameters and trie.
    items: the new ones.
    share: as `search.new_items.NewItems` has it.

  Raises:
    ValueError: if an item is there already, or cannot get an ID or a vector; for a share that is
      not between 0 and 1.
  """
  if not 0 < share < 1:
    raise ValueError(f"the share of new items is {share}; give a number between 0 and 1")
  if ids.vectors_NxF is None:
    raise ValueError("nothing describes new items of this run, so there is no similarity")
  joined = join_items([known, items])
  ids.check(items)
  vectors = NewVectors(ids, ids.vectors_NxF)
  codes_MxL = with_new_items(ids.ids, vectors.inputs(items), items.num_items)
  codes_NxL = np.concatenate([ids.ids.codes, codes_MxL])
  grown = SemanticIDManager.from_codes(
    codes_NxL,
    ids.ids.codebook_size,
    generation_method=ids.ids.metadata["generation_method"],
    fitted=ids.ids.fitted,
  )
  model, params, trie = trained
  of_new = vectors.searched(items, head=model.config.item_head)
  catalogue = Catalogue(codes_NxL, np.ones(len(codes_NxL), bool), *of_new)
  tries = with_room_apart(trie, items.num_items)
  parts = known_and_new(Known(model, params, trie, vectors.unit_NxF), tries, catalogue, share)
  return GrownRun(joined, grown, parts)
