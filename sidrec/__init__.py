"""sidrec: generative recommendation with semantic IDs in JAX/Flax."""

from sidrec.semantic_ids import SemanticIDManager

__all__ = ["SemanticIDManager"]
