"""A fitted tokenizer in a file of semantic IDs: its settings, and its arrays by name.

In JSON:

  {"settings": {"name": "residual_kmeans", "num_levels": 3, …},
   "params": {"centroids_LxVxF": {"dtype": "<f4", "shape": [3, 256, 64], "base64": "…"}, …}}
"""

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sidrec.core.settings import flatten, from_dict, to_dict
from sidrec.tokenizers.settings import TokenizerConfig

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Fitted

DAMAGED = 'the "tokenizer" in the file is damaged; write the file again'


class Packed(NamedTuple):
  """A fitted tokenizer as plain values."""

  settings: dict[str, Any]  # of its `TokenizerConfig`
  arrays: dict[str, np.ndarray]  # its params: 'encoder/layer_0/kernel' → array


def pack_fitted(fitted: "Fitted") -> Packed:
  """A tokenizer that can be written to a file.

  Raises:
    ValueError: if it was not made from settings, or its params are no nested dicts of arrays.
  """
  settings = fitted.tokenizer.settings
  if settings is None:
    raise ValueError(
      f"the tokenizer {fitted.tokenizer.name!r} was not made from settings, so a file cannot hold "
      "it; make it with sidrec.tokenizers.registry.make_tokenizer"
    )
  leaves = flatten(fitted.params, separator="/") if isinstance(fitted.params, Mapping) else {}
  arrays = {name: np.asarray(leaf) for name, leaf in leaves.items()}
  plain = all(array.dtype.kind in "fiub" for array in arrays.values())
  if not plain or not (arrays or isinstance(fitted.params, Mapping | tuple)):
    raise ValueError(
      f"the params of the tokenizer {fitted.tokenizer.name!r} are no nested dicts of arrays, so a "
      "file cannot hold them"
    )
  return Packed(to_dict(settings), arrays)


def unpack_fitted(packed: Packed) -> "Fitted":
  """The tokenizer of a file, which encodes new items; it cannot be fitted again.

  Raises:
    ValueError: if the settings name no tokenizer that is known here.
  """
  # Only files with a tokenizer need JAX.
  from sidrec.tokenizers.base import Fitted
  from sidrec.tokenizers.registry import make_tokenizer

  try:
    settings = from_dict(TokenizerConfig, packed.settings)
    tokenizer = make_tokenizer(settings, _refuse_training)
  except (TypeError, AttributeError):
    raise ValueError(DAMAGED) from None
  return Fitted(tokenizer, _nested(packed.arrays) if packed.arrays else ())


def packed_to_json(packed: Packed) -> dict[str, Any]:
  """Plain dicts, lists and texts."""
  params = {
    name: {
      "dtype": array.dtype.newbyteorder("<").str,
      "shape": list(array.shape),
      "base64": base64.b64encode(_little_endian(array).tobytes()).decode(),
    }
    for name, array in packed.arrays.items()
  }
  return {"settings": packed.settings, "params": params}


def packed_from_json(content: Any) -> Packed:
  """The inverse; ValueError if the content is damaged."""
  try:
    settings, params = content["settings"], content["params"]
    arrays = {name: _array(entry) for name, entry in params.items()}
  except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
    raise ValueError(DAMAGED) from None
  if not isinstance(settings, dict):
    raise ValueError(DAMAGED)
  return Packed(settings, arrays)


def _array(entry: dict[str, Any]) -> np.ndarray:
  dtype = np.dtype(entry["dtype"])
  if dtype.kind not in "fiub":
    raise ValueError("not a plain array")
  content = base64.b64decode(entry["base64"], validate=True)
  return np.frombuffer(content, dtype).reshape(entry["shape"])


def _little_endian(array: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))


def _nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
  tree: dict[str, Any] = {}
  for name, array in arrays.items():
    *folders, last = name.split("/")
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
    node[last] = array
  return tree


def _refuse_training(*_: Any) -> Any:
  raise ValueError("a tokenizer from a file encodes items; fit a new one from its settings")
