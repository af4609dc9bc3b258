"""The blocks of an item's vector; each counts by its weight, and a weight of 0 leaves it out."""

import dataclasses
from typing import Any

from sidrec.data.inputs import ITEMS_ALONE, InputsConfig

SCALINGS = ("standard", "quantile")


def _check_least(settings: object, block: str, least: int, *names: str) -> None:
  for name in names:
    value = getattr(settings, name)
    if value < least:
      raise ValueError(f"features.{block}.{name} must be {least} or more, not {value}")


@dataclasses.dataclass(frozen=True)
class ContentConfig:
  """What the catalogue says about an item: no behaviour needed."""

  weight: float = 0.3
  title_buckets: int = 256  # columns that the words of titles are hashed into; 0 for no titles
  max_categories: int = 512  # the most frequent ones have a column each
  tag_buckets: int = 0  # columns that all other categories share; 0 leaves those out
  text_buckets: int = 0  # columns that the words of the free text share; 0 for no free text
  # Of numbers: 'standard' subtracts the mean and divides by the standard deviation; 'quantile'
  # takes the standard normal quantile of a value's rank, which tames outliers and skew.
  scaling: str = "standard"
  statistics: bool = False  # whether mean rating and popularity in training are numbers, too

  def __post_init__(self):
    """Raises ValueError for a negative width or an unknown scaling."""
    _check_least(
      self, "content", 0, "title_buckets", "max_categories", "tag_buckets", "text_buckets"
    )
    if self.scaling not in SCALINGS:
      raise ValueError(
        f"features.content.scaling must be one of {list(SCALINGS)}, not {self.scaling!r}"
      )


@dataclasses.dataclass(frozen=True)
class CooccurrenceConfig:
  """Which items are consumed near each other."""

  weight: float = 1.0
  dim: int = 64
  window: int = 5  # largest distance at which two interactions of a user count

  def __post_init__(self):
    """Raises ValueError for a setting out of range."""
    _check_least(self, "cooccurrence", 1, "dim", "window")


@dataclasses.dataclass(frozen=True)
class Item2vecConfig:
  """The same, by skip-gram; the work is `steps` × `batch_size` pairs, whatever the data."""

  weight: float = 0.0
  dim: int = 64
  window: int = 5  # largest distance of an item and its context, in interactions
  steps: int = 3000
  batch_size: int = 4096  # pairs drawn for a step; those of two users do not count
  negatives: int = 2  # weight of the negatives of a pair, as if so many were drawn for it
  shared_negatives: int = 64  # drawn once for a step and shared by its pairs
  exponent: float = 0.75  # negatives are drawn by popularity to this power
  subsample: float = 0.0  # share of all interactions above which items are thinned out; 0 for none
  learning_rate: float = 0.02  # of Adam, falling to 0 linearly

  def __post_init__(self):
    """Raises ValueError for a setting out of range."""
    counts = ("dim", "window", "steps", "batch_size", "negatives", "shared_negatives")
    _check_least(self, "item2vec", 1, *counts)
    for name in ("exponent", "subsample"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"features.item2vec.{name} must lie in [0, 1], not {getattr(self, name)}")
    if not self.learning_rate > 0:
      raise ValueError(f"features.item2vec.learning_rate must be above 0, not {self.learning_rate}")


@dataclasses.dataclass(frozen=True)
class SASRecBlockConfig:
  """The item embeddings of a small SASRec."""

  weight: float = 0.0
  history_length: int = 50
  width: int = 64
  dropout: float = 0.2
  steps: int = 3000
  inputs: InputsConfig = ITEMS_ALONE  # what it reads beside items


@dataclasses.dataclass(frozen=True)
class VectorFileConfig:
  """Vectors from a ready file."""

  weight: float = 0.0
  path: str = ""  # a file of ids and vectors
  id: str = "item_id"  # what the file calls its ids
  vector: str = "embedding"  # and its vectors
  missing: str = "mean"  # or 'zero' or 'error': for items that the file lacks


@dataclasses.dataclass(frozen=True)
class TextConfig(VectorFileConfig):
  """Sentence embeddings: of a template, or from a ready file where `path` names one."""

  model: str = "sentence-transformers/all-MiniLM-L6-v2"  # or a local folder
  template: str = "{title}. Categories: {categories}."


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
  """The settings of `config.features`."""

  content: ContentConfig = ContentConfig()
  cooccurrence: CooccurrenceConfig = CooccurrenceConfig()
  item2vec: Item2vecConfig = Item2vecConfig()
  sasrec: SASRecBlockConfig = SASRecBlockConfig()
  text: TextConfig = TextConfig()
  image: VectorFileConfig = VectorFileConfig()
  audio: VectorFileConfig = VectorFileConfig()
  # Of blocks that plugins register: name → its weight and its own settings.
  plugins: dict[str, Any] = dataclasses.field(default_factory=dict)
  whiten: int = 0  # dimensions that PCA keeps and whitens; 0 leaves vectors as they are

  def weights(self) -> dict[str, float]:
    """The blocks with a weight above 0.

    Raises:
      ValueError: if there is none, or a weight is negative.
    """
    others = ("plugins", "whiten")
    names = [field.name for field in dataclasses.fields(self) if field.name not in others]
    weights = {name: float(getattr(self, name).weight) for name in names}
    weights |= {name: float(own.get("weight", 0.0)) for name, own in self.plugins.items()}
    for name, weight in weights.items():
      if not weight >= 0:
        plugin = "plugins." * (name not in names)
        raise ValueError(f"features.{plugin}{name}.weight must be 0 or more, not {weight}")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used:
      raise ValueError(f"all feature weights are 0; give one of {', '.join(names)} a weight")
    return used
