"""The settings of an RQ-VAE.

Letters: L levels, V codes per level, D latent width.
"""

import dataclasses
import difflib

from sidrec.tokenizers.rqvae import quantizer


@dataclasses.dataclass(frozen=True)
class RQVAEConfig:
  """The shape of an RQ-VAE and how it learns.

  Attributes:
    num_levels: L.
    codebook_size: V.
    hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
    latent_dim: D.
    commitment: weight β of the commitment loss, a mean over D (where a paper sums over D, its β
      is D times as heavy). More of it tells more items apart and reconstructs less: latents that
      stay near their codewords shrink to what L codewords resolve.
    kmeans_iterations: at most that many to start each codebook.
    usage_decay: decay per step of the moving averages of the codes' use.
    revive_below: a code is dead once its share of the items falls below this
      part of the uniform share 1 / V; 0 revives none.
    codebook_update: 'ema', codewords are moving averages of what they quantise; or 'gradient',
      they descend the codebook loss.
    estimator: the gradient through the quantisation: 'straight_through' or 'rotation'; see
      `quantizer.py`.
    distance: 'euclidean', or 'cosine' to compare by direction; see `quantizer.distances`.
    sinkhorn_levels: 'none', 'last' or 'all': where training assigns the items of a batch evenly,
      see `sinkhorn.py`. `encode` gives the nearest codes at every level, always: a balanced
      assignment depends on which other items are encoded, so that an item would change its ID
      with its company.
    sinkhorn_epsilon: less balances more sharply.
    sinkhorn_iterations: of the balanced assignment; each goes through V·B distances twice.
  """

  num_levels: int = 3
  codebook_size: int = 256
  hidden: tuple[int, ...] = (256, 128)
  latent_dim: int = 32
  commitment: float = 2.0
  kmeans_iterations: int = 30
  usage_decay: float = 0.97
  revive_below: float = 0.05
  codebook_update: str = "ema"
  estimator: str = "straight_through"
  distance: str = "euclidean"
  sinkhorn_levels: str = "none"
  sinkhorn_epsilon: float = 0.003
  sinkhorn_iterations: int = 50

  def __post_init__(self):
    """Raises ValueError for a setting that makes no sense."""
    object.__setattr__(self, "hidden", tuple(self.hidden))  # a list would not hash
    for name in ("num_levels", "codebook_size", "latent_dim", "sinkhorn_iterations"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
    if any(width < 1 for width in self.hidden):
      raise ValueError(f"hidden widths must be at least 1, not {self.hidden}")
    if self.commitment < 0:
      raise ValueError(f"commitment must not be negative, but is {self.commitment}")
    if not self.sinkhorn_epsilon > 0:
      raise ValueError(f"sinkhorn_epsilon must be above 0, not {self.sinkhorn_epsilon}")
    for name in ("usage_decay", "revive_below"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
    for name, choices in (
      ("codebook_update", ("ema", "gradient")),
      ("estimator", tuple(quantizer.ESTIMATORS)),
      ("distance", quantizer.DISTANCES),
      ("sinkhorn_levels", ("none", "last", "all")),
    ):
      if getattr(self, name) not in choices:
        close = difflib.get_close_matches(str(getattr(self, name)), choices, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
          f"unknown {name} {getattr(self, name)!r}; {hint}choose from {', '.join(choices)}"
        )
