"""Facts about items as codes, with scikit-learn's habits."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sidrec.data.dataset import Items
from sidrec.data.sources.build import item_table
from sidrec.estimators.descriptions import (
  KEYS,
  are_descriptions,
  check_keys,
  is_description,
  number,
  texts,
)
from sidrec.features.category_paths import category_paths, overflow_notes, paths_with
from sidrec.features.columns import number_text

Facts = Sequence[Mapping[str, Any]] | Sequence[Sequence[Any]] | np.ndarray
FACTS = ("genre", "tags", "year", "decade", "rating")


class CategoryRule(TransformerMixin, BaseEstimator):
  """A category path as codes: children are numbered within their parent, 0 is unknown.

  Where a parent has more than V - 1 values, `fit` warns that the rarest share a code. After `fit`,
  `labels_` says what the codes mean, see `features/category_paths.py`.

  Args:
    path: what each level says of an item that is described by a dict: 'genre' and 'tags' (the
      first one), 'year', 'decade' or 'rating'. Rows of values need no path.
    codebook_size: V.
  """

  def __init__(self, path: Sequence[str] = ("genre", "decade"), codebook_size: int = 256):
    """Keeps the settings."""
    self.path = path
    self.codebook_size = codebook_size

  def fit(self, X: Facts, y: None = None) -> Self:
    """Numbers the values.

    Args:
      X: N dicts, or N rows of one value for each level; '', None and NaN are unknown.
      y: nothing.

    Raises:
      ValueError: for other inputs or settings.
    """
    del y
    items, num_levels = self._items(X)
    names = [f"category_{level + 1}" for level in range(num_levels)]
    path_NxP, self.labels_ = category_paths(items, names, self.codebook_size)
    self.n_features_in_ = num_levels
    for note in overflow_notes(self.labels_, path_NxP):
      warnings.warn(note, stacklevel=2)
    return self

  def transform(self, X: Facts) -> np.ndarray:
    """The codes of items, int32 [N, P]; a value that the fit did not see gets 0."""
    check_is_fitted(self)
    items, num_levels = self._items(X)
    if num_levels != self.n_features_in_:
      raise ValueError(f"X has {num_levels} levels, but was fitted on {self.n_features_in_}")
    return paths_with(self.labels_, items)

  def encode(self, features: Mapping[str, Any] | Facts) -> np.ndarray:
    """The codes of one item, int32 [P], or of several, int32 [N, P]."""
    if is_description(features):
      return self.transform([features])[0]  # pyrefly: ignore
    return self.transform(features)  # pyrefly: ignore

  def _items(self, X: Facts) -> tuple[Items, int]:
    """The values as categories, and P."""
    if are_descriptions(X):
      check_keys(X, KEYS)  # pyrefly: ignore
      rows = [[_fact(item, name) for name in self.path] for item in X]  # pyrefly: ignore
    else:
      table_NxP = np.asarray(X, object)
      if table_NxP.ndim != 2 or 0 in table_NxP.shape:
        raise ValueError(f"values have shape {table_NxP.shape}; give [items, levels], or dicts")
      rows = [[_text(value) for value in row] for row in table_NxP.tolist()]
    return item_table(range(len(rows)), [""] * len(rows), rows, {}), len(rows[0])


def _fact(item: Mapping[str, Any], name: str) -> str:
  """What a dict says; '' where it says nothing."""
  if name not in FACTS:
    raise ValueError(f"unknown path level {name!r}; choose from {', '.join(FACTS)}")
  if name in ("genre", "tags"):
    return next(iter(texts(item.get(name), name)), "")
  value = number(item.get("year" if name == "decade" else name), name)
  if name == "decade":
    decade = number_text(np.floor(np.float64(value) / 10) * 10)
    return f"{decade}s" if decade else ""
  return number_text(np.float64(value))


def _text(value: Any) -> str:
  """A value of a row; '' for None and NaN."""
  return "" if value is None or value != value else str(value)
