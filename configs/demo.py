"""Demo."""

from ml_collections import ConfigDict

from sidrec.config import default_config


def get_config(variant: str = "") -> ConfigDict:
  config = default_config()
  config.data.source = "demo"
  if variant == "tiny":
    config.tokenizer.rqvae.steps = 200
    config.train.steps = 100
    config.train.validate_every = 50
  elif variant:
    raise ValueError(f"configs/demo.py has no variant {variant!r}; there is 'tiny'")
  return config
