"""Amazon Beauty (2014, 5-core): a dense recommender on RQ-VAE semantic IDs of item texts."""

from ml_collections import ConfigDict

from sidrec.config import default_config


def get_config(variant: str = "") -> ConfigDict:
  config = default_config()
  config.data.source = "amazon-beauty"
  config.features.content.weight = 0.0
  config.features.text.weight = 1.0
  config.features.text.template = "{title}. {text} Categories: {categories}."
  config.tokenizer.num_levels = 3
  config.model.history_length = 20
  config.model.encoder_dropout = 0.4
  config.train.batch_size = 64
  config.train.validate_every = 300
  config.train.valid_users = 4000
  if variant == "tiny":
    config.tokenizer.rqvae.steps = 200
    config.train.steps = 200
    config.train.validate_every = 100
    config.train.valid_users = 500
  elif variant:
    raise ValueError(f"configs/beauty.py has no variant {variant!r}; there is 'tiny'")
  return config
