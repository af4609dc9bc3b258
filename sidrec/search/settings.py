"""How items are searched: one set of settings for evaluation, commands, library and benchmarks."""

import dataclasses
from typing import Any

from sidrec.core.settings import to_dict

# Settings that came later: with these values, lists from before stay as they are.
_LATER = {
  "follower_weight": 1.0,
  "follower_candidates": 0,
  "similarity_weight": 0.1,
  "weights": "given",
}
WEIGHTS = ("given", "fitted")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
  """The settings of `config.search`; hashable, so static under jit.

  A run holds them: what was evaluated is what is recommended.
  """

  beams: int = 50  # prefixes kept at each level; more find more of the true top K
  results: int = 20  # of each list, that are evaluated and written
  item_weight: float = 1.0  # of the item head's log p next to that of IDs, where the model has one
  follower_weight: float = 1.0  # of what followed in other histories, where the model has followers
  # Of the similarity to the latest items, where the model has it.
  similarity_weight: float = 0.1
  # Whether these weights count, or those that a run fitted on validation; see `evidence_fit`.
  weights: str = "given"
  # Items that followed most, which are ranked beside those that the beams found; with followers.
  follower_candidates: int = 0
  batch_size: int = 0  # users at once; 0 for 16 a CPU device, 128 another device
  # That logits are divided by; scores are log p at that temperature. Under a jit of the caller's it
  # may be a float32 [B, 1, 1] of its own for each request.
  temperature: float = 1.0
  level_weights: tuple[float, ...] = ()  # of each level's log p in scores; empty for 1 each
  most_per_prefix: int = (
    0  # results that share their first `prefix_levels` tokens; 0 for any number
  )
  prefix_levels: int = 1
  # Whether each list says if its first k results are the best k under the model; see `certificate`.
  certify: bool = False

  def __post_init__(self):
    if self.beams < 1 or self.results < 1:
      raise ValueError(
        f"search.beams {self.beams} and search.results {self.results} must be at least 1"
      )
    if self.weights not in WEIGHTS:
      raise ValueError(f"search.weights must be one of {WEIGHTS}, not {self.weights!r}")
    if self.item_weight < 0:
      raise ValueError(f"search.item_weight is {self.item_weight}; give 0 or more")
    if self.follower_weight < 0:
      raise ValueError(f"search.follower_weight is {self.follower_weight}; give 0 or more")
    if self.similarity_weight < 0:
      raise ValueError(f"search.similarity_weight is {self.similarity_weight}; give 0 or more")
    if self.follower_candidates < 0:
      raise ValueError(f"search.follower_candidates is {self.follower_candidates}; give 0 or more")
    if isinstance(self.temperature, (int, float)) and not self.temperature > 0:
      raise ValueError(f"search.temperature is {self.temperature}; give a number above 0")
    if self.certify and self.most_per_prefix:
      raise ValueError(
        "search.most_per_prefix leaves out items for being alike, and search.certify compares with "
        "all that was left out; set one of them"
      )
    if self.certify and any(not weight >= 0 for weight in self.level_weights):
      raise ValueError(
        f"search.level_weights {self.level_weights} let scores grow from level to level, and "
        "search.certify needs that they do not; give weights of 0 or more"
      )

  @property
  def gives_probabilities(self) -> bool:
    """Whether scores are log p(item | history), and not a weighted sum that only ranks."""
    return all(weight == 1 for weight in self.level_weights)

  @property
  def uncertified(self) -> "SearchConfig":
    """The same search, the same lists, without their certificates."""
    return dataclasses.replace(self, certify=False) if self.certify else self

  @property
  def is_fitted(self) -> bool:
    """Whether the weights that count are among the parameters."""
    return self.weights == "fitted"

  @property
  def by_model_alone(self) -> "SearchConfig":
    """The search that ranks by what is trained, without what is counted or fitted."""
    alone = dataclasses.replace(self, follower_weight=0.0, similarity_weight=0.0)
    return dataclasses.replace(alone, weights="given")

  def what_ranks(self) -> dict[str, Any]:
    """The settings that lists depend on, as JSON holds them."""
    values = to_dict(self)
    del values["certify"]
    for name, default in _LATER.items():
      if values[name] == default:
        del values[name]
    return values

  def check_levels(self, num_levels: int) -> None:
    """Raises ValueError for what does not fit semantic IDs of so many levels."""
    if self.level_weights and len(self.level_weights) != num_levels:
      raise ValueError(
        f"give {num_levels} search.level_weights, one per level, not {self.level_weights}"
      )
    if self.most_per_prefix < 0 or not 1 <= self.prefix_levels <= num_levels:
      raise ValueError(
        f"search.most_per_prefix {self.most_per_prefix} of prefix_levels {self.prefix_levels} "
        f"makes no sense; give at least 0, and 1 to {num_levels}"
      )
