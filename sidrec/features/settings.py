"""The blocks of an item's vector; each counts by its weight, and a weight of 0 leaves it out."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ContentConfig:
  """What the catalogue says: no behaviour needed."""

  weight: float = 0.3
  title_buckets: int = 256
  max_categories: int = 512
  tag_buckets: int = 0  # for categories beyond the most frequent ones
  text_buckets: int = 0  # for words of the free text
  scaling: str = "standard"  # of numbers; or 'quantile'
  statistics: bool = False  # mean rating and popularity in training, too


@dataclasses.dataclass(frozen=True)
class CooccurrenceConfig:
  """Which items are consumed near each other."""

  weight: float = 1.0
  dim: int = 64
  window: int = 5


@dataclasses.dataclass(frozen=True)
class Item2vecBlockConfig:
  """The same, by skip-gram with negative sampling."""

  weight: float = 0.0
  dim: int = 64
  window: int = 5
  steps: int = 3000


@dataclasses.dataclass(frozen=True)
class SASRecBlockConfig:
  """The item embeddings of a small SASRec."""

  weight: float = 0.0
  history_length: int = 50
  width: int = 64
  dropout: float = 0.2
  steps: int = 3000


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
  item2vec: Item2vecBlockConfig = Item2vecBlockConfig()
  sasrec: SASRecBlockConfig = SASRecBlockConfig()
  text: TextConfig = TextConfig()
  image: VectorFileConfig = VectorFileConfig()
  audio: VectorFileConfig = VectorFileConfig()
  whiten: int = 0  # dimensions that PCA keeps and whitens; 0 leaves vectors as they are

  def weights(self) -> dict[str, float]:
    """The blocks with a weight above 0.

    Raises:
      ValueError: if there is none, or a weight is negative.
    """
    names = [field.name for field in dataclasses.fields(self) if field.name != "whiten"]
    weights = {name: float(getattr(self, name).weight) for name in names}
    for name, weight in weights.items():
      if not weight >= 0:
        raise ValueError(f"features.{name}.weight must be 0 or more, not {weight}")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used:
      raise ValueError(f"all feature weights are 0; give one of {', '.join(names)} a weight")
    return used
