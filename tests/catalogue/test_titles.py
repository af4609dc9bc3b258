"""Titles as people write them."""

import pytest

from sidrec.catalogue.titles import find_titles, title_key

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
  assert set(found.missing["Sabrina"]) >= {"Sabrina (1954)", "Sabrina (1995)"}


def test_another_year_is_not_found():
  assert find_titles("Aliens (1999)", TITLES).items == []


@pytest.mark.parametrize("text", ["", " , ,", ","])
def test_nothing(text):
  assert find_titles(text, TITLES) == ([], {})


def test_key_moves_articles():
  assert title_key("Matrix, The (1999)") == title_key("The  matrix (1999)") == "the matrix (1999)"
