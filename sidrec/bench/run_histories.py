"""Histories of a run's users as its model reads them, for benchmarks that call the search."""

import numpy as np

from sidrec.data.columns import last_events
from sidrec.data.dataset import Histories
from sidrec.data.events import Events
from sidrec.models.settings import RecommenderConfig
from sidrec.search.batched import with_other_inputs


def events_of(histories: Histories, config: RecommenderConfig, users_R: np.ndarray) -> Events:
  """The latest events of some users with all inputs of the model, filled up to its length.

  Args:
    histories: of all users.
    config: of the model.
    users_R: int, user rows.

  Raises:
    ValueError: if the histories lack what the model reads.
  """
  length, inputs = config.history_length, config.inputs
  events = last_events(histories, length, users_R, inputs)
  return with_other_inputs(events, histories, users_R, length, inputs, config.user_tokens)
