"""The data shipped in the package."""

from importlib import resources

import numpy as np
import pytest

from sidrec.data.sources.demo import read_demo, signature_demo


def test_counts_and_columns() -> None:
  data = read_demo()
  histories, items = data.histories, data.items
  assert len(histories.item_T) == 68_055
  assert histories.num_users == 4_333
  assert items.num_items == 2_414
  assert histories.lengths_U.min() == 5
  assert histories.lengths_U.max() == 275
  assert np.bincount(histories.item_T).min() == 5
  assert (histories.rating_T.min(), histories.rating_T.max()) == (0, 10)
  assert histories.user_ids_U.dtype == np.int64
  assert items.ids_N.dtype.kind == "T"
  assert items.ids_N[0] == "0013442"
  assert items.titles_N[0] == "Nosferatu, eine Symphonie des Grauens (1922)"
  assert items.numeric["year"][0] == 1922
  assert items.categories_of(0) == ["Horror"]
  assert not np.isnan(items.numeric["year"]).any()
  assert (items.titles_N != "").all()
  assert data.notes == (
    "2 of 68,055 interactions share their user's previous timestamp; "
    "equal timestamps keep file order",
  )


def test_the_first_user() -> None:
  data = read_demo()
  rated = data.items.ids_N[data.histories.of(0)].tolist()
  assert data.histories.user_ids_U[0] == 8
  assert rated[:2] == ["0385002", "1462900"]
  assert data.histories.time_T[:2].tolist() == [1363061522, 1363946231]


def test_min_interactions() -> None:
  data = read_demo(min_interactions=50)
  assert data.histories.lengths_U.min() >= 50
  assert data.notes[0].endswith("users with fewer than 50 interactions")


def test_the_licence_and_the_citation_come_along() -> None:
  folder = resources.files("sidrec.data").joinpath("movietweetings")
  assert "Copyright (c) 2013 Simon Dooms" in folder.joinpath("LICENSE").read_text()
  assert "CrowdRec" in folder.joinpath("README.md").read_text()


def test_signature_and_path() -> None:
  assert signature_demo() == signature_demo()
  assert set(signature_demo()) == {"demo_5core.tsv.gz", "demo_items.tsv.gz"}
  for function in (read_demo, signature_demo):
    with pytest.raises(ValueError, match="takes no path, but got '/data'"):
      function("/data")
