"""The settings of a run as the command line takes them; `configs/` changes some of them.

Each default stands in the dataclass of its room; `run/settings.py` collects them.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from sidrec.core.settings import to_dict
from sidrec.data.sources.own_readers import OWN as READERS
from sidrec.evaluation.own_baselines import BASELINES
from sidrec.evaluation.own_metrics import METRICS
from sidrec.features.own_blocks import BLOCKS
from sidrec.models.settings import MODELS
from sidrec.run.settings import RunConfig
from sidrec.tokenizers.registry import SETTINGS as TOKENIZER_SETTINGS


def default_config() -> ConfigDict:
  """Every setting there is. A name that is not here is refused, with the nearest one that is."""
  return with_plugins(to_dict(RunConfig()))


def with_plugins(settings: dict[str, Any]) -> ConfigDict:
  """The settings of a run, with the defaults of what is registered where they say nothing of it."""
  config = ConfigDict(settings)
  tokenizers = {name: to_dict(own) for name, own in TOKENIZER_SETTINGS.items()}
  for section, defaults in (
    (config.data.plugins, READERS.defaults()),
    (config.tokenizer.plugins, tokenizers),
    (config.features.plugins, BLOCKS.defaults()),
    (config.model.plugins, MODELS.defaults()),
    (config.evaluation.baselines, BASELINES.defaults()),
    (config.evaluation.metrics, METRICS.defaults()),
  ):
    for name, own in defaults.items():
      section[name] = own | section.get(name, ConfigDict()).to_dict()
  return config


def custom_config() -> ConfigDict:
  """The settings of configs/custom.py: for anybody's own log."""
  config = default_config()
  config.data.source = "table"
  config.tokenizer.name = "residual_kmeans"
  config.model.history_length = 50
  config.model.encoder_dropout = 0.4
  config.model.followers = 64
  config.model.similarity = True
  config.search.follower_candidates = 32
  config.search.weights = "fitted"
  config.train.batch_size = 32
  config.train.steps = 1500
  config.train.validate_every = 100
  return config


def amazon_config(source: str, variant: str) -> ConfigDict:
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
  config.model.repeats = True
  config.model.followers = 64
  config.model.similarity = True
  config.search.follower_candidates = 32
  config.search.weights = "fitted"
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
  # SASRec's recipe, with a causal filter in place of the paper's; see docs/results.md.
  config.bsarec.model.heads = 2
  config.bsarec.model.negatives = 1024
  config.bsarec.model.counted_from = "oldest"
  config.bsarec.model.filter.ahead = False
  config.bsarec.train.predicts = "every"
  config.bsarec.train.batch_size = 64
  config.bsarec.train.learning_rate = 3e-3
  config.bsarec.train.weight_decay = 0.05
  config.bsarec.train.valid_users = 4000
  return config


def shrink_amazon(config: ConfigDict) -> None:
  """The variant 'tiny' of `amazon_config`, after its steps are set."""
  config.tokenizer.rqvae.steps = 200
  config.train.steps = 200
  config.train.validate_every = 100
  config.train.valid_users = 500
  config.evaluation.search_cost.enabled = False


def run_name(config_path: str) -> str:
  """'configs/ml1m.py:tiny' → 'ml1m-tiny', the default folder name below runs/."""
  path, _, variant = config_path.partition(":")
  return Path(path).stem + (f"-{variant}" if variant else "")


def check_variant(config_path: str, variant: str, *others: str) -> None:
  """Raises ValueError for what follows the colon of --config=FILE:VARIANT.

  There may be nothing, 'tiny', or one of `others`.
  """
  if variant not in ("", "tiny", *others):
    name, known = f"configs/{Path(config_path).name}", " and ".join(map(repr, ("tiny", *others)))
    raise ValueError(f"{name} has no variant {variant!r}; there is {known}")
