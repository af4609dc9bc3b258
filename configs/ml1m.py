"""MovieLens-1M."""

from ml_collections import ConfigDict

from sidrec.config import default_config


def get_config(variant: str = "") -> ConfigDict:
  config = default_config()
  config.data.source = "movielens-1m"
  config.model.history_length = 200
  config.train.steps = 9200  # 30 passes
  config.train.validate_every = 920
  if variant == "tiny":
    config.tokenizer.rqvae.steps = 200
    config.model.history_length = 50
    config.train.steps = 300
    config.train.validate_every = 150
    config.train.valid_users = 500
  elif variant:
    raise ValueError(f"configs/ml1m.py has no variant {variant!r}; there is 'tiny'")
  return config
