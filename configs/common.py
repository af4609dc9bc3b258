"""What several configs share."""

from ml_collections import ConfigDict

from sidrec.config import default_config


def amazon(source: str, variant: str) -> ConfigDict:
  """Amazon reviews of 2014 in sequence form: the settings chosen on Beauty's validation.

  Args:
    source: a name of `config.data.source`.
    variant: '' for the whole experiment, or 'tiny' for the same stages in a few minutes.
  """
  config = default_config()
  config.data.source = source
  config.features.content.weight = 0.0
  config.features.text.weight = 1.0
  config.features.text.template = "{title}. {text} Categories: {categories}."
  config.tokenizer.num_levels = 3
  config.model.history_length = 20
  config.model.width = 128
  config.model.head_width = 64
  config.model.encoder_layers = 1
  config.model.encoder_dropout = 0.5
  config.model.decoder_dropout = 0.3
  config.model.item_head = True
  config.model.item_negatives = 1024
  config.train.batch_size = 64
  config.train.learning_rate = 3e-3
  config.train.valid_users = 4000
  config.sasrec.enabled = not variant
  config.sasrec.model.history_length = 50
  config.sasrec.model.width = 128
  config.sasrec.model.dropout = 0.5
  config.sasrec.model.negatives = 1024
  config.sasrec.train.batch_size = 64
  config.sasrec.train.learning_rate = 3e-3
  config.sasrec.train.valid_users = 4000
  return config


def shrink(config: ConfigDict) -> None:
  """The variant 'tiny' of `amazon`."""
  config.tokenizer.rqvae.steps = 200
  config.train.steps = 200
  config.train.validate_every = 100
  config.train.valid_users = 500
