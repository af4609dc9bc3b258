"""The settings of the tokenizers, `config.tokenizer`, with their defaults."""

import dataclasses
from typing import Any, Literal

from sidrec.core.settings import check_choices


@dataclasses.dataclass(frozen=True)
class RQVAESettings:
  """What an RQ-VAE is, how it learns, and how long."""

  hidden: tuple[int, ...] = (256, 128)  # widths of the encoder; the decoder has them in reverse
  latent_dim: int = 32

  # Weight of the commitment loss, a mean over the latent width (where a paper sums over the width,
  # its weight is that many times as heavy). More of it tells more items apart and reconstructs
  # less: latents that stay near their codewords shrink to what L codewords resolve.
  commitment: float = 2.0

  kmeans_iterations: int = 30  # at most that many to start each codebook
  usage_decay: float = 0.97  # per step, of the moving averages of the codes' use

  # A code is dead once its share of the items falls below this part of the uniform share 1 / V; 0
  # revives none.
  revive_below: float = 0.05

  # Codewords are moving averages of what they quantize, or descend the codebook loss.
  codebook_update: Literal["ema", "gradient"] = "ema"

  # The gradient through the quantization, see `rqvae/quantizer.py`.
  estimator: Literal["straight_through", "rotation"] = "straight_through"
  distance: Literal["euclidean", "cosine"] = "euclidean"  # 'cosine' compares by direction

  # Where training assigns the items of a batch evenly, see `rqvae/sinkhorn.py`. Encoding gives the
  # nearest codes at every level, always: a balanced assignment depends on which other items are
  # encoded, so that an item would change its ID with its company.
  sinkhorn_levels: Literal["none", "last", "all"] = "none"
  sinkhorn_epsilon: float = 0.003  # less balances more sharply
  sinkhorn_iterations: int = 50  # each goes through V · B distances twice

  batch_size: int = 1024
  learning_rate: float = 5e-3
  weight_decay: float = 0.0
  steps: int = 2000
  steps_per_call: int = 50
  validate_every: int = 200

  def __post_init__(self):
    """Raises ValueError for a setting that makes no sense."""
    object.__setattr__(self, "hidden", tuple(self.hidden))  # a list would not hash
    for name in ("latent_dim", "sinkhorn_iterations"):
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
    check_choices(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQVAEConfig(RQVAESettings):
  """An RQ-VAE: its settings, and the sizes of its codes."""

  num_levels: int
  codebook_size: int

  def __post_init__(self):
    """Raises ValueError for a setting that makes no sense."""
    super().__post_init__()
    for name in ("num_levels", "codebook_size"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class KMeansSettings:
  """Of every tokenizer that is made of k-means."""

  iterations: int = 50

  # A code takes at most that many times its fair share of the items; 0 for no bound. Without one,
  # k-means on what the first level leaves puts most items into a few clusters. Not of product
  # quantization, whose codes are used evenly without it.
  balance: float = 1.5


@dataclasses.dataclass(frozen=True)
class ProductQuantizationSettings:
  """How product quantization splits the vectors; its k-means takes `kmeans.iterations`."""

  rotation: bool = True  # False: parts are runs of columns as they stand, not principal directions


@dataclasses.dataclass(frozen=True)
class LSHSettings:
  """Where the hyperplanes of hashing lie."""

  centre: bool = True  # False: they go through the origin, not through the mean vector


@dataclasses.dataclass(frozen=True)
class CategorySettings:
  """Of the tokenizer whose first levels are a category path."""

  path: tuple[str, ...] = ("category_1", "decade")
  rest: str = "residual_kmeans"  # the tokenizer of the levels below the path


@dataclasses.dataclass(frozen=True)
class FileSettings:
  """Of semantic IDs that another program made."""

  path: str = ""  # semantic_ids.json of a run, or an index of LC-Rec's form
  offset: int = 0  # the file's number of an item minus its id in the data set


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
  """Everything that semantic IDs depend on, but for the item vectors."""

  # Or residual_kmeans, hierarchical_kmeans, product_quantization, lsh, category, radix, file.
  name: str = "rqvae"
  num_levels: int = 2  # before the digit that makes colliding IDs unique
  codebook_size: int = 256

  # Another digit, or a move to the nearest free ID.
  collisions: Literal["extra_digit", "reassign"] = "extra_digit"
  rqvae: RQVAESettings = RQVAESettings()
  kmeans: KMeansSettings = KMeansSettings()
  product_quantization: ProductQuantizationSettings = ProductQuantizationSettings()
  lsh: LSHSettings = LSHSettings()
  category: CategorySettings = CategorySettings()
  file: FileSettings = FileSettings()
  # Settings of registered tokenizers, by name.
  plugins: dict[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Raises ValueError for a setting that makes no sense."""
    check_choices(self)
