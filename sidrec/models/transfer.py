"""Trained parameters, carried over to another catalogue without training.

A recommender has tables with a row per trie node and per item. When items come, other nodes and
rows are needed; what stays is a node's prefix of tokens, and which item an item is. So
rows move by those, and what was never trained is filled from what was trained next to it.

Letters, of the catalogue in hand: N items, R items that its trie leads to, L levels, E nodes, D
model width. Numbers of rows in the trained catalogue are called *trained* rows and nodes.
"""

import numpy as np

from sidrec.catalogue.trie import packed_codes
from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.catalogue.trie.trie import Trie, child_range, row_paths, rows_below
from sidrec.core.item_rows import is_known
from sidrec.models import packed_followers
from sidrec.models.followers import FOLLOWERS, SIMILARITIES
from sidrec.models.similarity import CODEWORDS, VECTORS
from sidrec.models.unseen import OF_ITEMS, OF_NODES, levels_of

UNKNOWN = -1
NODE_TABLES = tuple(OF_NODES)  # parameters with a row per trie node
ITEM_TABLES = tuple(OF_ITEMS)  # parameters with a row per item
# What `transfer` changes.
MOVED_TABLES = (*NODE_TABLES, *ITEM_TABLES, FOLLOWERS, SIMILARITIES, VECTORS)
MARK = "trie"  # the leaf among parameters that says which trie they are for


def marked(params: dict, trie: Trie) -> dict:
  """The parameters and which trie they are for: `trie.origin[0]` and `trie.numbering`, uint32 [2].

  A search refuses them with another trie. Parameters as trained have no mark, and are taken to be
  for the trie as it was built. The mark has no gradient: leave it out to go on training.
  """
  return {**params, MARK: np.array([trie.origin[0], trie.numbering], np.uint32)}


def are_for(params: dict, trie: Trie) -> AnyArray:
  """Whether parameters are for this trie: a bool, traced where they or the trie are.

  Parameters without a row per node or item are for every trie that their catalogue has become.
  """
  has_rows = any(name in params for name in (*NODE_TABLES, *ITEM_TABLES))
  codes, numbering = np.array(trie.origin, np.uint32)
  if MARK in params:
    mark = params[MARK]
    mark = np.asarray(mark) if is_known(mark) else mark
    same_codes, numbering = mark[0] == codes, mark[1]
  else:
    same_codes = True
  of_trie = np.asarray(trie.numbering) if is_known(trie.numbering) else trie.numbering
  return same_codes & (numbering == of_trie) if has_rows else same_codes


def check_are_for(params: dict, trie: Trie) -> None:
  """Checks `are_for` where the answer is known, that is outside jit.

  Raises:
    ValueError: if the parameters are for another trie.
  """
  answer = are_for(params, trie)
  if is_known(answer) and not answer:
    raise ValueError(
      "the parameters are for another trie: even where all sizes agree, its codes or the numbers "
      "of its nodes differ; carry them over to this trie with sidrec.models.transfer.transfer"
    )


def by_node(params: dict) -> dict:
  """Of the recommender's parameters, those with a row per trie node, and their mark."""
  return {name: params[name] for name in (*NODE_TABLES, MARK) if name in params}


def transfer(params: dict, trained: Trie, trie: Trie, trained_row_N: np.ndarray) -> dict:
  """The parameters for another trie, and for a catalogue with other items.

  Nodes keep what was trained for their prefix of tokens, items what was trained for them. A
  node of unknown prefix gets a vector of zeros and the mean bias of its trained siblings, so
  that only its token tells it from them. An unknown item's rows are the means of the trained
  items that share the longest prefix with it. Where the model was trained with `config.unseen`,
  both get the rows that it learnt for what it has not seen. Followers keep their similarity to an
  item; nothing has followed an unknown one. Its vector is the mean, too, or, of vectors that are
  kept as codes, that of one of these items.

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
    Parameters of a model with the catalogue's `num_items` and the trie's `num_nodes`, `marked` as
    those of this trie.

  Raises:
    ValueError: if IDs differ in length, rows do not fit the catalogues, or the parameters are for
      another trie than `trained`.
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
  check_are_for(params, trained)
  params = dict(params)
  if "node" in params or "node_bias" in params:
    node_E, parent_E = match_nodes(trained, trie)
    level_E = levels_of(row_paths(trie), trie.num_nodes)
    first, stop = map(np.asarray, child_range(trained, np.maximum(parent_E, 0)))
    siblings = np.where(parent_E == UNKNOWN, 0, first), np.where(parent_E == UNKNOWN, 0, stop)
    for name in {"node", "node_bias"} & set(params):
      rows = np.asarray(params[name])
      fill = np.zeros((len(node_E), *rows.shape[1:]), rows.dtype)
      if OF_NODES[name] in params:
        fill = np.asarray(params[OF_NODES[name]])[level_E]
      elif name == "node_bias":
        fill = _mean_of_ranges(rows, *siblings)
      params[name] = _known_or(rows, node_E, fill)
    if "node_bias" in params:
      log_share_E = np.log(_share_of_items(trained, trie, node_E, trained_row_N))
      params["node_bias"] = params["node_bias"] + log_share_E.astype(np.float32)
  if of_items := {*ITEM_TABLES, VECTORS} & set(params):
    nearest_N = _deepest(descend(trained, np.asarray(trie.codes_NxL)))
    first_N, stop_N = map(np.asarray, rows_below(trained, nearest_N))
    item_Nt = np.asarray(trained.item_N)
    for name in of_items:
      rows = np.asarray(params[name])
      if name == VECTORS and CODEWORDS in params:  # codes have no mean
        fill = rows[item_Nt[first_N]]
      else:
        fill = _mean_of_ranges(rows[item_Nt], first_N, stop_N)
      if OF_ITEMS.get(name) in params:
        fill = np.broadcast_to(np.asarray(params[OF_ITEMS[name]]), fill.shape)
      params[name] = _known_or(rows, trained_row_N, fill)
  if FOLLOWERS in params:
    moved = packed_followers.moved(params[FOLLOWERS], params[SIMILARITIES], trained_row_N)
    params[FOLLOWERS], params[SIMILARITIES] = moved
  return marked(params, trie)


def match_nodes(trained: Trie, trie: Trie) -> tuple[np.ndarray, np.ndarray]:
  """The trained node with each node's prefix, and with its parent's: int64 [E] each, or UNKNOWN.

  The root has itself for a parent; closing nodes have nothing.
  """
  path_RxLp1 = row_paths(trie)
  item_R = np.asarray(trie.item_N)[: len(path_RxLp1)]
  trained_RxLp1 = descend(trained, np.asarray(trie.codes_NxL)[item_R])
  node_E = np.full(trie.num_nodes, UNKNOWN)
  parent_E = node_E.copy()
  # Upwards: of a row that stands for all of its tail, the first step into the tail counts.
  for depth in reversed(range(trie.num_levels + 1)):
    node_E[path_RxLp1[:, depth]] = trained_RxLp1[:, depth]
    parent_E[path_RxLp1[:, depth]] = trained_RxLp1[:, max(depth - 1, 0)]
  return node_E, parent_E


def descend(trie: Trie, codes_MxL: np.ndarray) -> np.ndarray:
  """The node of every prefix of some codes, root first: int64 [M, L + 1], UNKNOWN where none is."""
  codes, num_rows = trie.codes_NxL, int(np.asarray(trie.row_E)[1])
  word_RxW = np.asarray(codes.word_NxW)[:num_rows]
  # The row that shares most with an ID adjoins its place among the sorted rows.
  within_MxL = np.minimum(codes_MxL, (1 << codes.bits) - 1)
  place_M = packed_codes.search(word_RxW, packed_codes.pack(within_MxL, codes.bits))
  row_2xM = np.clip(np.stack([place_M - 1, place_M]), 0, num_rows - 1)
  near_2xMxL = packed_codes.unpack(word_RxW[row_2xM.ravel()], codes.bits, codes.num_levels)
  same_2xMxL = near_2xMxL.reshape(2, *codes_MxL.shape) == codes_MxL
  shared_2xM = np.logical_and.accumulate(same_2xMxL, axis=2).sum(axis=2)
  nearer_M = shared_2xM.argmax(axis=0)[None]
  row_M = np.take_along_axis(row_2xM, nearer_M, axis=0)[0]
  shared_M = np.take_along_axis(shared_2xM, nearer_M, axis=0)[0]
  path_MxLp1 = row_paths(trie)[row_M].astype(np.int64)
  return np.where(np.arange(codes.num_levels + 1) <= shared_M[:, None], path_MxLp1, UNKNOWN)


def _share_of_items(
  trained: Trie, trie: Trie, node_E: np.ndarray, trained_row_N: np.ndarray
) -> np.ndarray:
  """The items below each node of the trie, in relation to all that are or were below: [E].

  1 for closing nodes.
  """
  path_RxLp1 = row_paths(trie)
  new_R = trained_row_N[np.asarray(trie.item_N)[: len(path_RxLp1)]] == UNKNOWN
  before_Rp1 = np.concatenate([[0], np.cumsum(new_R)])
  share_E, node_X = np.ones(trie.num_nodes), np.unique(path_RxLp1)
  first_X, stop_X = map(np.asarray, rows_below(trie, node_X))
  first_Xt, stop_Xt = map(np.asarray, rows_below(trained, np.maximum(node_E[node_X], 0)))
  trained_X = np.where(node_E[node_X] == UNKNOWN, 0, stop_Xt - first_Xt)
  here_X, new_X = stop_X - first_X, before_Rp1[stop_X] - before_Rp1[first_X]
  whole_X = np.where(node_E[node_X] == UNKNOWN, here_X, trained_X + new_X)
  share_E[node_X] = here_X / whole_X
  return share_E


def _deepest(path_MxLp1: np.ndarray) -> np.ndarray:
  depth_M = (path_MxLp1 != UNKNOWN).sum(axis=1) - 1
  return path_MxLp1[np.arange(len(path_MxLp1)), depth_M]


def _mean_of_ranges(rows: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
  """The mean of rows first ≤ r < stop for each range; 0 for an empty one."""
  total = np.zeros((len(rows) + 1, *rows.shape[1:]))
  np.cumsum(rows, axis=0, dtype=np.float64, out=total[1:])
  count = np.maximum(stop - first, 1).reshape(-1, *[1] * (rows.ndim - 1))
  return ((total[stop] - total[first]) / count).astype(rows.dtype)


def _known_or(rows: np.ndarray, at: np.ndarray, fill: np.ndarray | np.generic) -> np.ndarray:
  """rows[at], and `fill` where `at` is UNKNOWN."""
  known = (at != UNKNOWN).reshape(-1, *[1] * (rows.ndim - 1))
  return np.where(known, rows[np.maximum(at, 0)], fill)
