"""Amazon reviews in the three forms they were published in, with their oddities."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidrec.data import dataset
from sidrec.data.sources import amazon_lines
from sidrec.data.sources.amazon_metadata import read_metadata
from sidrec.data.sources.amazon_reviews import read_amazon_reviews, signature_amazon_reviews

_DAY = 86_400


def _review_2014(user: str, item: str, day: int, rating: float = 5.0) -> dict[str, Any]:
  return {
    "reviewerID": user,
    "asin": item,
    "reviewerName": 'Amazon Customer "AC"',
    "helpful": [0, 0],
    "reviewText": 'Better than "asin": "B000000099", says {my wife}.\nReally.',
    "overall": rating,
    "summary": "Love it",
    "unixReviewTime": day * _DAY,
    "reviewTime": "01 30, 2014",
  }


def _review_2018(user: str, item: str, day: int, rating: float = 5.0) -> dict[str, Any]:
  return {
    "overall": rating,
    "vote": "1,002",
    "verified": True,
    "reviewTime": "10 4, 2016",
    "reviewerID": user,
    "asin": item,
    "style": {"Size:": " Large", "Color:": " Blue"},
    "reviewText": "ok",
    "unixReviewTime": day * _DAY,
    "image": ["https://images-na.ssl-images-amazon.com/images/I/71.jpg"],
  }


def _review_2023(user: str, item: str, millisecond: int, rating: float = 5.0) -> dict[str, Any]:
  return {
    "rating": rating,
    "title": "Works",
    "text": "Great.<br />Smells of almonds \U0001f600",
    "images": [],
    "asin": f"{item[:-1]}V",  # the variant
    "parent_asin": item,
    "user_id": user,
    "timestamp": millisecond,
    "helpful_vote": 0,
    "verified_purchase": True,
  }


# The item table of 2014 is Python: quotes are single unless the text holds one.
_META_2014 = [
  {
    "asin": "B000000001",
    "title": "Men's Comb &amp; Brush",
    "price": 1009.5,
    "imUrl": "http://ecx.images-amazon.com/images/I/1.jpg",
    "salesRank": {"Beauty": 3},
    "related": {"also_bought": ["B000000002"]},
    "brand": "L&#39;Oreal",
    "categories": [["Beauty", "Hair Care &amp; More", "Beauty"], ["Toys"]],
    "description": "A <b>fine</b> comb.\nReally caf\xe9.",
  },
  {"asin": "B000000002", "categories": [["Beauty"]], "brand": "Unknown", "description": "Shiny."},
  {"asin": "B000000077", "title": "Nobody's", "price": 3.0, "categories": [["Beauty"]]},
]
_META_2018 = [
  {
    "category": ["Clothing, Shoes &amp; Jewelry", "Men", "</span></span></span>"],
    "tech1": "",
    "description": ["", "Warm."],
    "title": "Hat &amp; Scarf",
    "also_buy": ["B000000002"],
    "brand": "Hut",
    "feature": ["100% wool", "Imported"],
    "rank": "3 in Clothing",
    "details": {},
    "price": "$1,012.99",
    "asin": "B000000001",
  },
  {
    "category": [],
    "title": "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();",
    "brand": "",
    "description": [],
    "price": "$7.98 - $13.00",
    "asin": "B000000002",
  },
  {"category": ["Later"], "title": "Hat again", "price": "$1", "asin": "B000000001"},
  {"category": [], "title": "Sock", "price": "", "asin": "B000000003"},
]
_META_2023 = [
  {
    "main_category": "All Beauty",
    "title": "Oil",
    "average_rating": 4.8,
    "features": ["Light", "Vegan"],
    "description": ["Oil &amp; more."],
    "price": 6.5,
    "images": [{"thumb": "https://m.media-amazon.com/images/I/4.jpg", "hi_res": None}],
    "store": "Howard",
    "categories": ["Beauty", "All Beauty", "Hair", "Beauty"],
    "details": {"UPC": "617390882781"},
    "parent_asin": "B000000001",
    "bought_together": None,
  },
  {
    "main_category": None,
    "title": "Soap",
    "features": [],
    "description": [],
    "price": None,
    "store": None,
    "categories": [],
    "parent_asin": "B000000002",
  },
  {"main_category": "Books", "title": "b", "price": "None", "parent_asin": "B000000003"},
]
_LOG = [
  ("U2", "B000000003", 3),
  ("U1", "B000000002", 2),
  ("U1", "B000000001", 1),
  ("U1", "B000000003", 2),
  ("U2", "B000000001", 1),
  ("U2", "B000000002", 2),
  ("U3", "B000000001", 1),
]
_FORMS = {
  "2014": (_review_2014, _META_2014, repr),
  "2018": (_review_2018, _META_2018, json.dumps),
  "2023": (_review_2023, _META_2023, json.dumps),
}
_BOTH_KINDS = pytest.mark.parametrize("end", ["", ".gz"])


def _write(file: Path, lines: list[str]) -> str:
  data = "".join(f"{line}\n" for line in lines).encode()
  file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
  return str(file)


def _reviews(file: Path, form: str = "2023", log: list[tuple] = _LOG) -> str:
  return _write(file, [json.dumps(_FORMS[form][0](*row)) for row in log])


def _metadata(file: Path, form: str) -> str:
  _, rows, write = _FORMS[form]
  return _write(file, [write(row) for row in rows])


def _read(folder: Path, form: str, end: str = "", **settings) -> dataset.Dataset:
  path = _reviews(folder / f"reviews_Beauty_5.json{end}", form)
  metadata = _metadata(folder / f"meta_Beauty.json{end}", form)
  return read_amazon_reviews(path, metadata_path=metadata, **settings)


def _categories(data: dataset.Dataset) -> list[list[str]]:
  return [data.items.categories_of(row) for row in range(data.items.num_items)]


@_BOTH_KINDS
@pytest.mark.parametrize(("form", "unit"), [("2014", _DAY), ("2018", _DAY), ("2023", 0)])
def test_reviews_of_every_form_become_histories(
  tmp_path: Path, form: str, unit: int, end: str
) -> None:
  data = read_amazon_reviews(_reviews(tmp_path / f"reviews_Beauty_5.json{end}", form))
  assert data.name == "reviews_Beauty_5"
  assert data.items.ids_N.tolist() == ["B000000001", "B000000002", "B000000003"]
  assert data.histories.user_ids_U.tolist() == ["U1", "U2"]
  # Of 2 and 3, which U1 met on one day, 2 comes first in the file.
  assert data.histories.item_T.tolist() == [0, 1, 2, 0, 1, 2]
  assert data.histories.time_T.tolist() == [day * unit for day in (1, 2, 2, 1, 2, 3)]
  assert data.histories.rating_T.tolist() == [5.0] * 6
  assert data.items.numeric == {}
  assert data.notes[:2] == (
    "dropped 1 user with fewer than 3 interactions",
    "the metadata lacks 3 items of the catalogue",
  )


def test_milliseconds_order_the_reviews_of_2023(tmp_path: Path) -> None:
  log = [("U", item, 1_588_687_728_000 + ms) for item, ms in [("a", 923), ("b", 922), ("c", 999)]]
  data = read_amazon_reviews(_reviews(tmp_path / "Beauty.jsonl", log=log))
  assert data.items.ids_N[data.histories.item_T].tolist() == ["b", "a", "c"]
  assert data.histories.time_T.tolist() == [1_588_687_728] * 3


def test_ids_of_digits_stay_text_and_keep_their_order(tmp_path: Path) -> None:
  log = [("7", item, time) for time, item in enumerate(["100", "20", "3"])]
  data = read_amazon_reviews(_reviews(tmp_path / "Books.json", "2014", log))
  assert data.items.ids_N.tolist() == ["3", "20", "100"]
  assert data.histories.user_ids_U.tolist() == ["7"]
  log = [("u", item, time) for time, item in enumerate(["0000031852", "B000000001", "100"])]
  data = read_amazon_reviews(_reviews(tmp_path / "Books.json", "2014", log))
  assert data.items.ids_N.tolist() == ["0000031852", "100", "B000000001"]


def test_the_rules_of_interactions_hold(tmp_path: Path) -> None:
  timeless = _review_2018("U1", "a", 9)
  del timeless["unixReviewTime"]
  log = [("U1", "a", 1), ("U1", "b", 2), ("U1", "a", 1), ("U1", "a", 3), ("U1", "c", 4)]
  lines = [_review_2018(*row) for row in log] + [timeless, _review_2018("", "a", 1)]
  path = _write(tmp_path / "x.json", [json.dumps(line) for line in lines])
  kept = read_amazon_reviews(path)
  assert kept.items.ids_N[kept.histories.item_T].tolist() == ["a", "b", "a", "c"]
  assert kept.notes[:3] == (
    "dropped 1 row without a user or item",
    "dropped 1 row without a time",
    "dropped 1 interaction that repeats another in user, item, time and rating",
  )
  first = read_amazon_reviews(path, repeats="first")
  assert first.items.ids_N[first.histories.item_T].tolist() == ["a", "b", "c"]
  with pytest.raises(ValueError, match="none of its 1 user has 5 or more"):
    read_amazon_reviews(path, 5)
  with pytest.raises(ValueError, match="repeats must be 'keep' or 'first', not 'last'"):
    read_amazon_reviews(path, repeats="last")


@_BOTH_KINDS
def test_metadata_of_2014(tmp_path: Path, end: str) -> None:
  data = _read(tmp_path, "2014", end)
  assert data.items.titles_N.tolist() == ["Men's Comb & Brush", "", ""]
  assert _categories(data) == [["Beauty", "Hair Care & More", "Beauty"], ["Beauty"], []]
  np.testing.assert_array_equal(data.items.numeric["price"], np.float32([1009.5, np.nan, np.nan]))
  assert data.items.text_N.tolist() == ["Brand: L'Oreal. A fine comb. Really café.", "Shiny.", ""]
  assert data.notes == (
    f"left out 1 line of meta_Beauty.json{end} about items without interactions",
    "1 of 2 described items have no title",
    "1 of 2 described items have no price",
    "dropped 1 user with fewer than 3 interactions",
    "the metadata lacks 1 item of the catalogue",
    "1 of 6 interactions share their user's previous timestamp; equal timestamps keep file order",
  )


@_BOTH_KINDS
def test_metadata_of_2018(tmp_path: Path, end: str) -> None:
  data = _read(tmp_path, "2018", end)
  assert data.items.titles_N.tolist() == ["Hat & Scarf", "", "Sock"]
  assert _categories(data) == [["Clothing, Shoes & Jewelry", "Men"], [], []]
  np.testing.assert_array_equal(data.items.numeric["price"], np.float32([1012.99, np.nan, np.nan]))
  assert data.items.text_N.tolist() == ["Brand: Hut. 100% wool Imported Warm.", "", ""]
  assert data.notes[:4] == (
    f"dropped 1 line of meta_Beauty.json{end} about items that an earlier describes",
    "1 of 3 described items have no title",
    "2 of 3 described items have no price",
    "the price of 1 of these is not one number, such as '$7.98 - $13.00'",
  )


@_BOTH_KINDS
def test_metadata_of_2023(tmp_path: Path, end: str) -> None:
  data = _read(tmp_path, "2023", end)
  assert data.items.titles_N.tolist() == ["Oil", "Soap", "b"]
  assert _categories(data) == [["All Beauty", "Beauty", "Hair"], [], ["Books"]]
  np.testing.assert_array_equal(data.items.numeric["price"], np.float32([6.5, np.nan, np.nan]))
  assert data.items.text_N.tolist() == ["Brand: Howard. Light Vegan Oil & more.", "", ""]
  assert data.notes[0] == "2 of 3 described items have no price"


@pytest.mark.parametrize(
  ("price", "expected"),
  [
    (12, 12),
    (".99", 0.99),
    ("$ 3.", 3),
    ("12.99", 12.99),
    ("1,234,567.5", 1_234_567.5),
    (True, None),
    ("from 12.99", None),
    ("-3", None),
    ("3.99.1", None),
    (".a-box-inner{background-color:#fff}", None),
    ("1e5", None),
    (["$1", "$2"], None),
  ],
)
def test_a_price_is_one_number(tmp_path: Path, price: Any, expected: float | None) -> None:
  file = Path(_write(tmp_path / "m.json", [json.dumps({"asin": "a", "price": price})]))
  found, _ = read_metadata(file, ["a"], 9)
  assert found["price"].to_list() == [expected]


def test_text_is_cut(tmp_path: Path) -> None:
  data = _read(tmp_path, "2018", max_characters=5)
  assert data.items.titles_N.tolist() == ["Hat &", "", "Sock"]
  assert data.items.text_N.tolist() == ["Brand", "", ""]
  assert _categories(data)[0] == ["Cloth", "Men"]
  with pytest.raises(ValueError, match="max_characters is 0; it must be at least 1"):
    _read(tmp_path, "2018", max_characters=0)


def test_half_a_surrogate_pair_does_not_reach_the_data_set(tmp_path: Path) -> None:
  file = Path(_write(tmp_path / "m.json", [r'{"asin": "a", "title": "x \ud83d y \ud83d\ude00"}']))
  assert read_metadata(file, ["a"], 99)[0]["title"].to_list() == ["x ? y \U0001f600"]


_SNIPPETS = st.sampled_from(
  ["'", '"', "\\", "\n", "asin", "'asin': 'a'", '"asin": "b"', "asin': ", ": ", ", ", "a", "é"]
)
_TEXTS = st.lists(_SNIPPETS, max_size=5).map("".join)
_NAMES = st.sampled_from(["asin", "parent_asin"])


@given(
  rows=st.lists(
    st.tuples(_TEXTS, _NAMES, st.sampled_from("abcd"), _TEXTS, st.booleans()), min_size=1
  )
)
def test_skipping_lines_unparsed_changes_nothing(tmp_path_factory, rows) -> None:
  """Whatever the texts beside the id hold, an item is found if and only if it is wanted."""
  folder = tmp_path_factory.mktemp("metadata")
  whole = [
    ({"title": title, name: id_, "description": text}, repr if python else json.dumps)
    for title, name, id_, text, python in rows
  ]
  file = Path(_write(folder / "m.json", [write(row) for row, write in whole]))
  first: dict[str, str] = {}
  for (row, _), (_, name, id_, _, _) in zip(whole, rows, strict=True):
    first.setdefault(id_, row["title"])
    assert row[name] == id_
  expected = {id_: " ".join(title.split()) for id_, title in first.items() if id_ in "ac"}
  if not expected:
    with pytest.raises(ValueError, match="describes none of the 2 items"):
      read_metadata(file, ["a", "c"], 999)
    return
  found, _ = read_metadata(file, ["a", "c"], 999)
  assert dict(found.select("item", "title").iter_rows()) == expected


def test_lines_of_other_items_are_not_parsed(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  parsed = []
  parse = amazon_lines.parse_line
  monkeypatch.setattr(
    "sidrec.data.sources.amazon_metadata.parse_line",
    lambda *line: parsed.append(line[1]) or parse(*line),
  )
  lines = [repr({"asin": f"B{number:09}", "title": "it's"}) for number in range(1, 99)]
  found, _ = read_metadata(Path(_write(tmp_path / "m.json", lines)), ["B000000007"], 9)
  assert found["item"].to_list() == ["B000000007"]
  assert parsed == [7]


def test_unusual_spellings_of_ids_are_found(tmp_path: Path) -> None:
  lines = [r'{"\u0061sin": "a"}', '{"asin" :\t"\\u0062"}', '{"asin": 3}', '{"title": "x"}', "{}"]
  lines.append(r'{"asin": "\u007a"}')
  found, notes = read_metadata(Path(_write(tmp_path / "m.json", lines)), ["a", "b", "3"], 9)
  assert found["item"].to_list() == ["a", "b", "3"]
  assert notes[:2] == (
    "left out 1 line of m.json about items without interactions",
    "dropped 2 lines of m.json without an id",
  )


def test_blank_lines_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
  plain = read_amazon_reviews(_reviews(tmp_path / "plain.json", "2014"))
  text = (tmp_path / "plain.json").read_text().replace("\n", "\r\n \r\n").rstrip()
  (tmp_path / "other.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
  other = read_amazon_reviews(str(tmp_path / "other.json"))
  for expected, found in zip(plain.histories, other.histories, strict=True):
    np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    (b'{"user_id": "U1", "pare', "neither JSON (Unterminated string starting at: line 1 column "),
    (b"[1, 2]", "expected an object with names: '[1, 2]'"),
    (b"None", "expected an object with names: 'None'"),
    (b'{"user_id": "\xff"}', 'not UTF-8 (invalid start byte): \'{"user_id": "�"}\''),
    (b"{'user_id': __import__('os')}", "neither JSON (Expecting property name enclosed in "),
    (b"[" * 100_000, "neither JSON ("),
    (b'{"user_id": "U", "parent_asin": "a", "timestamp": "x"}', "the time 'x' is no number"),
    (b'{"user_id": "U", "parent_asin": "a", "timestamp": 1e18}', "the time '1e+18' lies beyond"),
    (
      b'{"user_id": "U", "parent_asin": "a", "timestamp": 1, "rating": [5]}',
      "the rating '[5]' is no number",
    ),
  ],
)
def test_a_malformed_review_is_named(tmp_path: Path, line: bytes, fault: str) -> None:
  path = _reviews(tmp_path / "Beauty.jsonl")
  content = (tmp_path / "Beauty.jsonl").read_bytes()
  (tmp_path / "Beauty.jsonl").write_bytes(b"\n" + content + line + b"\n" + content)
  with pytest.raises(ValueError, match=f"^{re.escape(f'{path}:9: {fault}')}"):
    read_amazon_reviews(path)


def test_a_malformed_item_is_named(tmp_path: Path) -> None:
  path = _reviews(tmp_path / "reviews.json", "2014")
  metadata = _metadata(tmp_path / "meta.json", "2014")
  with (tmp_path / "meta.json").open("a") as file:
    file.write("{'asin': 'B000000003', 'title': 'x\n")
  with pytest.raises(
    ValueError, match=rf"^{re.escape(metadata)}:4: neither JSON \(Expecting.*lite"
  ):
    read_amazon_reviews(path, metadata_path=metadata)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
  reviews = _reviews(tmp_path / "reviews.json", "2014")
  metadata = _metadata(tmp_path / "meta.json", "2014")
  with pytest.raises(ValueError, match=r"meta\.json holds no Amazon reviews: .* but asin, title,"):
    read_amazon_reviews(metadata)
  with pytest.raises(
    ValueError, match=r"reviews\.json:1 is a review; metadata has a line for each"
  ):
    read_amazon_reviews(reviews, metadata_path=reviews)
  other = _write(tmp_path / "other.json", ["{'asin': 'X'}"])
  with pytest.raises(ValueError, match=r"other\.json describes none of the 3 items that were"):
    read_amazon_reviews(reviews, metadata_path=other)
  with pytest.raises(ValueError, match=r"empty\.json holds no Amazon reviews: .* but nothing$"):
    read_amazon_reviews(_write(tmp_path / "empty.json", []))
  for content in (b"no gzip", gzip.compress((tmp_path / "reviews.json").read_bytes())[:-12]):
    (tmp_path / "x.json.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json\.gz is not a readable gzip file: "):
      read_amazon_reviews(str(tmp_path / "x.json.gz"))
  timeless = _write(tmp_path / "timeless.json", ['{"user_id": "U", "parent_asin": "a"}'])
  with pytest.raises(ValueError, match="has no column 'timestamp', which was to be its time"):
    read_amazon_reviews(timeless)


@pytest.mark.parametrize("function", [read_amazon_reviews, signature_amazon_reviews])
def test_missing_files_are_named_before_anything_is_read(tmp_path: Path, function) -> None:
  broken = _write(tmp_path / "reviews.json", ["{"])
  with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.json$"):
    function(broken, metadata_path=str(tmp_path / "nowhere.json"))
  with pytest.raises(FileNotFoundError, match="there is no file"):
    function(str(tmp_path))
  with pytest.raises(ValueError, match="need a path: the file of the reviews"):
    function("")


def test_the_signature_changes_with_the_files(tmp_path: Path) -> None:
  path = _reviews(tmp_path / "reviews.json")
  metadata = _metadata(tmp_path / "meta.json", "2023")
  found = [
    signature_amazon_reviews(path),
    signature_amazon_reviews(path, metadata_path=metadata, repeats="keep", max_characters=9),
  ]
  assert json.loads(json.dumps(found)) == found
  assert found[1] == signature_amazon_reviews(path, metadata_path=metadata)
  with (tmp_path / "meta.json").open("a") as file:
    file.write("\n")
  found.append(signature_amazon_reviews(path, metadata_path=metadata))
  assert found[0] != found[1] != found[2]
