"""The settings of the recommender, `seq2seq.py`."""

import dataclasses

SETTINGS = ("dense", "tiger")
POSITIONS = ("absolute", "relative")


@dataclasses.dataclass(frozen=True)
class Seq2SeqConfig:
  """Shapes and rates of the recommender; hashable, so static under jit."""

  num_items: int
  num_levels: int
  codebook_size: int
  num_nodes: int
  setting: str = "dense"
  history_length: int = 100
  width: int = 64
  heads: int = 2
  head_width: int = 32
  hidden: int = 256
  encoder_layers: int = 2
  decoder_layers: int = 1
  encoder_dropout: float = 0.2
  decoder_dropout: float = 0.0
  item_embedding: bool = True
  node_bias: bool = True
  node_vectors: bool = True
  item_head: bool = False
  item_negatives: int = 0
  positions: str = "absolute"
  user_tokens: int = 0
  constrained_softmax: bool = True
  dtype: str = "float32"
  remat: bool = False

  @property
  def input_length(self) -> int:
    """Columns of a batch of histories: S, and one for the user's token if there are any."""
    return self.history_length + bool(self.user_tokens)

  def __post_init__(self):
    if self.setting not in SETTINGS:
      raise ValueError(f"model.setting must be one of {SETTINGS}, not {self.setting!r}")
    if self.item_head and not (self.setting == "dense" and self.item_embedding):
      raise ValueError("model.item_head needs model.setting 'dense' and model.item_embedding")
    if self.positions not in POSITIONS:
      raise ValueError(f"model.positions must be one of {POSITIONS}, not {self.positions!r}")
    if self.user_tokens and self.setting != "tiger":
      raise ValueError("model.user_tokens needs model.setting 'tiger'; set it to 0")
    if not self.constrained_softmax and (self.node_bias or self.node_vectors):
      raise ValueError(
        "model.constrained_softmax=False scores codes that lead to no trie node; "
        "set model.node_bias and model.node_vectors to False"
      )
