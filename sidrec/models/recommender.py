"""The recommender that the settings name."""

from sidrec.models.base import SemanticIDModel
from sidrec.models.dense import Dense
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.models.tiger import Tiger


def make_model(config: RecommenderConfig, sizes: CatalogueSizes) -> SemanticIDModel:
  """`Dense` or `Tiger`, for a catalogue of these sizes."""
  architecture = Dense if config.setting == "dense" else Tiger
  return architecture(config, sizes)
