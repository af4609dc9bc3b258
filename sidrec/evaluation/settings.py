"""Which registered baselines and metrics an evaluation has; sidrec's own are always there."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """The settings of `config.evaluation`; a plugin's entry has `enabled` and its own settings."""

  baselines: dict[str, Any] = dataclasses.field(default_factory=dict)
  metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
