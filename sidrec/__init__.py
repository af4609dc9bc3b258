"""sidrec: generative recommendation with semantic IDs in JAX/Flax."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from sidrec.catalogue.semantic_ids import SemanticIDManager

if TYPE_CHECKING:
  from sidrec.api import (
    LSH,
    RQVAE,
    Answer,
    Beams,
    CategoryRule,
    Events,
    Explanation,
    Filters,
    HierarchicalKMeans,
    ProductQuantization,
    Recommended,
    ResidualKMeans,
    SearchConfig,
    TrainedRun,
    UpdateRefusedError,
    beam_search,
    build_trie,
    encode,
    fit,
    load,
    padded_lists,
    recommend,
  )
  from sidrec.plugins import (
    NextItemModel,
    Outcome,
    child_log_softmax,
    register_baseline,
    register_features,
    register_metric,
    register_model,
    register_reader,
    register_source,
    register_tokenizer,
  )

__all__ = [
  "LSH",
  "RQVAE",
  "Answer",
  "Beams",
  "CategoryRule",
  "Events",
  "Explanation",
  "Filters",
  "HierarchicalKMeans",
  "NextItemModel",
  "Outcome",
  "ProductQuantization",
  "Recommended",
  "ResidualKMeans",
  "SearchConfig",
  "SemanticIDManager",
  "TrainedRun",
  "UpdateRefusedError",
  "beam_search",
  "build_trie",
  "child_log_softmax",
  "encode",
  "fit",
  "load",
  "padded_lists",
  "recommend",
  "register_baseline",
  "register_features",
  "register_metric",
  "register_model",
  "register_reader",
  "register_source",
  "register_tokenizer",
]

_FOR_PLUGINS = ("NextItemModel", "Outcome", "child_log_softmax")


def __getattr__(name: str) -> Any:
  """Loads the rest of the API when it is first asked for: semantic IDs alone need no JAX."""
  if name == "__version__":
    return importlib.metadata.version("sidrec")
  if name not in __all__:
    raise AttributeError(f"module 'sidrec' has no attribute {name!r}")
  of_plugins = name.startswith("register_") or name in _FOR_PLUGINS
  return getattr(importlib.import_module(f"sidrec.{'plugins' if of_plugins else 'api'}"), name)
