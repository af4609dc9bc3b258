"""Item vectors from what the catalogue says about an item; no behaviour is looked at.

Letters: N items, F vector width, C categories, E pairs of item and category, W distinct words,
M numeric columns, K category columns, T buckets, P pairs of item and word.
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtri

from sidrec.data.dataset import Items

SCALINGS = ("standard", "quantile")

# '(1995)', and '(1990-1995)' or '(2008– )' of series.
_CLOSING_YEAR = re.compile(r"\s*\(\d{4}(\s*[-–]\s*(\d{4})?)?\s*\)\s*$")


class NumericColumn(NamedTuple):
  """How a numeric column is scaled: by its mean and deviation, or by its sorted values."""

  mean: float
  std: float  # 1 where all known values are equal
  sorted_values: np.ndarray | None  # float64 [known values] with 'quantile' scaling
  has_unknown: bool  # whether a second column says where the value is known


class ContentModel(NamedTuple):
  """What `fit_content` learnt of a catalogue: columns, frequencies, means. Nothing per item."""

  num_items: int  # N of the catalogue
  category_column: Mapping[str, int]  # category → its own column, in [0, K)
  category_df: Mapping[str, int]  # category → number of items with it
  tag_buckets: int
  numeric: Mapping[str, NumericColumn]  # those with a known value, in column order
  numeric_divisor: float  # square root of the number of numeric columns
  title_df: Mapping[str, int]  # word → number of items with it in the title
  title_buckets: int
  text_df: Mapping[str, int]  # word → number of items with it in the free text
  text_buckets: int


def content_vectors(
  items: Items,
  title_buckets: int = 256,
  max_categories: int = 512,
  tag_buckets: int = 0,
  text_buckets: int = 0,
  scaling: str = "standard",
) -> np.ndarray:
  """Categories, numeric columns, title words and words of the free text side by side.

  Four parts, each about as heavy as the others:
    * categories: multi-hot, idf-weighted, rows of L2 norm 1; the `max_categories` most
      frequent ones have a column, the others (of an open vocabulary of tags, say) are hashed
      with a sign into `tag_buckets` columns after those;
    * numbers: scaled over the known values and divided by the square root of the number
      of numeric columns; unknown values are 0, and a column with unknown values gets a second
      column that is 1 where the value is known;
    * titles: idf-weighted words hashed with a sign into `title_buckets` columns
      (Weinberger et al. 2009), rows of L2 norm 1. The hash is CRC-32: equal everywhere, always;
    * free text: the same, into `text_buckets` columns.

  The idf is log((1 + N) / (1 + df)) + 1, df being the number of items with the word or category.

  Args:
    items: the catalogue; any value may be missing.
    title_buckets: number of title columns; 0 leaves titles out.
    max_categories: largest number of category columns; 0 gives no category its own.
    tag_buckets: number of columns that the other categories share; 0 leaves those out.
    text_buckets: number of free-text columns; 0 leaves the free text out.
    scaling: of numbers. 'standard' subtracts the mean and divides by the standard deviation;
      'quantile' replaces a value by the standard normal quantile of its rank, equal values by
      that of their mean rank, which tames outliers and skew.

  Returns:
    vectors_NxF float32. An item of which nothing is known is a row of zeros.

  Raises:
    ValueError: for a negative width or an unknown scaling.
  """
  widths = (title_buckets, max_categories, tag_buckets, text_buckets)
  return apply_content(fit_content(items, *widths, scaling=scaling), items)


def fit_content(
  items: Items,
  title_buckets: int = 256,
  max_categories: int = 512,
  tag_buckets: int = 0,
  text_buckets: int = 0,
  scaling: str = "standard",
) -> ContentModel:
  """Learns from a catalogue what `apply_content` needs; arguments as of `content_vectors`.

  Raises:
    ValueError: for a negative width or an unknown scaling.
  """
  widths = {
    "title_buckets": title_buckets,
    "max_categories": max_categories,
    "tag_buckets": tag_buckets,
    "text_buckets": text_buckets,
  }
  for name, value in widths.items():
    if value < 0:
      raise ValueError(f"{name} must be 0 or more, not {value}")
  if scaling not in SCALINGS:
    raise ValueError(f"the scaling of numbers must be one of {list(SCALINGS)}, not {scaling!r}")

  category_df_C = np.asarray(_category_incidence(items).sum(axis=0)).ravel()
  own = np.sort(np.argsort(-category_df_C, kind="stable")[:max_categories])
  names_C = items.categories_C.tolist()
  return ContentModel(
    num_items=items.num_items,
    category_column={names_C[category]: column for column, category in enumerate(own)},
    category_df=dict(zip(names_C, category_df_C.astype(int).tolist(), strict=True)),
    tag_buckets=tag_buckets,
    numeric=_fit_numbers(items.numeric, scaling),
    numeric_divisor=float(np.sqrt(max(len(items.numeric), 1))),
    title_df=_document_frequencies(title_words(items.titles_N)) if title_buckets else {},
    title_buckets=title_buckets,
    text_df=_document_frequencies(text_words(items.text_N)) if text_buckets else {},
    text_buckets=text_buckets,
  )


def apply_content(model: ContentModel, items: Items) -> np.ndarray:
  """The vectors of items, the fitted ones or new ones, with everything learnt left as it is.

  A word that the fitted catalogue lacks is hashed like the others and has the idf of df = 0; so
  has a category where there are `tag_buckets`, and otherwise it counts for nothing. A numeric
  column that `items` lacks is unknown for all of them; one that the model lacks is left out.

  Returns:
    vectors_NxF float32, N the number of `items` and F that of the fitted catalogue. For the
    fitted catalogue these are its `content_vectors`.
  """
  parts = [_category_part(model, items), _numeric_part(model, items)]
  if model.title_buckets:
    words = title_words(items.titles_N)
    parts.append(_word_part(words, model.title_df, model.num_items, model.title_buckets))
  if model.text_buckets:
    words = text_words(items.text_N)
    parts.append(_word_part(words, model.text_df, model.num_items, model.text_buckets))
  return np.concatenate(parts, axis=1).astype(np.float32)


def title_words(titles_N: np.ndarray) -> list[list[str]]:
  """The words of each title, as `text_words`, without a closing year such as '(1995)'."""
  # The year may be written in full-width digits.
  normal = [unicodedata.normalize("NFKC", str(title)) for title in titles_N]
  return text_words([_CLOSING_YEAR.sub("", title) for title in normal])


def text_words(text_N: Sequence[str] | np.ndarray) -> list[list[str]]:
  """The lower-case words of each text.

  A word is a run of letters, digits and combining marks of any script; apostrophes vanish.
  """
  texts = [unicodedata.normalize("NFKC", str(text)).lower() for text in text_N]
  separators = {
    ord(char): "" if char in "'’" else " "
    for char in set().union(*texts)
    if unicodedata.category(char)[0] not in "LNM"
  }
  return [text.translate(separators).split() for text in texts]


def hash_words(words_W: list[str], buckets: int) -> tuple[np.ndarray, np.ndarray]:
  """Where each word goes: (bucket_W int64 in [0, buckets), sign_W float64, 1 or -1)."""
  hash_W = np.array([zlib.crc32(word.encode("utf-8")) for word in words_W], np.int64)
  # The top bit gives the sign, the other bits the bucket, so that neither tells the other.
  return (hash_W & 0x7FFFFFFF) % buckets, 1.0 - 2.0 * (hash_W >> 31)


def _document_frequencies(words: list[list[str]]) -> Mapping[str, int]:
  """Word → number of rows with it, in the order of first appearance."""
  return Counter(chain.from_iterable(dict.fromkeys(row) for row in words))


def _fit_numbers(numeric: Mapping[str, np.ndarray], scaling: str) -> dict[str, NumericColumn]:
  columns = {}
  for name in sorted(numeric):
    value_N = np.asarray(numeric[name], np.float64)
    known = value_N[np.isfinite(value_N)]
    if len(known):
      columns[name] = NumericColumn(
        mean=float(known.mean()),
        std=float(known.std()) or 1.0,
        sorted_values=np.sort(known) if scaling == "quantile" else None,
        has_unknown=len(known) < len(value_N),
      )
  return columns


def _category_part(model: ContentModel, items: Items) -> np.ndarray:
  names_C = items.categories_C.tolist()
  weight_C = _idf(np.array([model.category_df.get(name, 0) for name in names_C]), model.num_items)
  num_own = len(model.category_column)
  column_C = np.array([model.category_column.get(name, -1) for name in names_C], np.int64)
  shared_C = column_C < 0
  if model.tag_buckets:
    bucket_C, sign_C = hash_words(names_C, model.tag_buckets)
    column_C = np.where(shared_C, num_own + bucket_C, column_C)
    weight_C = np.where(shared_C, sign_C * weight_C, weight_C)
    shared_C[:] = False
  kept = np.flatnonzero(~shared_C)
  to_column_CxK = sp.csr_array(
    (weight_C[kept], (kept, column_C[kept])), shape=(len(names_C), num_own + model.tag_buckets)
  )
  return _unit_rows((_category_incidence(items) @ to_column_CxK).toarray())


def _category_incidence(items: Items) -> sp.csr_array:
  item_E = np.repeat(np.arange(items.num_items), np.diff(items.category_offsets_Np1))
  return _incidence(item_E, items.category_E, (items.num_items, len(items.categories_C)))


def _numeric_part(model: ContentModel, items: Items) -> np.ndarray:
  columns = [np.zeros((items.num_items, 0))]
  unknown_N = np.full(items.num_items, np.nan)
  for name, column in model.numeric.items():
    value_N = np.asarray(items.numeric.get(name, unknown_N), np.float64)
    known_N = np.isfinite(value_N)
    if column.sorted_values is None:
      scaled_N = np.where(known_N, value_N - column.mean, 0.0) / column.std
    else:
      scaled_N = np.where(known_N, _normal_quantile(value_N, column.sorted_values), 0.0)
    columns.append(scaled_N[:, None] / model.numeric_divisor)
    if column.has_unknown:
      # 'Known' rather than 'missing', so that an empty item stays a zero row.
      columns.append(known_N[:, None] / model.numeric_divisor)
  return np.concatenate(columns, axis=1)


def _normal_quantile(value_N: np.ndarray, sorted_values: np.ndarray) -> np.ndarray:
  """The standard normal quantile of each value's place among the sorted ones."""
  below_N = np.searchsorted(sorted_values, value_N, side="left")
  up_to_N = np.searchsorted(sorted_values, value_N, side="right")
  # Values beyond the extremes go where the extremes are.
  place_N = np.clip((below_N + up_to_N) / 2, 0.5, len(sorted_values) - 0.5)
  return ndtri(place_N / len(sorted_values))


def _word_part(
  words: list[list[str]], df: Mapping[str, int], fitted_items: int, buckets: int
) -> np.ndarray:
  row_of = {word: row for row, word in enumerate(df)}
  word_P = np.array([row_of.setdefault(word, len(row_of)) for row in words for word in row], int)
  item_P = np.repeat(np.arange(len(words)), [len(row) for row in words])
  hot_NxW = _incidence(item_P, word_P, (len(words), len(row_of)))
  df_W = np.array([df.get(word, 0) for word in row_of])
  bucket_W, sign_W = hash_words(list(row_of), buckets)
  to_bucket_WxT = sp.csr_array(
    (sign_W * _idf(df_W, fitted_items), (np.arange(len(row_of)), bucket_W)),
    shape=(len(row_of), buckets),
  )
  return _unit_rows((hot_NxW @ to_bucket_WxT).toarray())


def _incidence(row_P: np.ndarray, column_P: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
  """The 0/1 matrix of the given pairs; a pair named twice counts once."""
  matrix = sp.csr_array((np.ones(len(row_P)), (row_P, column_P)), shape=shape)
  matrix.data[:] = 1.0
  return matrix


def _idf(df: np.ndarray, num_items: int) -> np.ndarray:
  return np.log((1.0 + num_items) / (1.0 + df)) + 1.0


def _unit_rows(vectors_NxF: np.ndarray) -> np.ndarray:
  norm_Nx1 = np.linalg.norm(vectors_NxF, axis=1, keepdims=True)
  return vectors_NxF / np.where(norm_Nx1 > 0, norm_Nx1, 1.0)
