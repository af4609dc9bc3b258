"""sidrec: generative recommendation with semantic IDs in JAX/Flax."""

import importlib
from typing import TYPE_CHECKING, Any

from sidrec.semantic_ids import SemanticIDManager

if TYPE_CHECKING:
  from sidrec.decoding.recommend import Filters, recommend
  from sidrec.decoding.trie import build_trie

# Loaded when first asked for: semantic IDs alone need no JAX.
_LAZY = {
  "Filters": "sidrec.decoding.recommend",
  "recommend": "sidrec.decoding.recommend",
  "build_trie": "sidrec.decoding.trie",
}

__all__ = ["Filters", "SemanticIDManager", "build_trie", "recommend"]


def __getattr__(name: str) -> Any:
  if name not in _LAZY:
    raise AttributeError(f"module 'sidrec' has no attribute {name!r}")
  return getattr(importlib.import_module(_LAZY[name]), name)
