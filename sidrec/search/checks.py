"""What a search checks before it starts: histories, and that model, parameters and trie fit."""

from typing import Any

import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.item_rows import as_array, as_int32, is_known
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events, check_order, checked_ratings
from sidrec.data.inputs import InputsConfig, known_inputs
from sidrec.models.base import SemanticIDModel
from sidrec.models.histories import check_histories
from sidrec.models.inputs import events_of
from sidrec.models.transfer import NODE_TABLES, check_are_for

_TABLES = {"code": "levels", "item": "items", "node_bias": "nodes", "node": "nodes"}


def check_fit(model: SemanticIDModel, params: dict, trie: Trie) -> None:
  """Checks that model, parameters and trie belong to one catalogue: by sizes, and by checksums.

  What the parameters are marked with is known outside jit only; see `transfer.are_for`.

  Raises:
    ValueError: naming the first thing that differs, and what to do.
  """
  sizes = model.sizes
  item_filling, node_filling = trie.filling
  of_trie = {
    "levels": trie.num_levels,
    "items": trie.num_items - item_filling,
    "nodes": trie.num_nodes - node_filling,
  }
  expected = {"levels": sizes.num_levels, "items": sizes.num_items, "nodes": sizes.num_nodes}
  found = {
    ("the parameters", kind): len(params[name]) for name, kind in _TABLES.items() if name in params
  }
  found |= {("the trie", kind): of_trie[kind] for _, kind in [*found, ("", "levels")]}
  for (what, kind), number in found.items():
    if number != expected[kind]:
      raise ValueError(
        f"{what} has {number} {kind} and the model {expected[kind]}, so they belong to different "
        "catalogues; carry the parameters over to the trie with sidrec.models.transfer.transfer, "
        "and make the model for its sizes"
      )
  # A trie of the same codes may number its nodes otherwise.
  compared = 2 if any(name in params for name in NODE_TABLES) else 1
  if sizes.origin is not None and sizes.origin[:compared] != trie.origin[:compared]:
    raise ValueError(
      "the trie has other codes or nodes than the one that the model was made for, though their "
      "sizes agree; carry the parameters over with sidrec.models.transfer.transfer, and make the "
      "model for CatalogueSizes.of this trie"
    )
  check_are_for(params, trie)


def checked_histories(model: SemanticIDModel, trie: Trie, history_BxS: Any) -> Any:
  """Histories as a compiled search takes them, after a check of what the host can see of them.

  Lists of item rows are filled up. Events keep what the model reads.

  Raises:
    TypeError: for anything else than signed integers.
    ValueError: for another shape, or as `histories.check_histories` and `checked_columns` do.
  """
  events = history_BxS if isinstance(history_BxS, Events) else Events(history_BxS)
  history_BxS = as_array("histories", events.item_BxS)
  c = model.config
  first = c.input_length - c.history_length
  if history_BxS.ndim != 2 or not 1 <= history_BxS.shape[1] <= c.input_length:
    raise ValueError(
      f"histories have shape {history_BxS.shape}; give [requests, 1 to {c.input_length} items]"
    )
  if is_known(history_BxS) and is_known(trie.used):
    on_host = np.asarray(history_BxS)
    check_histories(on_host[:, first:], int(trie.used))
    if events.earlier_BxX is not None and is_known(events.earlier_BxX):
      check_histories(np.asarray(events.earlier_BxX), int(trie.used))
    if ((on_host[:, :first] < 0) | (on_host[:, :first] >= c.user_tokens)).any():
      raise ValueError(f"column 0 of histories holds a user's token, 0 to {c.user_tokens - 1}")
  item_BxS = as_int32(history_BxS) if isinstance(history_BxS, np.ndarray) else history_BxS
  return checked_columns(events._replace(item_BxS=item_BxS), c.inputs, first)


def checked_columns(events: Events, inputs: InputsConfig, first: int = 0) -> Events:
  """The events with what a model reads, after a check of what the host can see of it.

  Args:
    events: with checked items.
    inputs: what the model reads.
    first: columns of users' tokens, which other columns lack.

  Raises:
    TypeError: for times or actions that are not int32, or ratings that are not float32.
    ValueError: if something is missing, for other shapes, for times that decrease or do not agree
      with when what follows is asked for, for actions that the model does not have, or as
      `checked_ratings` does.
  """
  events = events_of(events, inputs)
  batch, length = events.shape
  for name, column in events._asdict().items():
    if name in ("item_BxS", "earlier_BxX", "user_BxX"):
      continue
    if column is not None and column.shape != (batch, length - first):
      raise ValueError(f"{name} has shape {column.shape}; give {(batch, length - first)}")
  if events.earlier_BxX is not None:
    _check_earlier(events.earlier_BxX, batch, inputs.earlier)
  if events.rating_BxS is not None and is_known(events.rating_BxS):
    checked_ratings(np.asarray(events.rating_BxS), inputs)
  if events.action_BxS is not None and is_known(events.action_BxS):
    action_BxS, most = np.asarray(events.action_BxS), len(inputs.actions)
    if action_BxS.size and not 0 <= action_BxS.min() <= action_BxS.max() <= most:
      raise ValueError(f"action_BxS holds rows of no action; give 0 to {most}")
  if events.user_BxX is not None:
    _check_users(events.user_BxX, batch, inputs)
  times = [x for x in (events.item_BxS, events.time_BxS, events.asked_BxS) if x is not None]
  if inputs.times and all(map(is_known, times)):
    _check_times(events, first)
  return events


def _check_users(user_BxX: Any, batch: int, inputs: InputsConfig) -> None:
  """Raises ValueError for another shape, or rows that an attribute does not have."""
  known = known_inputs(inputs).known
  if user_BxX.shape != (batch, len(known)):
    raise ValueError(f"user_BxX has shape {user_BxX.shape}; give {(batch, len(known))}")
  if not is_known(user_BxX):
    return
  rows_BxX, size_X = np.asarray(user_BxX), np.array([attribute.rows for attribute in known])
  if ((rows_BxX < 0) | (rows_BxX >= size_X)).any():
    b, x = np.argwhere((rows_BxX < 0) | (rows_BxX >= size_X))[0]
    raise ValueError(
      f"user_BxX of history {b} holds row {rows_BxX[b, x]} of {known[x].name!r}; give 0, which is "
      f"unknown, to {size_X[x] - 1}"
    )


def _check_earlier(earlier_BxX: Any, batch: int, most: int) -> None:
  """Raises ValueError for another shape, or items that are listed twice and would count twice."""
  if earlier_BxX.ndim != 2 or len(earlier_BxX) != batch or earlier_BxX.shape[1] > most:
    raise ValueError(f"earlier_BxX has shape {earlier_BxX.shape}; give ({batch}, up to {most})")
  if not is_known(earlier_BxX) or not earlier_BxX.shape[1]:
    return
  sorted_BxX = np.sort(np.asarray(earlier_BxX), axis=1)
  twice_BxX = (np.diff(sorted_BxX, axis=1) == 0) & (sorted_BxX[:, 1:] >= 0)
  if twice_BxX.any():
    b, x = np.argwhere(twice_BxX)[0]
    raise ValueError(
      f"earlier_BxX of history {b} lists item row {sorted_BxX[b, x]} twice; make it with "
      "sidrec.Events.of"
    )


def _check_times(events: Events, first: int) -> None:
  """Raises ValueError for times that contradict each other."""
  real_BxS = np.asarray(events.item_BxS)[:, first:] != NO_ITEM
  time_BxS = np.asarray(events.time_BxS).astype(np.int64)
  check_order(time_BxS, real_BxS)
  if events.asked_BxS is None:
    return
  asked_BxS = np.asarray(events.asked_BxS)
  early_BxS = real_BxS & (asked_BxS < time_BxS)
  early_BxS[:, :-1] |= real_BxS[:, 1:] & (asked_BxS[:, :-1] != time_BxS[:, 1:])
  if early_BxS.any():
    raise ValueError(
      f"asked_BxS of history {np.argwhere(early_BxS)[0, 0]} is not the next event's time, or lies "
      "before its newest event; make it with sidrec.Events.of"
    )
