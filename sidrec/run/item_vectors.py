"""Items → vectors: the blocks that the config weighs, joined into one matrix."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from sidrec.core.paths import as_path
from sidrec.core.source_code import code_hashes
from sidrec.data.dataset import Dataset, Items, training_view
from sidrec.data.events import check_inputs
from sidrec.features.behaviour import behaviour_of_neighbours
from sidrec.features.combine import Params, apply_combine, fit_combine
from sidrec.features.content import content_vectors
from sidrec.features.cooccurrence import cooccurrence_vectors
from sidrec.features.item2vec import item2vec_vectors
from sidrec.features.own_blocks import BLOCKS, chosen_blocks, described, learnt
from sidrec.features.settings import FeaturesConfig
from sidrec.features.statistics import item_statistics
from sidrec.features.text import text_vectors
from sidrec.features.vector_file import file_vectors
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.parallel.mesh import one_device
from sidrec.trainers.sasrec import item_embeddings, train_sasrec
from sidrec.trainers.settings import SASRecTrainConfig

SASREC_FOLDER = "sasrec-vectors"  # of its checkpoints; 'sasrec' is the baseline's


class ItemVectors(NamedTuple):
  """The vectors of a catalogue, and how they were joined."""

  vectors_NxF: np.ndarray  # float32
  params: Params  # of `combine`, for new items
  notes: tuple[str, ...]  # one sentence each


def item_vectors(
  features: FeaturesConfig,
  dataset: Dataset,
  seed: int,
  workdir: epath.Path,
  mesh: Mesh | None = None,
) -> ItemVectors:
  """The vectors of a data set's items; only blocks with a weight above 0 are made.

  Behaviour is read from the training view alone.

  Args:
    features: the settings.
    dataset: what a reader returned.
    seed: of what is learnt.
    workdir: takes the checkpoints and logs of a SASRec.
    mesh: devices that share its training. The vectors then depend on their number, by the order of
      sums. None for one device; each process does the same work then.

  Raises:
    ValueError: for weights that leave nothing, or as the blocks and `combine` do.
  """
  weights = features.weights()
  catalogue = with_statistics(features, dataset)
  blocks, notes = described_blocks(features, weights, catalogue, catalogue)
  for name, make in BEHAVIOUR_BLOCKS.items():
    if name in weights:
      blocks[name] = make(features, dataset, seed, workdir, mesh or one_device())
  for chosen in chosen_blocks(features.plugins, "histories"):
    blocks[chosen.name] = learnt(chosen, training_view(dataset.histories), dataset.items)
  params = fit_combine(blocks, weights, features.whiten)
  return ItemVectors(apply_combine(params, blocks), params, notes)


def _cooccurrence(
  features: FeaturesConfig, dataset: Dataset, seed: int, workdir: epath.Path, mesh: Mesh
) -> np.ndarray:
  del seed, workdir, mesh
  training = training_view(dataset.histories)
  return cooccurrence_vectors(training, dataset.items.num_items, features.cooccurrence)


def _item2vec(
  features: FeaturesConfig, dataset: Dataset, seed: int, workdir: epath.Path, mesh: Mesh
) -> np.ndarray:
  del workdir, mesh
  key, training = jax.random.key(seed), training_view(dataset.histories)
  return item2vec_vectors(key, training, dataset.items.num_items, features.item2vec)


def _sasrec(
  features: FeaturesConfig, dataset: Dataset, seed: int, workdir: epath.Path, mesh: Mesh
) -> np.ndarray:
  c = features.sasrec
  check_inputs(c.inputs, dataset, "config.features.sasrec.inputs")
  model = SASRec(
    SASRecConfig(
      num_items=dataset.items.num_items,
      history_length=c.history_length,
      width=c.width,
      dropout=c.dropout,
      inputs=c.inputs,
    )
  )
  # Validated once, at the end: held-out items choose nothing.
  training = SASRecTrainConfig(steps=c.steps, validate_every=c.steps)
  trained = train_sasrec(
    model, training, dataset.histories, seed, workdir, SASREC_FOLDER, mesh=mesh
  )
  return item_embeddings(trained)


# What behaviour says: block → (settings, data set, seed, work directory, mesh) → vectors_NxF.
BEHAVIOUR_BLOCKS: dict[
  str, Callable[[FeaturesConfig, Dataset, int, epath.Path, Mesh], np.ndarray]
] = {
  "cooccurrence": _cooccurrence,
  "item2vec": _item2vec,
  "sasrec": _sasrec,
}


class Known(NamedTuple):
  """What the vectors of a catalogue's items are made of."""

  described_NxF: np.ndarray
  behaviour_NxF: np.ndarray


def known_parts(
  features: FeaturesConfig, catalogue: Items, params: Params, vectors_NxF: np.ndarray
) -> Known:
  """The part of a catalogue's vectors that describes its items, and that from behaviour."""
  blocks, _ = described_blocks(features, features.weights(), catalogue, catalogue)
  described_NxF = apply_combine(params, blocks)
  # Joining is linear: a vector minus its description is its behaviour.
  return Known(described_NxF, vectors_NxF - described_NxF)


def new_item_vectors(
  features: FeaturesConfig,
  catalogue: Items,
  params: Params,
  vectors_NxF: np.ndarray,
  new_items: Items,
  known: Known | None = None,
) -> np.ndarray:
  """Vectors of items that are not in the catalogue, by what was learnt from the catalogue.

  New items have no behaviour yet; they get that of the items with the most similar descriptions.

  Args:
    features: the settings that the catalogue's vectors were made with.
    catalogue: as it was then, with its statistics; see `with_statistics`.
    params: of its `ItemVectors`.
    vectors_NxF: of its `ItemVectors`.
    new_items: their description; files of vectors must hold them by original id.
    known: what `known_parts` returned for the catalogue, if it was asked already.

  Returns:
    vectors_MxF float32.

  Raises:
    ValueError: as the blocks do, and where all blocks are made from behaviour.
  """
  weights = features.weights()
  blocks, _ = described_blocks(features, weights, catalogue, new_items)
  if not blocks:
    raise ValueError(
      f"new items have no vectors where all blocks ({', '.join(weights)}) are learnt from "
      "behaviour; give content, text, image or audio a weight, and make the semantic IDs again"
    )
  described_MxF = apply_combine(params, blocks)
  if set(blocks) == set(weights):
    return described_MxF
  if known is None:
    known = known_parts(features, catalogue, params, vectors_NxF)
  return described_MxF + behaviour_of_neighbours(described_MxF, *known)


def with_statistics(features: FeaturesConfig, dataset: Dataset) -> Items:
  """The catalogue, with columns of training statistics if the settings want them."""
  items = dataset.items
  if not features.content.statistics:
    return items
  statistics = item_statistics(training_view(dataset.histories), items.num_items)
  known = {name: column for name, column in statistics.items() if np.isfinite(column).any()}
  return items._replace(numeric={**items.numeric, **known})


def described_blocks(
  features: FeaturesConfig, weights: Mapping[str, float], catalogue: Items, items: Items
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """The blocks that need no behaviour, for the catalogue itself or for new items."""
  made = {
    name: make(features, catalogue, items)
    for name, make in DESCRIBED_BLOCKS.items()
    if name in weights
  }
  blocks = {name: vectors for name, (vectors, _) in made.items()}
  for chosen in chosen_blocks(features.plugins, "items"):
    blocks[chosen.name] = described(chosen, catalogue, items)
  return blocks, tuple(f"{name}: {note}" for name, (_, note) in made.items() if note)


def _content(features: FeaturesConfig, catalogue: Items, items: Items) -> tuple[np.ndarray, str]:
  return content_vectors(catalogue, items, features.content), ""


def _text(features: FeaturesConfig, catalogue: Items, items: Items) -> tuple[np.ndarray, str]:
  if features.text.path:
    return _file("text", features, catalogue, items)
  return text_vectors(items, features.text, cache_folder()), ""


def _file(
  name: str, features: FeaturesConfig, catalogue: Items, items: Items
) -> tuple[np.ndarray, str]:
  del catalogue
  config = getattr(features, name)
  if not config.path:
    raise ValueError(f"features.{name}.path is empty; name a file of ids and vectors")
  return file_vectors(items, config)


# What describes items: block → (settings, catalogue, items) → (vectors of the items, a note or '').
DESCRIBED_BLOCKS: dict[str, Callable[[FeaturesConfig, Items, Items], tuple[np.ndarray, str]]] = {
  "content": _content,
  "text": _text,
  "image": functools.partial(_file, "image"),
  "audio": functools.partial(_file, "audio"),
}


def checkpoint_folders(features: FeaturesConfig) -> list[str]:
  """The folders of the work directory that hold the checkpoints of trained blocks."""
  return [SASREC_FOLDER] if features.sasrec.weight > 0 else []


def block_code() -> list[str]:
  """What changes with the code of sidrec's blocks where somebody replaced them."""
  return code_hashes(*BEHAVIOUR_BLOCKS.values(), *DESCRIBED_BLOCKS.values())


def registered_blocks(features: FeaturesConfig) -> dict[str, Any]:
  """The settings and the code of the registered blocks that have a weight; {} without any."""
  chosen = BLOCKS.chosen(features.plugins)
  if not chosen:
    return {}
  return {
    BLOCKS.section: {one.name: one.values for one in chosen},
    f"code of {BLOCKS.section}": BLOCKS.code_of(chosen),
  }


def vector_files(features: FeaturesConfig) -> list[str]:
  """The files that the blocks read."""
  blocks = [features.text, features.image, features.audio]
  named = [block.path for block in blocks if block.weight > 0 and block.path]
  return named + [file for one in BLOCKS.chosen(features.plugins) for file in one.files()]


def cache_folder() -> epath.Path:
  """Where sentence embeddings are kept between runs."""
  return as_path(os.environ.get("SIDREC_CACHE_DIR") or "~/.cache/sidrec")
