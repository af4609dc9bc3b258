import unicodedata

import numpy as np
import pytest

from sidrec.data.dataset import Items
from sidrec.features.content import content_vectors, hash_words, title_words


def make_items(titles, categories=None, **numeric):
  """A catalogue of these titles; `categories` lists each item's category names."""
  categories = categories or [[] for _ in titles]
  names = sorted({name for row in categories for name in row})
  return Items(
    ids_N=np.arange(len(titles)),
    titles_N=np.array(titles, dtype=str),
    categories_C=np.array(names, dtype=str),
    category_offsets_N1=np.cumsum([0] + [len(row) for row in categories]),
    category_E=np.array([names.index(name) for row in categories for name in row], np.int32),
    numeric={name: np.array(column, np.float32) for name, column in numeric.items()},
    text_N=np.array([""] * len(titles)),
  )


def test_an_empty_item_is_a_zero_row_and_everything_is_finite():
  items = make_items(
    ["Alien (1979)", "", "Heat"],
    [["horror", "space"], [], ["crime"]],
    year=[1979, np.nan, 1995],
    price=[np.nan, np.nan, np.nan],
  )
  vectors_NxF = content_vectors(items, title_buckets=16)
  assert vectors_NxF.dtype == np.float32
  # 3 categories, year and whether it is known, 16 title columns; price is known for no item.
  assert vectors_NxF.shape == (3, 3 + 2 + 16)
  assert np.isfinite(vectors_NxF).all()
  assert not vectors_NxF[1].any()
  assert vectors_NxF[0].any()
  assert vectors_NxF[2].any()


def test_a_catalogue_of_which_nothing_is_known():
  assert not content_vectors(make_items(["", "", ""])).any()


def test_categories_are_idf_weighted_unit_rows_and_a_repeat_counts_once():
  items = make_items(["", "", ""], [["a", "b"], ["a", "a"], ["a"]])
  vectors_NxF = content_vectors(items, title_buckets=0)
  idf_a, idf_b = np.log(4 / 4) + 1, np.log(4 / 2) + 1
  expected = np.array([[idf_a, idf_b] / np.hypot(idf_a, idf_b), [1, 0], [1, 0]])
  np.testing.assert_allclose(vectors_NxF, expected, rtol=1e-6)


def test_only_the_most_frequent_categories_get_a_column():
  items = make_items(["", "", ""], [["a", "z"], ["z", "b"], ["z", "b"]])
  vectors_NxF = content_vectors(items, title_buckets=0, max_categories=2)
  assert vectors_NxF.shape == (3, 2)
  np.testing.assert_allclose(vectors_NxF[0], [0, 1])  # b is column 0, z column 1, a has none
  assert (vectors_NxF[1:] > 0).all()


def test_numbers_are_standardised_over_the_known_values():
  vectors_NxF = content_vectors(make_items([""] * 4, year=[10, 20, np.nan, 30]), title_buckets=0)
  std = np.std([10, 20, 30])
  np.testing.assert_allclose(vectors_NxF[:, 0], np.array([-10, 0, 0, 10]) / std, rtol=1e-6)
  np.testing.assert_array_equal(vectors_NxF[:, 1], [1, 1, 0, 1])


def test_many_numeric_columns_weigh_no_more_than_one():
  years = np.array([1.0, 2.0, 3.0, 4.0])
  one = content_vectors(make_items([""] * 4, a=years), title_buckets=0)
  four = content_vectors(make_items([""] * 4, a=years, b=years, c=years, d=years), title_buckets=0)
  assert one.shape == (4, 1)
  assert four.shape == (4, 4)
  np.testing.assert_allclose(np.square(four).sum(axis=1), np.square(one).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize(
  ("title", "words"),
  [
    ("Toy Story (1995)", ["toy", "story"]),
    ("2001: A Space Odyssey (1968) ", ["2001", "a", "space", "odyssey"]),
    ("1984", ["1984"]),
    ("Blade (Director's Cut)", ["blade", "directors", "cut"]),
    ("The Office (2005–2013)", ["the", "office"]),
    ("Série (2008– )", ["série"]),
    ("Amélie ÜBER snake_case", ["amélie", "über", "snake", "case"]),
    ("Ame\u0301lie", ["amélie"]),  # a combining accent is the same word
    ("Ночной дозор (2004)", ["ночной", "дозор"]),
    ("हिन्दी फ़िल्म", ["हिन्दी", "फ़िल्म"]),
    ("千と千尋の神隠し!", ["千と千尋の神隠し"]),
    ("?!", []),
    ("", []),
  ],
)
def test_title_words(title, words):
  # NFKC decides how a nukta is written, so the expectation is composed likewise.
  assert title_words(np.array([title])) == [[unicodedata.normalize("NFKC", w) for w in words]]


def test_the_hash_is_the_same_in_every_process():
  bucket_W, sign_W = hash_words(["toy", "story", "дозор"], 256)
  np.testing.assert_array_equal(bucket_W, [110, 56, 153])
  np.testing.assert_array_equal(sign_W, [1, -1, -1])


def test_titles_are_unit_rows_and_a_rare_shared_word_counts_more_than_a_common_one():
  titles = ["zebra the", "zebra crossing", "the house", "the dog", "the river", "the cat", ""]
  vectors_NxF = content_vectors(make_items(titles), title_buckets=4096)
  np.testing.assert_allclose(np.linalg.norm(vectors_NxF, axis=1), [1] * 6 + [0], rtol=1e-6)
  similarity_N = vectors_NxF @ vectors_NxF[0]
  assert similarity_N[1] > similarity_N[2] > 0
  np.testing.assert_allclose(similarity_N[6], 0)


def test_the_year_and_the_case_of_a_title_do_not_matter():
  vectors_NxF = content_vectors(make_items(["Heat (1995)", "HEAT (1972)", "Cold (1995)"]))
  np.testing.assert_array_equal(vectors_NxF[0], vectors_NxF[1])
  assert abs(vectors_NxF[0] @ vectors_NxF[2]) < 1e-6


@pytest.mark.parametrize("argument", ["title_buckets", "max_categories"])
def test_negative_widths_are_refused(argument):
  with pytest.raises(ValueError, match=argument):
    content_vectors(make_items(["a"]), **{argument: -1})
