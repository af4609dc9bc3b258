"""Which registered baselines and metrics an evaluation has, and what is measured after it."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class SearchCostConfig:
  """How recall and speed depend on the number of beams: what is measured, on validation users."""

  enabled: bool = True  # whether --mode=evaluate and all measure it; --mode=search_cost always does
  beams: tuple[int, ...] = (10, 20, 50, 100)  # of each search; search.beams is added
  users: int = 500  # drawn evenly; 0 for all
  passes: int = 5  # over these users, that are timed; the median counts
  # The exact ranking scores every item for so many users that this many scores are needed; fewer
  # than ten users, and it is left out.
  exact_scores: int = 250_000

  def __post_init__(self) -> None:
    """Raises ValueError for a number that makes no sense."""
    if any(count < 1 for count in self.beams):
      raise ValueError(f"evaluation.search_cost.beams are {self.beams}; give numbers above 0")
    if self.users < 0 or self.exact_scores < 0 or self.passes < 1:
      raise ValueError(
        f"evaluation.search_cost has users {self.users}, exact_scores {self.exact_scores} and "
        f"passes {self.passes}; give 0 or more, and at least 1 pass"
      )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """The settings of `config.evaluation`; a plugin's entry has `enabled` and its own settings."""

  baselines: dict[str, Any] = dataclasses.field(default_factory=dict)
  metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
  search_cost: SearchCostConfig = SearchCostConfig()
