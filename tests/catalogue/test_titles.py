"""Titles as people write them."""

import time
import unicodedata

import pytest

from sidrec.catalogue.titles import Names, find_titles, loose_key, title_key

TITLES = [
  "Toy Story (1995)",
  "Aliens (1986)",
  "Matrix, The (1999)",
  "Good, The Bad and The Ugly, The (1966)",
  "Sabrina (1954)",
  "Sabrina (1995)",
  "Misérables, Les (1995)",
  "",
]


@pytest.mark.parametrize(
  ("text", "items"),
  [
    ("Toy Story (1995), Aliens (1986)", [0, 1]),
    ("toy story, ALIENS", [0, 1]),
    ("Matrix, The (1999)", [2]),
    ("The Matrix (1999),Toy Story (1995)", [2, 0]),
    ("The Matrix, Aliens", [2, 1]),
    ("Good, The Bad and The Ugly, The (1966), Aliens (1986)", [3, 1]),
    ("Sabrina (1995)", [5]),
    ("Les Misérables", [6]),
    ("Aliens (1986), Aliens (1986)", [1, 1]),
  ],
)
def test_found(text, items):
  found = find_titles(text, TITLES)
  assert found.items == items
  assert found.missing == {}


def test_not_found_comes_with_near_matches():
  found = find_titles("Toy Storey (1995), Aliens (1986)", TITLES)
  assert found.items == [1]
  assert found.missing["Toy Storey (1995)"][0] == "Toy Story (1995)"


def test_an_unknown_title_with_commas_stays_whole():
  found = find_titles("Crouching, Hiding, The (2000), Aliens", TITLES)
  assert found.items == [1]
  assert list(found.missing) == ["Crouching, Hiding, The (2000)"]


def test_an_ambiguous_title_needs_its_year():
  found = find_titles("Sabrina", TITLES)
  assert found.items == []
  assert found.ambiguous == {"Sabrina": [4, 5]}


def test_another_year_is_not_found():
  assert find_titles("Aliens (1999)", TITLES).items == []


@pytest.mark.parametrize("text", ["", " , ,", ","])
def test_nothing(text):
  assert find_titles(text, TITLES) == ([], {}, {}, {})


SHOP = ["C# mug", "C++ mug", "AA+ battery", "AA- battery", "???", "मेला", "माला", "Amélie"]
SHOP += ["T-shirt", "T-shirt", "Doe", "Jane", "Doe, Jane", "iPad", "IPAD"]


@pytest.mark.parametrize("row", [*range(8), 10, 11, 12, 13, 14])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_exact_title_finds_its_own_item(row, form):
  found = find_titles(f" {unicodedata.normalize(form, SHOP[row])} ", SHOP)
  assert found == ([row], {}, {}, {})


@pytest.mark.parametrize(
  ("text", "items"), [("c++ MUG", [1]), ("C#  mug, aa+ Battery", [0, 2]), ("doe, Jane", [12])]
)
def test_case_and_blanks_do_not_count(text, items):
  assert find_titles(text, SHOP) == (items, {}, {}, {})


def test_two_items_of_one_title_are_both_named():
  assert find_titles("T-shirt, ipad", SHOP).ambiguous == {"T-shirt": [8, 9], "ipad": [13, 14]}


def test_signs_may_be_left_out_only_where_no_title_is_exact():
  assert find_titles("C mug", SHOP).ambiguous == {"C mug": [0, 1]}
  assert find_titles("C mug", SHOP[1:]) == ([0], {}, {"C mug": 0}, {})
  assert find_titles("The Matrix", TITLES).loose == {"The Matrix": 2}
  # The sign that was written decides between titles without their years.
  assert find_titles("C#", ["C++ (1985)", "C# (2000)"]).items == [1]


def test_accents_are_never_left_out():
  assert find_titles("Amelie", SHOP).items == []
  assert find_titles("मला", SHOP).items == []


@pytest.mark.parametrize("text", [800 * ",", 300 * "a,", 50 * "The, ", 20_000 * ","])
def test_many_commas_take_no_time(text):
  """800 commas took 2.1 seconds."""
  titles = [f"Film {i}, The ({1900 + i % 100})" for i in range(2000)] + [100 * "a,"]
  start = time.perf_counter()
  find_titles(text, titles)
  assert time.perf_counter() - start < 1


def test_the_longest_run_is_the_name():
  names = Names({"a": [0], "a, b": [1], "a, b, c, d": [2], "c": [3]}, str, ",")
  pieces = ["a", " b", " c", " e"]
  assert names.longest(pieces, 0) == (2, [1])
  assert names.longest(pieces, 2) == (3, [3])
  assert names.longest(pieces, 3) is None
  assert names.longest(["a", " b", " c", " d"], 0) == (4, [2])


def test_keys():
  assert title_key(" Matrix,  THE (1999)") == "matrix, the (1999)"
  assert loose_key("Matrix, The! (1999)") == "matrix the 1999"
