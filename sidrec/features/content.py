"""Item vectors from what the catalogue says about an item; behaviour plays no part.

Here X counts the distinct words (or categories), F the columns of one part.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtri

from sidrec.data.dataset import Items
from sidrec.features.columns import known_categories
from sidrec.features.settings import ContentConfig

Words = Sequence[Sequence[str]]  # the words of each item

# '(1995)', and '(1990-1995)' or '(2008– )' of series.
_CLOSING_YEAR = re.compile(r"\s*\(\d{4}(\s*[-–]\s*(\d{4})?)?\s*\)\s*$")


def content_vectors(catalogue: Items, items: Items, config: ContentConfig) -> np.ndarray:
  """Vectors of items, by columns, frequencies and means of a catalogue.

  Four parts stand next to each other, each about as heavy as the others:
    * categories: multi-hot, idf-weighted, rows of L2 norm 1;
    * numbers: scaled over the known values and divided by the square root of the number of
      numeric columns; unknown values are 0, and a column with unknown values gets a second column
      that is 1 where the value is known;
    * titles: idf-weighted words hashed with a sign (Weinberger et al. 2009), rows of L2 norm 1;
    * words of the free text, in the same way.

  The idf is log((1 + N) / (1 + df)) + 1, where df is the number of the catalogue's items with the
  word or category. A word that the catalogue lacks has df 0 and is hashed like all others. A
  numeric column that `items` lacks is unknown for all of them.

  Args:
    catalogue: the items to learn from; any value may be missing.
    items: the same, or new items.
    config: the widths of the parts, and how numbers are scaled.

  Returns:
    float32, a row for each of `items`. An item of which nothing is known is a row of zeros.
  """

  def hashed(words_of: Callable[[Items], Words], own: int, buckets: int) -> np.ndarray:
    known = words_of(catalogue)
    return _hashed(known, known if items is catalogue else words_of(items), own, buckets)

  parts = [
    hashed(known_categories, config.max_categories, config.tag_buckets),
    _scaled_numbers(catalogue, items, config.scaling),
  ]
  if config.title_buckets:
    parts.append(hashed(lambda x: title_words(x.titles_N), 0, config.title_buckets))
  if config.text_buckets:
    parts.append(hashed(lambda x: text_words(x.text_N), 0, config.text_buckets))
  return np.concatenate(parts, axis=1).astype(np.float32)


def title_words(titles_N: Sequence[str] | np.ndarray) -> list[list[str]]:
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


def hash_words(words_X: Sequence[str], buckets: int) -> tuple[np.ndarray, np.ndarray]:
  """Where each word goes, in every process: (int64 in [0, buckets) [X], float64 1 or -1 [X])."""
  hash_X = np.array([zlib.crc32(word.encode("utf-8")) for word in words_X], np.int64)
  # The top bit gives the sign, the other bits the bucket, so that neither tells the other.
  return (hash_X & 0x7FFFFFFF) % buckets, 1.0 - 2.0 * (hash_X >> 31)


def _hashed(known: Words, words: Words, own: int, buckets: int) -> np.ndarray:
  """Rows of idf weights, of L2 norm 1.

  Args:
    known: the words of each item of the catalogue.
    words: of the items that get rows.
    own: so many of the most frequent words have a column each, in alphabetical order.
    buckets: number of columns after those that all others share; 0 leaves the others out.
  """
  # Here, because it takes longer to import than all of sidrec, and most commands do without it.
  from sklearn.preprocessing import MultiLabelBinarizer, normalize

  binarizer = MultiLabelBinarizer(sparse_output=True).fit([*known, *words])
  hot_NxX = sp.csr_array(binarizer.transform(known))
  df_X = np.bincount(hot_NxX.indices, minlength=len(binarizer.classes_))
  frequent = np.argsort(-df_X, kind="stable")[: min(own, np.count_nonzero(df_X))]
  column_X = np.full(len(df_X), -1)
  column_X[np.sort(frequent)] = np.arange(len(frequent))
  weight_X = np.log((1.0 + len(known)) / (1.0 + df_X)) + 1.0
  if buckets:
    bucket_X, sign_X = hash_words(binarizer.classes_.tolist(), buckets)
    weight_X = np.where(column_X < 0, sign_X * weight_X, weight_X)
    column_X = np.where(column_X < 0, len(frequent) + bucket_X, column_X)
  used = np.flatnonzero(column_X >= 0)
  to_column_XxF = sp.csr_array(
    (weight_X[used], (used, column_X[used])), shape=(len(df_X), len(frequent) + buckets)
  )
  rows = (binarizer.transform(words) @ to_column_XxF).toarray()
  return normalize(rows) if rows.size else rows


def _scaled_numbers(catalogue: Items, items: Items, scaling: str) -> np.ndarray:
  columns = [np.zeros((0, items.num_items))]
  for name in sorted(catalogue.numeric):
    of_catalogue_N = np.asarray(catalogue.numeric[name], np.float64)
    known = of_catalogue_N[np.isfinite(of_catalogue_N)]
    if len(known) == 0:
      continue
    value_M = np.asarray(items.numeric.get(name, np.full(items.num_items, np.nan)), np.float64)
    known_M = np.isfinite(value_M)
    value_M = np.where(known_M, value_M, known.mean())
    if scaling == "quantile":
      scaled_M = np.where(known_M, _normal_quantile(value_M, np.sort(known)), 0.0)
    else:
      scaled_M = (value_M - known.mean()) / (known.std() or 1.0)
    columns.append(scaled_M[None])
    if len(known) < len(of_catalogue_N):
      # 'Known' rather than 'missing', so that an empty item stays a zero row.
      columns.append(known_M[None])
  return np.concatenate(columns).T / np.sqrt(max(len(catalogue.numeric), 1))


def _normal_quantile(value_M: np.ndarray, sorted_values: np.ndarray) -> np.ndarray:
  """The standard normal quantile of each value's place among the sorted ones.

  Equal values share their mean place; values beyond the extremes go where the extremes are.
  """
  below_M = np.searchsorted(sorted_values, value_M, side="left")
  up_to_M = np.searchsorted(sorted_values, value_M, side="right")
  place_M = np.clip((below_M + up_to_M) / 2, 0.5, len(sorted_values) - 0.5)
  return ndtri(place_M / len(sorted_values))
