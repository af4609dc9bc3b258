"""What sidrec's stages cost in memory, work and network, as formulas of the sizes.

Pure functions of numbers. The tests compare each with what the code does: the bytes of a trie that
was built, the parameters of a model that was initialised, the FLOPs that a training reports, the
bytes of a training's state. docs/cost.md explains them, `cost_model` makes its tables.

Here A is the width of all heads, H·I, X the width of the feed-forward layers, and P a number of
parameters. IDs are taken as random and evenly spread, which is the worst case for a trie.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sidrec.catalogue.trie.packed_codes import bits_of
from sidrec.models.layers import CAUSAL_BLOCK

FLOAT = INT = 4  # bytes
STATE_COPIES = 4  # parameters, Adam's two moments, the moving average


class Shape(NamedTuple):
  """A dense recommender with an item head, but for its catalogue."""

  width: int = 64  # D
  heads_width: int = 64  # A
  hidden: int = 256  # X
  encoder_layers: int = 2
  decoder_layers: int = 1
  positions: int = 50  # S
  negatives: int = 512  # items of the item head's softmax in training
  tables: bool = True  # item vectors, item head, vectors and biases by node


class Catalogue(NamedTuple):
  """How many items there are, and what their IDs look like."""

  items: int  # N
  levels: int  # L
  codes: int  # V


# The trie.


def prefixes(catalogue: Catalogue, depth: int) -> float:
  """How many different prefixes of `depth` tokens random IDs are expected to have."""
  places = float(catalogue.codes) ** depth
  return -places * math.expm1(-catalogue.items / places)


def trie_nodes(catalogue: Catalogue, every_prefix: bool) -> float:
  """Stored nodes, closing ones included, that are expected: E.

  With every prefix, all prefixes of 1 to L - 1 tokens. Without, the children of those nodes that
  have a child of several items; numbers of items below a node are taken as Poisson's.
  """
  total = 2.0  # the root, and the node that closes it
  for depth in range(catalogue.levels - 1):
    if every_prefix:
      total += prefixes(catalogue, depth + 1) + 1
      continue
    nodes, codes = float(catalogue.codes) ** depth, catalogue.codes
    rate = catalogue.items / (nodes * codes)  # items below one child
    some, one = -math.expm1(-rate), rate * math.exp(-rate)
    alone = codes * (math.log1p(rate) - rate)  # log p(no child has several items)
    families = nodes * -math.expm1(alone)
    children = nodes * codes * (some - one * math.exp(alone * (codes - 1) / codes))
    closing = families * (1 - families / prefixes(catalogue, depth)) if depth else 0.0
    total += children + closing + 1
  return total


def trie_bytes(catalogue: Catalogue, every_prefix: bool) -> float:
  """Packed IDs, both orders of the items, and token, first child and first row of each node."""
  bits = bits_of(catalogue.codes)
  words = math.ceil(catalogue.levels * bits / 32)
  token = 1 if bits <= 8 else 2 if bits <= 16 else 4
  of_nodes = trie_nodes(catalogue, every_prefix) * (token + 2 * INT)
  return catalogue.items * (words + 2) * INT + of_nodes


# Parameters, and what is kept of them.


def table_parameters(shape: Shape, catalogue: Catalogue) -> float:
  """Those with a row for each item or trie node; 0 without tables."""
  if not shape.tables:
    return 0.0
  node_ids = trie_nodes(catalogue, every_prefix=True) + catalogue.items + 1
  return (catalogue.items + node_ids) * (shape.width + 1)


def dense_parameters(shape: Shape, catalogue: Catalogue) -> int:
  """All others: layers, tables by level and code, places."""
  attention, feed = 4 * shape.width * shape.heads_width, 2 * shape.width * shape.hidden
  encoder = shape.encoder_layers * (attention + feed + 2 * shape.width)
  decoder = shape.decoder_layers * (2 * attention + feed + 3 * shape.width)
  by_code = 2 * catalogue.levels * catalogue.codes * shape.width
  places = (shape.positions + catalogue.levels + 1) * shape.width
  return encoder + decoder + 2 * shape.width + by_code + places


def search_bytes(shape: Shape, catalogue: Catalogue) -> float:
  """Parameters and trie, which stay on each device that searches."""
  count = dense_parameters(shape, catalogue) + table_parameters(shape, catalogue)
  return count * FLOAT + trie_bytes(catalogue, every_prefix=shape.tables)


def state_bytes(shape: Shape, catalogue: Catalogue, parts: int = 1) -> float:
  """What a training keeps between steps on each device; a checkpoint has it once, with parts = 1.

  Args:
    shape: of the model.
    catalogue: of its items.
    parts: devices along 'model', which share tables by item, by node and by code, and the
      feed-forward layers. Attention is whole on each.
  """
  shared = table_parameters(shape, catalogue)
  shared += 2 * catalogue.levels * catalogue.codes * shape.width
  layers = shape.encoder_layers + shape.decoder_layers
  shared += 2 * layers * shape.width * shape.hidden
  count = dense_parameters(shape, catalogue) + table_parameters(shape, catalogue)
  return STATE_COPIES * FLOAT * (count - shared + shared / parts)


# Work.


def causal_pairs(positions: int) -> int:
  """Pairs of a query and a key that causal attention computes, block by block."""
  starts = range(0, positions, CAUSAL_BLOCK)
  ends = (min(start + CAUSAL_BLOCK, positions) for start in starts)
  return sum((end - start) * end for start, end in zip(starts, ends, strict=True))


def training_flops(shape: Shape, catalogue: Catalogue, fan_outs: Sequence[int]) -> float:
  """Model FLOPs of one row of S positions, forward and backward, as `training.meter` counts them.

  Args:
    shape: of the model.
    catalogue: of its items.
    fan_outs: most children of a node at each depth: [L].
  """
  D, A, X, S, L = shape.width, shape.heads_width, shape.hidden, shape.positions, catalogue.levels
  pairs = causal_pairs(S)
  encoder = S * (4 * D * A + 2 * D * X) + 2 * pairs * A
  # Self-attention among levels is no product of matrices; queries are S · L, keys S.
  decoder = S * L * (4 * D * A + 2 * D * A + 2 * D * X) + S * 2 * D * A + 2 * pairs * L * A
  total = shape.encoder_layers * encoder + shape.decoder_layers * decoder
  # The root's children are scored alone; further down, all codes are, and the vectors of children.
  total += S * D * (fan_outs[0] + (L - 1) * catalogue.codes)
  if shape.tables:
    total += S * D * (sum(fan_outs[1:]) + min(shape.negatives, catalogue.items))
  return 3 * 2.0 * total


def update_bytes(parameters: float) -> float:
  """What an optimiser's step reads and writes: the state and the gradient, of every row of a table.

  Rows that no example of a batch names are updated, too, because Adam's moments decay.
  """
  return (2 * STATE_COPIES + 2) * FLOAT * parameters


def search_flops(shape: Shape, catalogue: Catalogue, beams: int) -> float:
  """Model FLOPs of one user's search, by keys and values of the history; one beam at level 0.

  Scores of the children's own vectors are left out: they are a product of as many rows as there
  are children.
  """
  D, A, X, S = shape.width, shape.heads_width, shape.hidden, shape.positions
  encoder = S * (4 * D * A + 2 * D * X) + 2 * causal_pairs(S) * A
  beam = 4 * D * A + 2 * D * A + 2 * S * A + 2 * D * X
  keys = S * 2 * D * A
  visits = 1 + (catalogue.levels - 1) * beams
  total = shape.encoder_layers * encoder + shape.decoder_layers * (keys + visits * beam)
  return 2.0 * (total + visits * D * catalogue.codes)


# Network.


def gradient_bytes(parameters: float, chips: int) -> float:
  """What leaves, and reaches, each chip when a float32 gradient is added up in a ring."""
  return 2 * (chips - 1) / chips * parameters * FLOAT


def step_bytes(
  shape: Shape,
  catalogue: Catalogue,
  rows: int,
  chips: int,
  parts: int,
  fan_outs: Sequence[int],
) -> float:
  """What leaves each chip in a training step: gradients along 'data', looked-up rows along 'model'.

  A look-up in a table that is cut along 'model' is taken as one sum over these devices of all rows
  looked up, of which each device has some. How XLA's partitioner does it was not measured.

  Args:
    shape: of the model.
    catalogue: of its items.
    rows: of the batch, on each device.
    chips: all devices.
    parts: of them along 'model'.
    fan_outs: as in `training_flops`.
  """
  of_one = state_bytes(shape, catalogue, parts) / STATE_COPIES / FLOAT
  total = gradient_bytes(of_one, chips // parts)
  if parts > 1 and shape.tables:
    vectors = rows * shape.positions * (2 + sum(fan_outs[1:]))  # read, predicted; children's
    total += gradient_bytes(vectors * shape.width, parts)
  return total
