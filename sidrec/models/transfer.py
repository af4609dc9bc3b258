"""Trained parameters, carried over to another catalogue without training.

A recommender has tables with a row per trie node and per item. When items come, other nodes and
rows are needed; what stays is a node's prefix of tokens, and which item an item is. So
rows move by those, and what was never trained is filled from what was trained beside it.

Letters, of the catalogue in hand: N items, R items that its trie leads to, L levels, E nodes, D
model width. Numbers of rows in the trained catalogue are called *trained* rows and nodes.
"""

import numpy as np

from sidrec.decoding.trie import ROOT, Trie

UNKNOWN = -1


def transfer(params: dict, trained: Trie, trie: Trie, trained_row_N: np.ndarray) -> dict:
  """The parameters for another trie, and for a catalogue with other items.

  Nodes keep what was trained for their prefix of tokens, items what was trained for them. A
  node of unknown prefix gets a vector of zeros and the mean bias of its trained siblings, so
  that only its token tells it from them. An unknown item's rows are the means of the trained
  items that share the longest prefix with it.

  Where the trie leads to some of the items only, a trained node's probability is theirs by their
  share of the items below it: the logarithm of the share is added to its bias.

  Hence, when items are only added, the ratio of the probabilities of two siblings from
  training stays as it was; and where a prefix has the same continuations as in training, their
  probabilities do.

  Args:
    params: of the recommender, trained over `trained`.
    trained: the trie of training, which leads to all items of that time.
    trie: the trie to search.
    trained_row_N: int, the row that each item of the catalogue had in training, or UNKNOWN.

  Returns:
    Parameters of a model with the catalogue's `num_items` and the trie's `num_nodes`.

  Raises:
    ValueError: if IDs differ in length, or rows do not fit the catalogues.
  """
  trained_row_N = np.asarray(trained_row_N)
  if trained.num_levels != trie.num_levels:
    raise ValueError(
      f"IDs had {trained.num_levels} tokens in training and have {trie.num_levels} now; "
      "parameters move between IDs of one length only"
    )
  if trained_row_N.shape != (trie.num_items,) or trained_row_N.max() >= trained.num_items:
    raise ValueError(
      f"trained rows of shape {trained_row_N.shape} up to {trained_row_N.max()} do not fit "
      f"{trie.num_items} items, of which at most {trained.num_items} were trained"
    )
  params = dict(params)
  if "node" in params or "node_bias" in params:
    node_E, parent_E = match_nodes(trained, trie)
    first, stop = np.asarray(trained.child_E)[[parent_E, parent_E + 1]]
    siblings = np.where(parent_E == UNKNOWN, 0, first), np.where(parent_E == UNKNOWN, 0, stop)
    for name in {"node", "node_bias"} & set(params):
      rows = np.asarray(params[name])
      fill = np.zeros((len(node_E), *rows.shape[1:]), rows.dtype)
      if name == "node_bias":
        fill = _mean_of_ranges(rows, *siblings)
      params[name] = _known_or(rows, node_E, fill)
    if "node_bias" in params:
      log_share_E = np.log(_share_of_items(trained, trie, node_E, trained_row_N))
      params["node_bias"] = params["node_bias"] + log_share_E.astype(np.float32)
  if "item" in params or "item_bias" in params:
    nearest_N = _deepest(descend(trained, np.asarray(trie.codes_NxL)))
    row_E, item_Nt = np.asarray(trained.row_E), np.asarray(trained.item_N)
    for name in {"item", "item_bias"} & set(params):
      rows = np.asarray(params[name])
      fill = _mean_of_ranges(rows[item_Nt], row_E[nearest_N], row_E[nearest_N + 1])
      params[name] = _known_or(rows, trained_row_N, fill)
  return params


def match_nodes(trained: Trie, trie: Trie) -> tuple[np.ndarray, np.ndarray]:
  """The trained node with each node's prefix, and with its parent's: int64 [E] each, or UNKNOWN.

  The root has itself for a parent; closing nodes have nothing.
  """
  path_RxL1 = descend(trained, np.asarray(trie.codes_NxL)[np.asarray(trie.item_N)])
  offsets = [*trie.depth_offsets, trie.num_nodes]
  node_E = np.full(trie.num_nodes, UNKNOWN)
  parent_E = node_E.copy()
  for depth in range(trie.num_levels + 1):
    nodes = slice(offsets[depth], offsets[depth + 1] - 1)  # without the closing one
    first_row = np.asarray(trie.row_E)[nodes]
    node_E[nodes] = path_RxL1[first_row, depth]
    parent_E[nodes] = path_RxL1[first_row, max(depth - 1, 0)]
  return node_E, parent_E


def descend(trie: Trie, codes_MxL: np.ndarray) -> np.ndarray:
  """The node of every prefix of some codes, root first: int64 [M, L + 1], UNKNOWN where none is."""
  token_E, child_E = np.asarray(trie.token_E), np.asarray(trie.child_E)
  offsets = [*trie.depth_offsets, trie.num_nodes]
  span = max(int(token_E.max()), int(codes_MxL.max(initial=0))) + 1
  path = [np.full(len(codes_MxL), ROOT)]
  for level in range(trie.num_levels):
    parents = np.arange(offsets[level], offsets[level + 1] - 1)
    nodes = np.arange(offsets[level + 1], offsets[level + 2] - 1)
    # Children follow each other by parent and by token, so these keys ascend.
    key_C = np.repeat(parents, np.diff(child_E[offsets[level] : offsets[level + 1]]))
    key_C = key_C * span + token_E[nodes]
    wanted_M = path[-1] * span + codes_MxL[:, level]
    at_M = np.minimum(np.searchsorted(key_C, wanted_M), len(key_C) - 1)
    found_M = (path[-1] != UNKNOWN) & (key_C[at_M] == wanted_M)
    path.append(np.where(found_M, nodes[at_M], UNKNOWN))
  return np.stack(path, axis=1)


def _share_of_items(
  trained: Trie, trie: Trie, node_E: np.ndarray, trained_row_N: np.ndarray
) -> np.ndarray:
  """The items below each node of the trie, in relation to all that are or were below: [E]."""
  row_E = np.asarray(trie.row_E)
  new_R = trained_row_N[np.asarray(trie.item_N)] == UNKNOWN
  before_R1 = np.concatenate([[0], np.cumsum(new_R)])
  stop_E = np.append(row_E[1:], row_E[-1])
  closing_E = stop_E < row_E  # the next depth starts at row 0 again
  stop_E = np.where(closing_E, row_E, stop_E)
  here_E, new_E = stop_E - row_E, before_R1[stop_E] - before_R1[row_E]
  trained_E = np.asarray(trained.row_E)
  at_E = np.maximum(node_E, 0)
  trained_E = np.where(node_E == UNKNOWN, 0, trained_E[at_E + 1] - trained_E[at_E])
  whole_E = np.where(node_E == UNKNOWN, here_E, trained_E + new_E)
  return np.where(here_E > 0, here_E / np.maximum(whole_E, 1), 1.0)


def _deepest(path_MxL1: np.ndarray) -> np.ndarray:
  depth_M = (path_MxL1 != UNKNOWN).sum(axis=1) - 1
  return path_MxL1[np.arange(len(path_MxL1)), depth_M]


def _mean_of_ranges(rows: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
  """The mean of rows first ≤ r < stop for each range; 0 for an empty one."""
  total = np.zeros((len(rows) + 1, *rows.shape[1:]))
  np.cumsum(rows, axis=0, dtype=np.float64, out=total[1:])
  count = np.maximum(stop - first, 1).reshape(-1, *[1] * (rows.ndim - 1))
  return ((total[stop] - total[first]) / count).astype(rows.dtype)


def _known_or(rows: np.ndarray, at: np.ndarray, fill: np.ndarray) -> np.ndarray:
  """rows[at], and `fill` where `at` is UNKNOWN."""
  known = (at != UNKNOWN).reshape(-1, *[1] * (rows.ndim - 1))
  return np.where(known, rows[np.maximum(at, 0)], fill)
