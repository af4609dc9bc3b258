"""Which parameters a measured model has: every table of a benchmark says so."""

from collections.abc import Callable
from typing import Any

from sidrec.catalogue.trie.trie import Trie
from sidrec.models.base import SemanticIDModel
from sidrec.models.memory import counts_by_kind, described, described_kinds, memory_of


def parameter_figures(
  model: SemanticIDModel, params: dict, trie: Trie, say: Callable[[str], None], case: str
) -> dict[str, Any]:
  """How many parameters there are, of which kinds, and the memory of a search; said, too.

  Args:
    model: of the parameters.
    params: arrays, or their shapes.
    trie: the catalogue.
    say: takes the lines.
    case: what was measured; in front of the lines, and behind the figures' names.

  Returns:
    parameters_<case>, parameters_<kind>_<case> for each of `memory.KINDS`, model_bytes_<case>
    (bytes an item of parameters and trie).
  """
  memory = memory_of(params, trie, model.sizes)
  say(f"{case}: {described(memory)}")
  say(f"{case}: {described_kinds(params)}")
  return {
    f"parameters_{case}": memory.parameters,
    **{f"parameters_{kind}_{case}": count for kind, count in counts_by_kind(params).items()},
    f"model_bytes_{case}": memory.served,
  }
