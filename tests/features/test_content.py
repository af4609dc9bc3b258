import statistics
import unicodedata

import numpy as np
import pytest

from sidrec.data.dataset import Items
from sidrec.features import content
from sidrec.features.content import hash_words, title_words
from sidrec.features.settings import ContentConfig


def make_items(titles, categories=None, texts=None, **numeric):
  """A catalogue of these titles; `categories` lists each item's category names."""
  categories = categories or [[] for _ in titles]
  names = sorted({name for row in categories for name in row})
  return Items(
    ids_N=np.arange(len(titles)),
    titles_N=np.array(titles, dtype=str),
    categories_C=np.array(names, dtype=str),
    category_offsets_Np1=np.cumsum([0] + [len(row) for row in categories]),
    category_E=np.array([names.index(name) for row in categories for name in row], np.int32),
    numeric={name: np.array(column, np.float32) for name, column in numeric.items()},
    text_N=np.array(texts or [""] * len(titles), dtype=str),
  )


def content_vectors(items, **settings):
  """The vectors of a catalogue's own items."""
  return content.content_vectors(items, items, ContentConfig(**settings))


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
  # NFKC decides how a nukta is written, so the expectation is composed in the same way.
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


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
def test_equal_numbers_are_zero(scaling):
  items = make_items([""] * 3, a=[7, 7, 7])
  assert not content_vectors(items, title_buckets=0, scaling=scaling).any()


def test_quantile_scaling_takes_ranks_to_the_standard_normal():
  price = [5, 1e6, np.nan, 2, 5]
  vectors_NxF = content_vectors(
    make_items([""] * 5, price=price), title_buckets=0, scaling="quantile"
  )
  # Ranks of the four known values: 2 → 1, both 5 → 2.5, 1e6 → 4; place (rank - 1/2) / 4.
  normal = statistics.NormalDist()
  expected = [0, normal.inv_cdf(3.5 / 4), 0, normal.inv_cdf(0.5 / 4), 0]
  np.testing.assert_allclose(vectors_NxF[:, 0], expected, atol=1e-6)
  np.testing.assert_array_equal(vectors_NxF[:, 1], [1, 1, 0, 1, 1])


def test_quantile_scaling_sees_order_alone():
  price = np.random.default_rng(0).lognormal(size=30)
  scaled = [
    content_vectors(make_items([""] * 30, price=x), title_buckets=0, scaling="quantile")
    for x in (price, np.log(price))
  ]
  np.testing.assert_array_equal(*scaled)
  np.testing.assert_array_equal(np.argsort(scaled[0][:, 0]), np.argsort(price))


def test_categories_beyond_the_most_frequent_share_buckets():
  tags = [["a", "rare1"], ["a", "rare2"], ["a", "b"], ["b"], ["b", "rare1"]]
  items = make_items([""] * 5, tags)
  vectors_NxF = content_vectors(items, title_buckets=0, max_categories=2, tag_buckets=64)
  assert vectors_NxF.shape == (5, 2 + 64)
  (bucket, other), (sign, _) = hash_words(["rare1", "rare2"], 64)
  assert bucket != other  # else the example shows nothing
  idf_a, idf_rare1 = np.log(6 / 4) + 1, np.log(6 / 3) + 1
  expected_F = np.zeros(66)
  expected_F[[0, 2 + bucket]] = np.array([idf_a, sign * idf_rare1]) / np.hypot(idf_a, idf_rare1)
  np.testing.assert_allclose(vectors_NxF[0], expected_F, atol=1e-6)
  assert not vectors_NxF[3, 2:].any()
  # An item of rare tags alone is no longer empty.
  only_rare = make_items(["", "", ""], [["a"], ["a"], ["z"]])
  assert not content_vectors(only_rare, title_buckets=0, max_categories=1)[2].any()
  assert content_vectors(only_rare, title_buckets=0, max_categories=1, tag_buckets=8)[2].any()


def test_free_text_is_hashed_like_titles():
  words = ["heat crime", "crime and cold", ""]
  by_text = content_vectors(make_items([""] * 3, texts=words), title_buckets=0, text_buckets=32)
  by_title = content_vectors(make_items(words), title_buckets=32)
  np.testing.assert_array_equal(by_text, by_title)
  assert content_vectors(make_items([""] * 3, texts=words), title_buckets=0).shape == (3, 0)


def varied_items():
  return make_items(
    ["Heat (1995)", "Cold heat", "", "Alien heat", "Aliens (1986)"],
    [["crime", "x"], ["crime"], [], ["space", "y"], ["space", "crime"]],
    ["A heist.", "", "An old story", "a heist in space", "again"],
    year=[1995, 2000, np.nan, 1979, 1986],
    price=[1, 5, 5, 2, 900],
  )


ALL_PARTS = {"title_buckets": 16, "max_categories": 2, "tag_buckets": 4, "text_buckets": 8}


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
def test_a_new_item_with_known_values_gets_the_vector_of_its_twin(scaling):
  config = ContentConfig(**ALL_PARTS, scaling=scaling)
  known = content.content_vectors(varied_items(), varied_items(), config)
  assert known.shape == (5, 2 + 4 + 3 + 16 + 8)
  np.testing.assert_array_equal(
    known, content_vectors(varied_items(), **ALL_PARTS, scaling=scaling)
  )
  # Alone, so that its own catalogue lists its categories otherwise and has other frequencies.
  twin = make_items(
    ["Alien heat"], [["y", "space"]], ["a heist in space"], year=[1979], price=[2], unheard=[3]
  )
  new = content.content_vectors(varied_items(), twin, config)
  np.testing.assert_allclose(new[0], known[3], rtol=1e-6)


def test_what_a_catalogue_never_had():
  new = make_items(["zebra"], [["western"]], year=[2030])
  config = ContentConfig(title_buckets=16, max_categories=2)
  vector_F = content.content_vectors(varied_items(), new, config)[0]
  assert vector_F.shape == (2 + 3 + 16,)
  assert not vector_F[:2].any()  # no column for the category
  assert vector_F[2] == 0  # price, unknown but known for all items of the catalogue
  known = np.array([1995, 2000, 1979, 1986])
  np.testing.assert_allclose(
    vector_F[3], (2030 - known.mean()) / known.std() / np.sqrt(2), rtol=1e-5
  )
  np.testing.assert_allclose(vector_F[4], np.sqrt(0.5), rtol=1e-6)
  (bucket,), (sign,) = hash_words(["zebra"], 16)
  np.testing.assert_allclose(vector_F[5 + bucket], sign, rtol=1e-6)
  # With buckets for tags the unheard-of category counts.
  tagged = ContentConfig(title_buckets=16, max_categories=2, tag_buckets=4)
  assert content.content_vectors(varied_items(), new, tagged)[0, 2:6].any()
  # A catalogue of fewer categories than columns has no column for a new one either.
  wide = ContentConfig(title_buckets=0, max_categories=99)
  assert content.content_vectors(varied_items(), new, wide).shape == (1, 4 + 3)


def test_values_beyond_the_fitted_extremes_go_where_those_are():
  config, known = ContentConfig(title_buckets=0, scaling="quantile"), [1, 2, 3, 4]
  catalogue = make_items([""] * 4, a=known)
  new, fitted = (
    content.content_vectors(catalogue, make_items([""] * len(a), a=a), config)[:, 0]
    for a in ([-100, 2.5, 100], known)
  )
  np.testing.assert_allclose(new, [fitted[0], 0, fitted[3]], atol=1e-7)


def test_an_unknown_scaling_is_refused():
  with pytest.raises(ValueError, match=r"'standard', 'quantile'.*not 'rank'"):
    ContentConfig(scaling="rank")


@pytest.mark.parametrize(
  "argument", ["title_buckets", "max_categories", "tag_buckets", "text_buckets"]
)
def test_negative_widths_are_refused(argument):
  with pytest.raises(ValueError, match=f"features.content.{argument} must be 0 or more, not -1"):
    ContentConfig(**{argument: -1})
