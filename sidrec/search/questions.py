"""Requests in item rows, and the arrays of a batch of them.

Here X counts the events before those that are read, and the attributes of users.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.columns import checked_ratings
from sidrec.data.events import Events
from sidrec.models.settings import RecommenderConfig


class Question(NamedTuple):
  """One request in item rows, as a search takes it."""

  history_S: np.ndarray  # int32, oldest first; of more than the model knows, it reads the latest
  listed_J: np.ndarray  # int32, in any order
  allows: bool = False  # whether the listed items are the only ones returned, or never returned
  temperature: float = 1.0  # that logits are divided by
  token: int = 0  # of the user, where the model has such tokens
  time_S: np.ndarray | None = None  # int64 seconds of each event, where the model reads times
  rating_S: np.ndarray | None = None  # float32 of each event, where the model reads ratings
  request_time: int | None = None  # seconds, where the model reads it
  action_S: np.ndarray | None = None  # int32 rows of the model's actions, where it reads them
  user_X: np.ndarray | None = None  # int32 rows of the user's attributes, where it reads them


def check_question(question: Question, config: RecommenderConfig) -> None:
  """Raises ValueError if a request lacks what the model reads, or gives times that cannot be."""
  width = max(1, min(len(question.history_S), config.history_length))
  histories_of([question], 1, width, _without_earlier(config))


@functools.lru_cache
def _without_earlier(config: RecommenderConfig) -> RecommenderConfig:
  """What has to be checked: earlier items are in any order, and take longest to put in one."""
  return dataclasses.replace(config, inputs=dataclasses.replace(config.inputs, earlier=0))


def histories_of(
  questions: Sequence[Question], batch: int, width: int, config: RecommenderConfig
) -> np.ndarray | Events:
  """The histories of a batch as the model reads them; what is left of it is empty histories.

  Args:
    questions: the requests, at most `batch`.
    batch: B.
    width: S, columns.
    config: of the model.

  Returns:
    int32 item rows [B, S], with a column for the user's token in front where the model has such;
    `Events` of them for a model that reads more than items.

  Raises:
    ValueError: for a request that lacks what the model reads beside items, or whose times decrease
      or are after the request.
  """
  inputs, length = config.inputs, config.history_length
  item_BxS = np.full((batch, width), NO_ITEM, np.int32)
  token_Bx1 = np.zeros((batch, 1), np.int32)
  time_BxS, request_B = np.zeros((batch, width), np.int64), np.zeros(batch, np.int64)
  rating_BxS = np.full((batch, width), np.nan, np.float32)
  action_BxS = np.zeros((batch, width), np.int32)
  earlier_BxX = np.full((batch, inputs.earlier), NO_ITEM, np.int32)
  user_BxX = np.zeros((batch, len(inputs.user_attributes)), np.int32)
  for b, question in enumerate(questions):
    latest = question.history_S[-length:]
    before = question.history_S[:-length][-inputs.earlier :] if inputs.earlier else latest[:0]
    earlier_BxX[b, : len(before)] = before
    item_BxS[b, : len(latest)], token_Bx1[b] = latest, question.token
    if inputs.times:
      time_BxS[b, : len(latest)] = _column("times", question.time_S, question)[-length:]
    if inputs.rating:
      rating_BxS[b, : len(latest)] = _column("ratings", question.rating_S, question)[-length:]
    if inputs.actions:
      action_BxS[b, : len(latest)] = _column("actions", question.action_S, question)[-length:]
    if inputs.user_attributes:
      if question.user_X is None or len(question.user_X) != len(inputs.user_attributes):
        raise ValueError(
          "this model reads users' attributes (model.inputs); give a row of each, 0 where unknown"
        )
      user_BxX[b] = question.user_X
    if inputs.asks:
      if question.request_time is None:
        raise ValueError("this model reads when it is asked (model.inputs); give request_time")
      request_B[b] = question.request_time
  histories: np.ndarray | Events = item_BxS
  if inputs.any:
    histories = Events.of(
      item_BxS,
      time_BxS if inputs.times else None,
      checked_ratings(rating_BxS, inputs) if inputs.rating else None,
      request_B if inputs.asks else None,
      action_BxS if inputs.actions else None,
      earlier=earlier_BxX if inputs.earlier else None,
      attributes=user_BxX if inputs.user_attributes else None,
    )
  if not config.user_tokens:
    return histories
  tokens_and_items = np.concatenate([token_Bx1, item_BxS], axis=1)
  if isinstance(histories, Events):
    return histories._replace(item_BxS=tokens_and_items)
  return tokens_and_items


def _column(what: str, values_S: np.ndarray | None, question: Question) -> np.ndarray:
  """Times, ratings or actions of a history's events; an empty history needs none."""
  if values_S is None and not len(question.history_S):
    return np.zeros(0)
  if values_S is None:
    raise ValueError(f"this model reads {what} (model.inputs); give {what}, one for each item")
  if len(values_S) != len(question.history_S):
    raise ValueError(f"{len(values_S)} {what} are given for {len(question.history_S)} items")
  return values_S
