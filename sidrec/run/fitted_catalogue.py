"""The catalogue that item vectors and the tokenizer were fitted on, which describes new items.

Columns, frequencies and means of the blocks are those of this catalogue. In a run that was made
from zero it is the run's own. An update adds items, but fits nothing anew; so it keeps the old
catalogue in a folder, since the columns of a grown one would mean other things.
"""

from typing import NamedTuple

import numpy as np
from etils import epath

from sidrec.core.atomic import load_array, save_array
from sidrec.data.cache import load_items, save_items
from sidrec.data.dataset import Items
from sidrec.run.generations import Chain
from sidrec.run.item_vectors import with_statistics
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig

FOLDER = "fitted"  # of an updated stage 'tokenize'
_ITEMS, _VECTORS = "items.npz", "vectors.npy"


class FittedCatalogue(NamedTuple):
  """Items and their vectors."""

  items: Items  # with columns of training statistics, where the vectors have them
  vectors_NxF: np.ndarray  # float32


def load_fitted_catalogue(config: RunConfig, chain: Chain) -> FittedCatalogue:
  """The catalogue that a run's item vectors were fitted on.

  Raises:
    ValueError: if a file is damaged or missing.
  """
  tokenized = chain["tokenize"]
  if tokenized.record.inputs.update is None:
    items = with_statistics(config.features, load_prepared(chain))
    return FittedCatalogue(items, load_array(tokenized.file("vectors.npy")))
  folder = tokenized.file(FOLDER)
  return FittedCatalogue(load_items(folder / _ITEMS), load_array(folder / _VECTORS))


def save_fitted_catalogue(folder: epath.Path, fitted: FittedCatalogue) -> None:
  """Writes it below the folder of a stage's output."""
  save_items(folder / FOLDER / _ITEMS, fitted.items)
  save_array(folder / FOLDER / _VECTORS, fitted.vectors_NxF)
