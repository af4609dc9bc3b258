"""The recommender that the settings name."""

from typing import cast

from sidrec.models.base import SemanticIDModel
from sidrec.models.dense import Dense
from sidrec.models.interface import NextItemModel
from sidrec.models.own_models import chosen_model, make_registered
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.models.tiger import Tiger


def architecture(config: RecommenderConfig) -> type[NextItemModel]:
  """The class of the model: `Dense`, `Tiger` or a plugin's."""
  chosen = chosen_model(config)
  if chosen is not None:
    return cast(type[NextItemModel], chosen.plugged.function)
  return Dense if config.setting == "dense" else Tiger


def make_model(config: RecommenderConfig, sizes: CatalogueSizes) -> SemanticIDModel:
  """The model for a catalogue of these sizes; of a plugin's, a search knows `NextItemModel` only.

  Raises:
    ValueError: for settings that a plugin's model does not have, or that it does not read.
  """
  chosen = chosen_model(config)
  if chosen is not None:
    return make_registered(chosen, config, sizes)
  return cast(SemanticIDModel, architecture(config)(config, sizes))
