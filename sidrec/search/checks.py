"""What a search checks before it starts: histories, and that model, parameters and trie fit."""

from typing import Any

import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.item_rows import as_array, as_int32, is_known
from sidrec.models.base import SemanticIDModel
from sidrec.models.histories import check_histories
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

  Lists of item rows are filled up.

  Raises:
    TypeError: for anything else than signed integers.
    ValueError: for another shape, or as `histories.check_histories` does.
  """
  history_BxS = as_array("histories", history_BxS)
  c = model.config
  first = c.input_length - c.history_length
  if history_BxS.ndim != 2 or not 1 <= history_BxS.shape[1] <= c.input_length:
    raise ValueError(
      f"histories have shape {history_BxS.shape}; give [requests, 1 to {c.input_length} items]"
    )
  if is_known(history_BxS) and is_known(trie.used):
    on_host = np.asarray(history_BxS)
    check_histories(on_host[:, first:], int(trie.used))
    if ((on_host[:, :first] < 0) | (on_host[:, :first] >= c.user_tokens)).any():
      raise ValueError(f"column 0 of histories holds a user's token, 0 to {c.user_tokens - 1}")
  return as_int32(history_BxS) if isinstance(history_BxS, np.ndarray) else history_BxS
