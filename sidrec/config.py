"""The settings of a run, with their defaults; experiments in `configs/` change some of them."""

from pathlib import Path

from ml_collections import ConfigDict


def default_config() -> ConfigDict:
  """Every setting there is. A name that is not here is refused, with the nearest one that is."""
  config = ConfigDict()
  config.seed = 0

  config.data = ConfigDict()
  config.data.source = "demo"  # a name in sidrec.data.readers.READERS
  config.data.path = ""  # folder of the raw files; empty for the source's own ways to find them
  config.data.min_interactions = 3  # users with fewer are dropped

  config.features = ConfigDict()
  config.features.content = 0.3  # weights of the blocks of an item's vector; 0 leaves one out
  config.features.cooccurrence = 1.0
  config.features.cooccurrence_dim = 64
  config.features.cooccurrence_window = 5
  config.features.title_buckets = 256

  config.tokenizer = ConfigDict()
  config.tokenizer.name = "rqvae"  # or 'radix'
  config.tokenizer.num_levels = 2  # before the digit that makes colliding IDs unique
  config.tokenizer.codebook_size = 256
  config.tokenizer.rqvae = ConfigDict()
  config.tokenizer.rqvae.hidden = (256, 128)
  config.tokenizer.rqvae.latent_dim = 32
  config.tokenizer.rqvae.commitment = 0.25
  config.tokenizer.rqvae.batch_size = 1024
  config.tokenizer.rqvae.learning_rate = 5e-3
  config.tokenizer.rqvae.weight_decay = 0.0
  config.tokenizer.rqvae.steps = 2000
  config.tokenizer.rqvae.steps_per_call = 50
  config.tokenizer.rqvae.validate_every = 200

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
  config.model.dtype = "float32"  # or 'bfloat16'; softmax and parameters stay float32

  config.train = ConfigDict()
  config.train.batch_size = 16
  config.train.steps = 3000
  config.train.steps_per_call = 10
  config.train.learning_rate = 2e-3
  config.train.warmup_steps = 200
  config.train.weight_decay = 0.05
  config.train.clip_norm = 1.0
  config.train.average_decay = 0.999  # of the moving average of parameters; 0 keeps none
  config.train.validate_every = 300
  config.train.valid_users = 1500  # a random sample, so that validating stays cheap
  config.train.patience = 3  # validations without a better NDCG@10 before stopping; 0 never stops

  config.evaluate = ConfigDict()
  config.evaluate.beams = 50  # prefixes kept at each level; more find more of the true top K
  config.evaluate.results = 20
  config.evaluate.batch_size = 128
  return config


def run_name(config_path: str) -> str:
  """'configs/ml1m.py:tiny' → 'ml1m-tiny', the default folder name below runs/."""
  path, _, variant = config_path.partition(":")
  return Path(path).stem + (f"-{variant}" if variant else "")
