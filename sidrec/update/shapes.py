"""Catalogues in equal shapes, so that one night's programs are those of the night before.

Programs are compiled for the shapes of tries and tables. An update brings those of both catalogues
to common steps (`resize.alike`), so that it searches both by the same programs; and the next
night finds these in the compilation cache, until a catalogue has outgrown its step.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sidrec.catalogue.trie.resize import alike
from sidrec.catalogue.trie.trie import Trie
from sidrec.models.own_models import chosen_model
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, transfer
from sidrec.run.load import Trained


def in_equal_shapes(models: Sequence[Trained]) -> list[Trained]:
  """The same models with room, in shapes that they share, and with marked parameters.

  A plugin's model stays as it is, for nobody knows whether it leaves out rows of no item.
  """
  if any(chosen_model(trained.model.config) is not None for trained in models):
    return list(models)
  tries = alike(*(trained.trie for trained in models))
  return [_moved(trained, trie) for trained, trie in zip(models, tries, strict=True)]


def without_room(roomy: Trained, trie: Trie) -> dict:
  """Parameters of `in_equal_shapes` for the trie that they had before, bit for bit."""
  return transfer(roomy.params, roomy.trie, trie, np.arange(trie.num_items))


def _moved(trained: Trained, trie: Trie) -> Trained:
  row_N = np.full(trie.num_items, UNKNOWN)
  row_N[: trained.trie.num_items] = np.arange(trained.trie.num_items)
  params = transfer(trained.params, trained.trie, trie, row_N)
  # Without its origin, which would be another model for each catalogue.
  sizes = CatalogueSizes.of(trie, trained.model.sizes.codebook_size)
  model = trained.model.clone(sizes=dataclasses.replace(sizes, origin=None))
  return Trained(trained.ids, model, params, trie)
