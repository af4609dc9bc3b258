"""Tables among the parameters that no training touches: they are made of the log and of vectors."""

from collections.abc import Iterable

import numpy as np

from sidrec.data.dataset import Histories
from sidrec.models import followers, similarity
from sidrec.models.settings import RecommenderConfig

COUNTED = (*followers.COUNTED, *similarity.COUNTED)
FITTED = "evidence_weight"  # float32 [4], see `search.evidence.Weights`; fitted after the training
OF_FIT = (FITTED, followers.FLOOR)
UNTRAINED = (*COUNTED, *OF_FIT)


def tables(
  config: RecommenderConfig,
  histories: Histories,
  parts: Iterable[Histories],
  num_items: int,
  vectors_NxF: np.ndarray | None,
) -> dict[str, np.ndarray]:
  """The tables of a model; {} for one that has none.

  Args:
    config: of the model.
    histories: the training view of the users in memory, from whom a mean is taken.
    parts: the training view of all users, of some at a time, to be counted.
    num_items: N.
    vectors_NxF: of all items, which semantic IDs were made of; None for a model that keeps none.
  """
  counted = followers.tables(parts, num_items, config.followers)
  if vectors_NxF is not None:
    counted |= similarity.tables(histories, np.asarray(vectors_NxF), config.similarity_bytes)
  return counted
