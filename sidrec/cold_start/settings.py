"""The settings of new items in a trained recommender."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ColdStartConfig:
  """The settings of `config.cold_start`: mode 'cold_start', which measures new items."""

  fraction: float = 0.05  # of the items, drawn evenly and held out
  seed: int = 0  # of the draw
  # Shares of new items that are tried on validation.
  shares: tuple[float, ...] = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
  largest_loss: float = 0.025  # of the known items' recall@10 on validation, relative
  held_out: bool = False  # leaves these items out of this run; the mode sets it
