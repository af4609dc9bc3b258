"""A grown catalogue's vectors and semantic IDs, by what was fitted before: nothing is fitted anew.

Every item that was there keeps its vector and its ID, in whichever row it is now.
"""

from typing import NamedTuple

import numpy as np
from etils import epath

from sidrec.catalogue.semantic_ids import BASE_CONVERSIONS, SemanticIDManager
from sidrec.core.atomic import load_array, save_array
from sidrec.core.paths import files_under
from sidrec.data.dataset import Dataset, Items
from sidrec.data.parts import take_items
from sidrec.models.transfer import UNKNOWN
from sidrec.run.fitted_catalogue import (
  FittedCatalogue,
  load_fitted_catalogue,
  save_fitted_catalogue,
)
from sidrec.run.generations import Chain
from sidrec.run.item_vectors import described_blocks, new_item_vectors
from sidrec.run.load import semantic_ids_of
from sidrec.run.settings import RunConfig
from sidrec.run.tokenize_items import (
  Tokenized,
  category_labels,
  meaning_of,
  new_item_inputs,
  write_tokenized,
)
from sidrec.tokenizers.report import quality
from sidrec.tokenizers.report.cluster_metrics import item_labels
from sidrec.training.checkpoint import load_params
from sidrec.update.logs import Growth, named


class NewItems(NamedTuple):
  """Items that came, and how they are described."""

  items: Items
  vectors_MxF: np.ndarray  # float32
  notes: tuple[str, ...]  # on what says nothing of some of them, one sentence each


def write_grown_catalogue(
  config: RunConfig, folder: epath.Path, before: Chain, new: Dataset, growth: Growth
) -> None:
  """Writes what the stage 'tokenize' would, for a catalogue that has grown.

  Args:
    config: the settings of the run.
    folder: takes the files.
    before: the chain of the run, up to 'tokenize' at least.
    new: the grown data set.
    growth: of it.

  Raises:
    ValueError: if new items have no vectors, or no IDs are free for them.
  """
  tokenized, fitted = before["tokenize"], load_fitted_catalogue(config, before)
  came = describe_new_items(config, before, fitted, new, growth)
  for note in came.notes:
    print(f"update: {note}")
  old_NxF = load_array(tokenized.file("vectors.npy"))
  vectors_NxF = np.empty((new.items.num_items, old_NxF.shape[1]), np.float32)
  known_N = growth.old_row_N != UNKNOWN
  vectors_NxF[known_N] = old_NxF[growth.old_row_N[known_N]]
  vectors_NxF[~known_N] = came.vectors_MxF
  ids = grown_ids(config, before, came, growth)
  save_array(folder / "vectors.npy", vectors_NxF)
  for name in ("features", "tokenizer"):
    copy_folder(tokenized.file(name), folder / name)
  save_fitted_catalogue(folder, fitted)
  levels = ids.fitted.tokenizer.num_levels if ids.fitted else ids.id_length
  codes_NxL = ids.codes[:, :levels]
  report = quality.report(
    codes_NxL,
    ids.codebook_size,
    vectors_NxF,
    labels=item_labels(new.items),
    collisions={"new items": len(came.vectors_MxF), "items before": len(old_NxF)},
    notes=(
      "an update encoded new items and fitted nothing; update.json says how well",
      *came.notes,
    ),
  )
  write_tokenized(folder, Tokenized(ids, report, meaning_of(codes_NxL, new)), new.items)


def describe_new_items(
  config: RunConfig, before: Chain, fitted: FittedCatalogue, new: Dataset, growth: Growth
) -> NewItems:
  """The vectors of new items, by the blocks and columns that were fitted.

  Raises:
    ValueError: if no block describes them; names them.
  """
  items, features = take_items(new.items, growth.new_rows), config.features
  width = fitted.vectors_NxF.shape[1]
  if not items.num_items:
    return NewItems(items, np.zeros((0, width), np.float32), ())
  blocks, notes = described_blocks(features, features.weights(), fitted.items, items)
  if not blocks:
    if config.tokenizer.name not in BASE_CONVERSIONS:
      raise ValueError(
        f"{items.num_items:,} new items ({named(items.ids_N)}) cannot be described: all blocks of "
        f"item vectors ({', '.join(features.weights())}) are learnt from behaviour; give content, "
        "text, image or audio a weight and make the run anew with --mode=all"
      )
    mean_F = fitted.vectors_NxF.mean(axis=0, dtype=np.float64).astype(np.float32)
    note = f"no block describes the new items ({named(items.ids_N)}); they get the mean vector"
    return NewItems(items, np.broadcast_to(mean_F, (items.num_items, width)), (note,))
  params = load_params(before["tokenize"].file("features"))
  vectors_MxF = new_item_vectors(features, fitted.items, params, fitted.vectors_NxF, items)
  return NewItems(items, vectors_MxF, (*notes, *_undescribed(blocks, items)))


def grown_ids(
  config: RunConfig, before: Chain, came: NewItems, growth: Growth
) -> SemanticIDManager:
  """The IDs of the grown catalogue's rows: old ones as they were, free ones for new items.

  Raises:
    ValueError: if there is no tokenizer to encode new items by, or no free ID.
  """
  ids = semantic_ids_of(config, before)
  known_N, num_new = growth.old_row_N != UNKNOWN, len(came.vectors_MxF)
  codes_NxL = np.empty((len(known_N), ids.id_length), np.int32)
  codes_NxL[known_N] = ids.get_batch_semantic_ids(growth.old_row_N[known_N])
  if num_new:
    if config.tokenizer.name == "file":
      raise ValueError(
        f"semantic IDs come from a file, which nobody can make new ones by; {num_new:,} items are "
        f"new ({named(came.items.ids_N)}): make a file that has them, and run --mode=all"
      )
    folder = before["tokenize"].file("tokenizer")
    inputs_MxF = new_item_inputs(
      category_labels(config.tokenizer, folder), came.items, came.vectors_MxF
    )
    rows_M = np.arange(ids.num_items, ids.num_items + num_new)
    codes_NxL[~known_N] = ids.add_items(inputs_MxF, rows_M).get_batch_semantic_ids(rows_M)
  return SemanticIDManager.from_codes(
    codes_NxL, ids.codebook_size, generation_method=config.tokenizer.name, fitted=ids.fitted
  )


def _undescribed(blocks: dict[str, np.ndarray], items: Items) -> list[str]:
  """A sentence for each block that knows nothing of some items; files say so themselves."""
  if "content" not in blocks:
    return []
  empty_M = np.flatnonzero(~blocks["content"].any(axis=1))
  if not len(empty_M):
    return []
  return [
    f"content: {len(empty_M):,} of {items.num_items:,} new items ({named(items.ids_N[empty_M])}) "
    "have no title, category, number or text, so their vectors and IDs are those of nothing in "
    "particular"
  ]


def copy_folder(source: epath.Path, goal: epath.Path) -> None:
  """Copies all files below a folder, over what an interrupted copy left."""
  goal.mkdir(parents=True, exist_ok=True)
  for file in files_under(source):
    copied = goal / file.relative_to(source)
    copied.parent.mkdir(parents=True, exist_ok=True)
    file.copy(copied, overwrite=True)
