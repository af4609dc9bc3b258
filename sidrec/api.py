"""What `import sidrec` offers beyond semantic IDs: train, load, recommend, register."""

from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import Trie, build_trie
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.dataset import Dataset
from sidrec.data.events import Events
from sidrec.data.sources.registry import register_source
from sidrec.estimators.category_rule import CategoryRule
from sidrec.estimators.estimators import (
  LSH,
  RQVAE,
  HierarchicalKMeans,
  ProductQuantization,
  ResidualKMeans,
)
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.run.config_file import load_config
from sidrec.run.load import trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.stages import run_to
from sidrec.run.train import TRAIN
from sidrec.search.filters import NO_FILTERS, Filters, padded_lists
from sidrec.search.recommend import recommend
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig
from sidrec.search.states import Beams, beam_search, encode
from sidrec.tokenizers.registry import register_tokenizer

__all__ = [
  "LSH",
  "RQVAE",
  "Beams",
  "CategoryRule",
  "Events",
  "Filters",
  "HierarchicalKMeans",
  "ProductQuantization",
  "ResidualKMeans",
  "SearchConfig",
  "TrainedRun",
  "beam_search",
  "build_trie",
  "encode",
  "fit",
  "load",
  "padded_lists",
  "recommend",
  "register_source",
  "register_tokenizer",
]


class TrainedRun(NamedTuple):
  """A finished run: its settings, its data, its model and the catalogue to search."""

  config: RunConfig
  dataset: Dataset
  ids: SemanticIDManager  # item row ↔ semantic ID
  model: SemanticIDModel
  params: dict
  trie: Trie

  @property
  def search(self) -> SearchConfig:
    """How the run searches: what was evaluated."""
    return self.config.search

  def recommend(
    self,
    history_BxS: Any,
    k: int = 10,
    filters: Filters = NO_FILTERS,
    key: jax.Array | None = None,
  ) -> Recommendations:
    """The K best items for each history, as the run was evaluated.

    Args:
      history_BxS: int32 item rows, oldest first, -1 after the newest; or lists of item rows; or
        `sidrec.Events.of(…)`, which a model that reads times or ratings needs.
      k: K, at most the run's number of beams.
      filters: what each request may get.
      key: for a random draw of items instead of the best; see `search.beam.search`.

    Returns:
      (item_BxK int32 rows, -1 where there are fewer; score_BxK float32, best first; valid_BxK).

    Raises:
      TypeError, ValueError: as `sidrec.recommend` does.
    """
    return recommend(
      self.params,
      self.trie,
      history_BxS,
      k,
      filters,
      model=self.model,
      search=self.search,
      key=key,
    )

  def encode(self, history_BxS: Any) -> EncoderOutput:
    """The encoder's output for histories, which `beam_search` starts from."""
    return encode(self.params, self.trie, history_BxS, model=self.model)

  def beam_search(
    self,
    encoder_output: EncoderOutput,
    beam_size: int,
    max_length: int | None = None,
    filters: Filters = NO_FILTERS,
  ) -> Beams:
    """The most probable IDs from encoder states, or their first tokens: codes, log probabilities.

    Arguments, results and errors are those of `sidrec.beam_search`, with the run's settings.
    """
    return beam_search(
      encoder_output,
      beam_size,
      max_length,
      params=self.params,
      trie=self.trie,
      model=self.model,
      filters=filters,
      search=self.search,
    )


def load(workdir: PathLike) -> TrainedRun:
  """Loads a finished run from its folder: the newest recommender and all it was built on, checked.

  Raises:
    FileNotFoundError: if there is no run, or it is not trained yet.
    ValueError: if its parts do not belong together.
  """
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  return TrainedRun(config, load_prepared(chain), *trained_of(config, chain))


def fit(config: RunConfig | ConfigDict, workdir: PathLike) -> TrainedRun:
  """Trains a recommender, or continues where a run was stopped, and loads it.

  Args:
    config: the settings, such as `configs/demo.py` returns.
    workdir: takes all files of the run.

  Raises:
    ValueError, FileNotFoundError: as `run.stage.run` does.
  """
  config = run_config(config)
  chain = run_to("train", config, workdir)
  return TrainedRun(config, load_prepared(chain), *trained_of(config, chain))
