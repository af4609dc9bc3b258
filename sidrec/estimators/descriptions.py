"""Vectors of items that are described by dicts, such as {'genre': 'Drama', 'year': 1994}.

E is the width of an embedding.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.data.dataset import Items
from sidrec.data.sources.build import item_table
from sidrec.features.combine import Params, apply_combine, fit_combine
from sidrec.features.content import content_vectors
from sidrec.features.settings import ContentConfig

Description = Mapping[str, Any]

KEYS = ("genre", "year", "rating", "tags", "embedding")
NUMBERS = ("year", "rating")
DEFAULT_BUCKETS = 64  # columns for the words of genres and tags where no width is given


class Describer(NamedTuple):
  """What was learnt from the descriptions of a catalogue."""

  catalogue: Items
  content: ContentConfig
  embedding_E: np.ndarray  # float64, the mean of the known ones, for items without
  joined: Params  # of `combine`
  width: int  # F


def is_description(features: Any) -> bool:
  """Whether this is one item's dict."""
  return isinstance(features, Mapping)


def are_descriptions(features: Any) -> bool:
  """Whether these are several items' dicts."""
  return isinstance(features, list | tuple) and any(map(is_description, features))


def fit_describer(items: Sequence[Description], width: int | None) -> Describer:
  """Learns how to turn descriptions into vectors.

  Genres and tags are hashed, years and ratings scaled, as the block 'content' of item vectors does;
  embeddings stand next to them and count as much.

  Args:
    items: a dict for each item. 'genre' and 'tags' are a text or several; 'year' and 'rating'
      numbers; 'embedding' numbers, as many for all items. Any may be missing or None.
    width: F; None for what there is.

  Raises:
    ValueError: for another key or value, or if they do not fit into the width.
  """
  catalogue = _table(items)
  size = next((len(x["embedding"]) for x in items if x.get("embedding") is not None), 0)
  embedding_NxE = _embeddings(items, np.full(size, np.nan))
  mean_E = np.nanmean(embedding_NxE, axis=0) if size else np.zeros(0)
  plain = ContentConfig(max_categories=0, tag_buckets=0, title_buckets=0)
  taken = content_vectors(catalogue, catalogue, plain).shape[1] + size
  buckets = DEFAULT_BUCKETS if width is None else width - taken
  if buckets < 1:
    raise ValueError(
      f"feature_dim is {width}, but numbers and embeddings take {taken} columns; give at least "
      f"{taken + 1}, the others are for genres and tags"
    )
  content = ContentConfig(max_categories=0, tag_buckets=buckets, title_buckets=0)
  blocks = _blocks(
    catalogue, catalogue, content, np.where(np.isnan(embedding_NxE), mean_E, embedding_NxE)
  )
  joined = fit_combine(blocks, dict.fromkeys(blocks, 1.0))
  return Describer(catalogue, content, mean_E, joined, taken + buckets)


def describe(describer: Describer, items: Sequence[Description]) -> np.ndarray:
  """The vectors of items, in the catalogue or not: float32 [M, F]; raises as `fit_describer`."""
  embedding_MxE = _embeddings(items, describer.embedding_E)
  blocks = _blocks(describer.catalogue, _table(items), describer.content, embedding_MxE)
  vectors_MxX = apply_combine(describer.joined, blocks)
  # Columns that are equal for all of the catalogue are left out by `combine`.
  return np.pad(vectors_MxX, ((0, 0), (0, describer.width - vectors_MxX.shape[1])))


def texts(value: Any, key: str) -> list[str]:
  """A text, or several, as a list."""
  if value is None:
    return []
  found = [value] if isinstance(value, str) else value
  if not isinstance(found, list | tuple | set | np.ndarray) or not all(
    isinstance(text, str) for text in found
  ):
    raise ValueError(f"{key!r} of an item is {value!r}; give a text or a list of texts")
  return [str(text) for text in found]


def number(value: Any, key: str) -> float:
  """A number, NaN for None."""
  if value is None:
    return math.nan
  if isinstance(value, bool) or not isinstance(value, int | float | np.number):
    raise ValueError(f"{key!r} of an item is {value!r}; give a number")
  return float(value)


def check_keys(items: Sequence[Description], keys: Sequence[str] = KEYS) -> None:
  """ValueError for what is no dict, or has a key that means nothing."""
  for row, item in enumerate(items):
    if not is_description(item):
      raise ValueError(f"item {row} is no dict of features, but the others are")
    if unknown := [key for key in item if key not in keys]:
      raise ValueError(f"item {row} has the feature {unknown[0]!r}; known ones: {', '.join(keys)}")


def _table(items: Sequence[Description]) -> Items:
  check_keys(items)
  words = [
    texts(item.get("genre"), "genre") + [f"tag {tag}" for tag in texts(item.get("tags"), "tags")]
    for item in items
  ]
  numeric = {key: [number(item.get(key), key) for item in items] for key in NUMBERS}
  known = {key: column for key, column in numeric.items() if np.isfinite(column).any()}
  return item_table(range(len(items)), [""] * len(items), words, known)


def _embeddings(items: Sequence[Description], missing_E: np.ndarray) -> np.ndarray:
  """float64 [M, E]."""
  rows = []
  for item in items:
    row_E = missing_E if item.get("embedding") is None else np.asarray(item["embedding"], float)
    if row_E.shape != missing_E.shape:
      raise ValueError(
        f"an embedding has shape {row_E.shape}, others {missing_E.shape}; give one width"
      )
    rows.append(row_E)
  return np.stack(rows)


def _blocks(
  catalogue: Items, items: Items, content: ContentConfig, embedding_MxE: np.ndarray
) -> dict[str, np.ndarray]:
  blocks = {"content": content_vectors(catalogue, items, content)}
  return blocks | ({"embedding": embedding_MxE} if embedding_MxE.shape[1] else {})
