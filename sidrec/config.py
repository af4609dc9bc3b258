"""The settings of a run, with their defaults; experiments in `configs/` change some of them."""

from pathlib import Path

from ml_collections import ConfigDict

from sidrec.core.settings import to_dict
from sidrec.data.settings import default_data
from sidrec.features.settings import FeaturesConfig
from sidrec.tokenizers.settings import TokenizerConfig
from sidrec.trainers.settings import RecommenderTrainConfig, SASRecTrainConfig


def default_config() -> ConfigDict:
  """Every setting there is. A name that is not here is refused, with the nearest one that is."""
  config = ConfigDict()
  config.seed = 0

  # How a run is computed, which changes no result but for rounding: no stage is done again for it.
  config.mesh = ConfigDict()
  config.mesh.model = 1  # devices that large parameters are spread over; the others share batches
  config.profile_steps = 0  # steps of the recommender's training to trace into <workdir>/profile

  config.data = default_data()

  config.features = ConfigDict(to_dict(FeaturesConfig()))

  config.tokenizer = ConfigDict(to_dict(TokenizerConfig()))

  config.model = ConfigDict()
  config.model.setting = "dense"  # or 'tiger'
  config.model.history_length = 100
  config.model.width = 64
  config.model.heads = 2
  config.model.head_width = 32
  config.model.hidden = 256
  config.model.encoder_layers = 2
  config.model.decoder_layers = 1
  config.model.encoder_dropout = 0.2
  config.model.decoder_dropout = 0.0
  config.model.item_embedding = True
  config.model.node_bias = True
  config.model.node_vectors = True
  config.model.item_head = False  # the encoder predicts items too; dense setting only
  config.model.item_negatives = 0  # sampled items of its softmax in training; 0 for all items
  config.model.positions = "absolute"  # or 'relative': T5's attention bias instead
  config.model.user_tokens = 0  # buckets that users are hashed into; 0 for none; tiger setting only
  config.model.constrained_softmax = True  # over real continuations; False: over all codes
  config.model.dtype = "float32"  # or 'bfloat16'; softmax and parameters stay float32
  config.model.remat = False  # blocks are computed again in the backward pass, to save memory

  config.train = ConfigDict(to_dict(RecommenderTrainConfig()))

  config.sasrec = ConfigDict()  # what the recommender is compared with; not an item vector
  config.sasrec.enabled = False  # whether evaluations train it and show it
  config.sasrec.model = ConfigDict()
  config.sasrec.model.history_length = 200
  config.sasrec.model.width = 64
  config.sasrec.model.heads = 2
  config.sasrec.model.layers = 2
  config.sasrec.model.hidden = 256
  config.sasrec.model.dropout = 0.2
  config.sasrec.model.item_bias = False  # each item's popularity
  config.sasrec.model.negatives = 0  # sampled items of the softmax in training; 0 for all items
  config.sasrec.model.dtype = "float32"
  config.sasrec.train = ConfigDict(to_dict(SASRecTrainConfig()))

  config.evaluate = ConfigDict()
  config.evaluate.beams = 50  # prefixes kept at each level; more find more of the true top K
  config.evaluate.results = 20
  config.evaluate.item_weight = 1.0  # of the item head's scores beside the search's, if it is there
  config.evaluate.batch_size = 0  # users at once; 0 for 16 a CPU device, 128 another device

  config.cold_start = ConfigDict()  # mode 'cold_start': new items, measured
  config.cold_start.fraction = 0.05  # of the items, drawn evenly and held out
  config.cold_start.seed = 0  # of the draw
  config.cold_start.shares = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)  # on validation
  config.cold_start.largest_loss = 0.025  # of warm recall@10 there, relative
  config.cold_start.held_out = False  # leaves these items out of this run; the mode sets it
  return config


def run_name(config_path: str) -> str:
  """'configs/ml1m.py:tiny' → 'ml1m-tiny', the default folder name below runs/."""
  path, _, variant = config_path.partition(":")
  return Path(path).stem + (f"-{variant}" if variant else "")


def check_variant(config_path: str, variant: str) -> None:
  """Raises ValueError for what follows the colon of --config=FILE:VARIANT unless it is 'tiny'."""
  if variant not in ("", "tiny"):
    name = f"configs/{Path(config_path).name}"
    raise ValueError(f"{name} has no variant {variant!r}; there is 'tiny'")
