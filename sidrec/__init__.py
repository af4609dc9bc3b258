"""sidrec: generative recommendation with semantic IDs in JAX/Flax."""

import importlib
from typing import TYPE_CHECKING, Any

from sidrec.catalogue.semantic_ids import SemanticIDManager

if TYPE_CHECKING:
  from sidrec.catalogue.trie.trie import build_trie
  from sidrec.search.recommend import Filters, recommend

# Loaded when first asked for: semantic IDs alone need no JAX.
_LAZY = {
  "Filters": "sidrec.search.recommend",
  "recommend": "sidrec.search.recommend",
  "build_trie": "sidrec.catalogue.trie.trie",
}

__all__ = ["Filters", "SemanticIDManager", "build_trie", "recommend"]


def __getattr__(name: str) -> Any:
  if name not in _LAZY:
    raise AttributeError(f"module 'sidrec' has no attribute {name!r}")
  return getattr(importlib.import_module(_LAZY[name]), name)
