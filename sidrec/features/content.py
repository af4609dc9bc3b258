"""Item vectors from what the catalogue says about an item; no behaviour is looked at.

Letters: N items, F vector width, C categories, E pairs of item and category, W distinct words,
M numeric columns, T title buckets, P pairs of item and word.
"""

import re
import unicodedata
import zlib
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from sidrec.data.dataset import Items

# '(1995)', and '(1990-1995)' or '(2008– )' of series.
_CLOSING_YEAR = re.compile(r"\s*\(\d{4}(\s*[-–]\s*(\d{4})?)?\s*\)\s*$")


def content_vectors(
  items: Items, title_buckets: int = 256, max_categories: int = 512
) -> np.ndarray:
  """Categories, numeric columns and title words side by side.

  Three parts, each about as heavy as the others:
    * categories: multi-hot, idf-weighted, rows of L2 norm 1; the `max_categories` most
      frequent ones have a column;
    * numbers: standardised over the known values and divided by the square root of the number
      of numeric columns; unknown values are 0, and a column with unknown values gets a second
      column that is 1 where the value is known;
    * titles: idf-weighted words hashed with a sign into `title_buckets` columns
      (Weinberger et al. 2009), rows of L2 norm 1. The hash is CRC-32: equal everywhere, always.

  The idf is log((1 + N) / (1 + df)) + 1, df being the number of items with the word or category.

  Args:
    items: the catalogue; any value may be missing.
    title_buckets: number of title columns; 0 leaves titles out.
    max_categories: largest number of category columns; 0 leaves categories out.

  Returns:
    vectors_NxF float32. An item of which nothing is known is a row of zeros.

  Raises:
    ValueError: if `title_buckets` or `max_categories` is negative.
  """
  for name, value in [("title_buckets", title_buckets), ("max_categories", max_categories)]:
    if value < 0:
      raise ValueError(f"{name} must be 0 or more, not {value}")
  parts = [
    _category_part(items, max_categories),
    _numeric_part(items.numeric, items.num_items),
    _title_part(items.titles_N, title_buckets),
  ]
  return np.concatenate(parts, axis=1).astype(np.float32)


def title_words(titles_N: np.ndarray) -> list[list[str]]:
  """The lower-case words of each title, without a closing year such as '(1995)'.

  A word is a run of letters, digits and combining marks of any script; apostrophes vanish.
  """
  normal = [unicodedata.normalize("NFKC", str(title)) for title in titles_N]
  texts = [_CLOSING_YEAR.sub("", title).lower() for title in normal]
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


def _category_part(items: Items, max_categories: int) -> np.ndarray:
  num_items, num_categories = items.num_items, len(items.categories_C)
  item_E = np.repeat(np.arange(num_items), np.diff(items.category_offsets_N1))
  hot_NxC = _incidence(item_E, items.category_E, (num_items, num_categories))
  df_C = np.asarray(hot_NxC.sum(axis=0)).ravel()
  kept = np.sort(np.argsort(-df_C, kind="stable")[:max_categories])
  return _unit_rows((hot_NxC[:, kept] @ sp.diags_array(_idf(df_C[kept], num_items))).toarray())


def _numeric_part(numeric: Mapping[str, np.ndarray], num_items: int) -> np.ndarray:
  columns = [np.zeros((num_items, 0))]
  for name in sorted(numeric):
    value_N = np.asarray(numeric[name], np.float64)
    known_N = np.isfinite(value_N)
    if not known_N.any():
      continue
    mean, std = value_N[known_N].mean(), value_N[known_N].std()
    standard_N = np.where(known_N, value_N - mean, 0.0) / (std if std > 0 else 1.0)
    columns.append(standard_N[:, None] / np.sqrt(len(numeric)))
    if not known_N.all():
      # 'Known' rather than 'missing', so that an empty item stays a zero row.
      columns.append(known_N[:, None] / np.sqrt(len(numeric)))
  return np.concatenate(columns, axis=1)


def _title_part(titles_N: np.ndarray, buckets: int) -> np.ndarray:
  num_items = len(titles_N)
  words = title_words(titles_N)
  row_of: dict[str, int] = {}
  word_P = np.array([row_of.setdefault(word, len(row_of)) for row in words for word in row], int)
  if buckets == 0 or len(word_P) == 0:
    return np.zeros((num_items, buckets))
  item_P = np.repeat(np.arange(num_items), [len(row) for row in words])
  hot_NxW = _incidence(item_P, word_P, (num_items, len(row_of)))
  df_W = np.asarray(hot_NxW.sum(axis=0)).ravel()
  bucket_W, sign_W = hash_words(list(row_of), buckets)
  to_bucket_WxT = sp.csr_array(
    (sign_W * _idf(df_W, num_items), (np.arange(len(row_of)), bucket_W)),
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
