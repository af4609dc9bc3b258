"""Histories of a run's users as its model reads them, for benchmarks that call the search."""

import numpy as np

from sidrec.data.batches import user_tokens, with_user_tokens
from sidrec.data.columns import earlier_items, last_events, users_of
from sidrec.data.dataset import Histories
from sidrec.data.events import Events
from sidrec.models.settings import RecommenderConfig


def events_of(histories: Histories, config: RecommenderConfig, users_R: np.ndarray) -> Events:
  """The latest events of some users with all inputs of the model, filled up to its length.

  Args:
    histories: of all users.
    config: of the model.
    users_R: int, user rows.

  Raises:
    ValueError: if the histories lack what the model reads; see `columns.last_events`.
  """
  inputs, length = config.inputs, config.history_length
  events = last_events(histories, length, users_R, inputs)
  if inputs.earlier:
    earlier_BxX = earlier_items(histories, length, users_R, inputs.earlier)
    events = events._replace(earlier_BxX=earlier_BxX)
  if inputs.user_attributes:
    events = events._replace(user_BxX=users_of(histories, users_R, inputs))
  if config.user_tokens:
    token_B = user_tokens(histories.user_ids_U[users_R], config.user_tokens)
    events = events._replace(item_BxS=with_user_tokens(token_B, events.item_BxS))
  return events
