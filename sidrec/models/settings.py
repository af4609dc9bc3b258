"""The settings of the recommender, and what the catalogue adds to them."""

import dataclasses
from typing import Any

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.plugged import Register
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig

SETTINGS = ("dense", "tiger")
POSITIONS = ("absolute", "relative")

# Models that plugins register, see `own_models.register_model`.
MODELS = Register(
  "model", "model.plugins", None, ("config", "sizes"), lambda name: name in SETTINGS
)


@dataclasses.dataclass(frozen=True)
class RecommenderConfig:
  """What a user may set; hashable, so static under jit."""

  setting: str = "dense"  # or 'tiger', or a plugin's
  history_length: int = 100
  width: int = 64
  heads: int = 2
  head_width: int = 32
  hidden: int = 256
  encoder_layers: int = 2
  decoder_layers: int = 1
  encoder_dropout: float = 0.2
  decoder_dropout: float = 0.0
  item_embedding: bool = True  # a row of numbers for each item
  node_bias: bool = True
  node_vectors: bool = True
  # Numbers of each row of these two tables; all rows share a matrix that makes vectors of narrow
  # ones. 0 for the width.
  item_width: int = 0
  node_width: int = 0
  item_head: bool = False  # the encoder predicts items too; dense setting only
  item_negatives: int = 0  # sampled items of its softmax in training; 0 for all items
  positions: str = "absolute"  # or 'relative': T5's attention bias instead
  user_tokens: int = 0  # buckets that users are hashed into; 0 for none; tiger setting only
  constrained_softmax: bool = True  # over real continuations; False: over all codes
  dtype: str = "float32"  # or 'bfloat16'; softmax and parameters stay float32
  repeats: bool = False  # a learnt share of p is for items of the history; dense setting only
  # Items that most often followed each item, which a search takes as evidence; dense setting only.
  followers: int = 0
  # Whether a search takes the similarity of items' vectors as evidence, too; dense setting only.
  similarity: bool = False
  similarity_bytes: int = 0  # that it keeps of each item's vector; 0 for one for each number
  # The probability that a batch hides all but the semantic ID of an item, so that new ones do well.
  unseen: float = 0.0
  remat: bool = False  # blocks are computed again in the backward pass, to save memory
  inputs: InputsConfig = ITEMS_ALONE  # what is read beside items
  # Of registered models: name → its own settings.
  plugins: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)

  @property
  def input_length(self) -> int:
    """Columns of a batch of histories: S, and one for the user's token if there are any."""
    return self.history_length + bool(self.user_tokens)

  @property
  def known_length(self) -> int:
    """The latest events that a model knows: those that it reads, and what it met earlier."""
    return self.history_length + self.inputs.earlier

  @property
  def has_evidence(self) -> bool:
    """Whether a search reads the latest items beside what the model makes of a history."""
    return self.followers > 0 or self.similarity

  def __post_init__(self):
    known = (*SETTINGS, *MODELS.known)
    if self.setting not in known:
      raise ValueError(
        f"model.setting must be one of {known}, not {self.setting!r}; if it is a plugin's, load it "
        "with --plugin=FILE"
      )
    if self.item_head and self.setting != "dense":
      raise ValueError("model.item_head needs model.setting 'dense'; set it to False")
    for name in ("item_width", "node_width"):
      if not 0 <= getattr(self, name) < self.width:
        raise ValueError(
          f"model.{name} is {getattr(self, name)}; give less than model.width, {self.width}, or 0 "
          "for all of it"
        )
    if self.positions not in POSITIONS:
      raise ValueError(f"model.positions must be one of {POSITIONS}, not {self.positions!r}")
    if self.user_tokens and self.setting != "tiger":
      raise ValueError("model.user_tokens needs model.setting 'tiger'; set it to 0")
    if self.inputs.time_bias and self.setting != "dense":
      raise ValueError("model.inputs.time_bias needs model.setting 'dense'; set it to False")
    if self.inputs.user_attributes and self.setting not in SETTINGS:
      raise ValueError(
        f"model.inputs.user_attributes needs model.setting {' or '.join(map(repr, SETTINGS))}: the "
        f"model {self.setting!r} is a plugin's; set it to ()"
      )
    if self.repeats and self.setting != "dense":
      raise ValueError("model.repeats needs model.setting 'dense'; set it to False")
    if self.followers and self.setting != "dense":
      raise ValueError("model.followers needs model.setting 'dense'; set it to 0")
    if self.similarity and self.setting != "dense":
      raise ValueError("model.similarity needs model.setting 'dense'; set it to False")
    if self.similarity_bytes and not self.similarity:
      raise ValueError("model.similarity_bytes needs model.similarity; set it to 0")
    if self.similarity_bytes < 0:
      raise ValueError(f"model.similarity_bytes is {self.similarity_bytes}; give 0 or more")
    if self.followers < 0:
      raise ValueError(f"model.followers is {self.followers}; give 0 or more items")
    if not 0 <= self.unseen < 1:
      raise ValueError(f"model.unseen is {self.unseen}; give a share of items from 0, below 1")
    tables = self.node_bias or self.node_vectors or self.item_embedding
    if self.unseen and not (tables and self.setting in SETTINGS):
      raise ValueError(
        "model.unseen hides rows of tables by item and by trie node, and this model has none; set "
        "it to 0"
      )
    if self.inputs.earlier and not self.repeats:
      raise ValueError("model.inputs.earlier needs model.repeats; set it to 0")
    if self.repeats and not self.constrained_softmax:
      raise ValueError("model.repeats needs model.constrained_softmax; set one of them")
    if not self.constrained_softmax and (self.node_bias or self.node_vectors):
      raise ValueError(
        "model.constrained_softmax=False scores codes that lead to no trie node; "
        "set model.node_bias and model.node_vectors to False"
      )


@dataclasses.dataclass(frozen=True)
class CatalogueSizes:
  """The sizes of the tables that depend on the catalogue; hashable, so static under jit."""

  num_items: int  # N
  num_levels: int  # L
  codebook_size: int  # V
  num_nodes: int  # ids of trie nodes; any number where the model has no table of them
  origin: tuple[int, int] | None = None  # `Trie.origin`; None is not compared

  @classmethod
  def of(cls, trie: Trie, codebook_size: int) -> "CatalogueSizes":
    """The sizes of a catalogue with this trie."""
    return cls(trie.num_items, trie.num_levels, codebook_size, trie.num_nodes, trie.origin)
