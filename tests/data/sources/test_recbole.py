"""Atomic files: types in the header, columns told by name, and the same rules as for tables."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from sidrec.data.sources import recbole

_INTER = (
  "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
  "u1\t7\t5\t881250949.0\nu1\t9\t3\t881250948\nu1\t8\t\t881250950\n"
)
_ITEM = (
  "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float\t"
  "vector:float_seq\tstudio:token\n"
  '7\t"Toy" Story\t1995\tAnimation Children\'s\t1.5\t0.1 0.2\tP\n'
  "9\tGoldenEye, 2\tV\tAction\t\t0.1 0.2\tQ\n"
  "1\tUnseen\t1990\tWar\t2\t0 0\tR\n"
)


def _write(folder: Path, inter: str = _INTER, item: str = _ITEM) -> str:
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "toy.inter").write_text(inter, encoding="utf-8")
  if item:
    (folder / "toy.item").write_text(item, encoding="utf-8")
  (folder / "toy.user").write_text("user_id:token\tage:float\nu1\t30\n")
  return str(folder)


def test_atomic_files_become_a_data_set(tmp_path: Path) -> None:
  data = recbole.read_atomic(_write(tmp_path))
  assert data.name == "toy"
  assert data.items.ids_N.tolist() == [7, 8, 9]
  assert data.histories.user_ids_U.tolist() == ["u1"]
  assert data.histories.item_T.tolist() == [2, 0, 1]
  assert data.histories.time_T.tolist() == [881250948, 881250949, 881250950]
  np.testing.assert_array_equal(data.histories.rating_T, [3, 5, np.nan])
  assert data.items.titles_N.tolist() == ['"Toy" Story', "", "GoldenEye, 2"]
  assert [data.items.categories_of(row) for row in range(3)] == [
    ["Animation", "Children's"], [], ["Action"]
  ]  # fmt: skip
  np.testing.assert_array_equal(data.items.numeric["year"], [1995, np.nan, np.nan])
  np.testing.assert_array_equal(data.items.numeric["price"], [1.5, np.nan, np.nan])
  assert list(data.items.numeric) == ["year", "price"]
  assert data.notes == (
    "1 of 3 items of toy.item have no release_year",
    "columns of toy.item that are not used: vector, studio",
    "1 of 3 items have no interaction left and are not in the catalogue",
    "the metadata lacks 1 item of the catalogue",
    "0 of 3 interactions share their user's previous timestamp; equal timestamps keep file order",
  )


def test_the_file_itself_and_compressed_files_say_the_same(tmp_path: Path) -> None:
  folder = Path(_write(tmp_path))
  expected = recbole.read_atomic(str(folder))
  assert recbole.read_atomic(str(folder / "toy.inter")).notes == expected.notes
  for name in ("toy.inter", "toy.item"):
    (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    (folder / name).unlink()
  for path in (folder, folder / "toy.inter.gz"):
    found = recbole.read_atomic(str(path))
    assert found.name == "toy"
    for part in ("histories", "items"):
      np.testing.assert_equal(getattr(found, part)._asdict(), getattr(expected, part)._asdict())


@pytest.mark.parametrize(
  ("column", "values", "expected"),
  [
    ("genre:token_seq", ["Drama, Sci Fi", "War"], [["Drama", "Sci Fi"], ["War"]]),
    ("genre:token_seq", ["Drama|Sci Fi", "War"], [["Drama", "Sci Fi"], ["War"]]),
    ("genre:token_seq", ["Drama SciFi", ""], [["Drama", "SciFi"], []]),
    ("brand:token", ["Kids, Toys Inc", ""], [["Kids, Toys Inc"], []]),
    (
      "categories:token_seq",
      ["'Clothing, Shoes', \"Men's\"", "['Books']"],
      [["Clothing, Shoes", "Men's"], ["Books"]],
    ),
  ],
)
def test_categories_are_split(
  tmp_path: Path, column: str, values: list[str], expected: list[list[str]]
) -> None:
  item = f"item_id:token\t{column}\n7\t{values[0]}\n9\t{values[1]}\n"
  data = recbole.read_atomic(_write(tmp_path, item=item))
  assert [data.items.categories_of(row) for row in (0, 2)] == expected


@pytest.mark.parametrize(
  ("columns", "row", "title", "categories", "text", "numeric"),
  [
    ("title:token\tdescription:token_seq", "A\tb c", "A", [], "b c", {}),
    ("title:token\tsubtitle:token", "A\tB", "A", [], "", {}),
    ("name:token_seq\ttags:token_seq", "A B\tx y", "A B", ["x", "y"], "", {}),
    ("class:token_seq\tgenre:token_seq", "x\tx y", "", ["x", "y"], "", {}),
    ("year:float\ttitle:float", "1990.0\t3", "", [], "", {"year": 1990}),
    ("year:float\tother_year:float", "1990\t3", "", [], "", {"year": 1990, "other_year": 3}),
    ("text:token_seq\tsummary:token", "a\tb", "", [], "a b", {}),
  ],
)
def test_columns_are_told_by_name(
  tmp_path: Path, columns: str, row: str, title: str, categories: list, text: str, numeric: dict
) -> None:
  data = recbole.read_atomic(_write(tmp_path, item=f"item_id:token\t{columns}\n7\t{row}\n"))
  assert data.items.titles_N[0] == title
  assert data.items.categories_of(0) == categories
  assert data.items.text_N[0] == text
  assert {name: column[0] for name, column in data.items.numeric.items()} == numeric


def test_without_times_items_and_ratings(tmp_path: Path) -> None:
  inter = "session_id:token\titem_id:token\n" + "".join(f"s\t{k}\n" for k in (3, 1, 2))
  data = recbole.read_atomic(
    _write(tmp_path, inter, item=""), columns={**recbole.COLUMNS, "user": "session_id"}
  )
  assert data.items.ids_N[data.histories.item_T].tolist() == [3, 1, 2]
  assert data.notes[0] == "there is no column of times: the order of the file stands for time"
  assert np.isnan(data.histories.rating_T).all()


def test_repeats(tmp_path: Path) -> None:
  inter = _INTER + "u1\t7\t5\t881250949\nu1\t7\t1\t5\n"  # a duplicate, and an older repeat
  path = _write(tmp_path, inter, item="")
  kept = recbole.read_atomic(path)
  assert kept.items.ids_N[kept.histories.item_T].tolist() == [7, 9, 7, 8]
  assert kept.notes[0].startswith("dropped 1 interaction that repeats another")
  first = recbole.read_atomic(path, repeats="first")
  assert first.items.ids_N[first.histories.item_T].tolist() == [7, 9, 8]
  with pytest.raises(ValueError, match="'keep' or 'first', not 'x'"):
    recbole.read_atomic(path, repeats="x")


@pytest.mark.parametrize(
  ("inter", "item", "fault"),
  [
    ("", "", "toy.inter is empty"),
    (_INTER.split("\n")[0] + "\n", "", "toy.inter names its columns and has no row"),
    (_INTER.replace("rating:float", "rating"), "", "toy.inter:1: the column 'rating' does not say"),
    (_INTER.replace("rating:float", "rating:int"), "", "toy.inter:1: the column 'rating:int' does"),
    (
      _INTER.replace("rating:float", "item_id:float"),
      "",
      "toy.inter:1: two columns are called 'it",
    ),
    (_INTER.replace("user_id", "uid"), "", "has no column 'user_id', which was to be its user"),
    (_INTER.replace("\t3\t", "\tx\t"), "", "toy.inter:3: the rating 'x' is no number"),
    (_INTER.replace("881250948", "soon"), "", "toy.inter:3: the time 'soon' is no number"),
    (_INTER.replace("\t3\t", "\t"), "", "toy.inter:3: 3 values for the 4 columns"),
    (_INTER, _ITEM.replace("item_id", "id"), "toy.item has no column 'item_id'"),
    (_INTER, _ITEM.replace("1.5", "cheap"), "toy.item:2: the price 'cheap' is no number"),
  ],
)
def test_faults_are_named(tmp_path: Path, inter: str, item: str, fault: str) -> None:
  with pytest.raises(ValueError, match=re.escape(fault)):
    recbole.read_atomic(_write(tmp_path, inter, item))


def test_places(tmp_path: Path) -> None:
  with pytest.raises(ValueError, match="atomic files need a path"):
    recbole.read_atomic("")
  with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*nowhere"):
    recbole.read_atomic(str(tmp_path / "nowhere"))
  with pytest.raises(FileNotFoundError, match=r"has no \.inter file"):
    recbole.signature_atomic(str(tmp_path))
  folder = Path(_write(tmp_path))
  with pytest.raises(ValueError, match=r"toy\.item is no atomic file of interactions"):
    recbole.read_atomic(str(folder / "toy.item"))
  (folder / "toy.valid.inter").write_text(_INTER)
  with pytest.raises(ValueError, match=r"has several \.inter files; name one: .*toy\.inter, .*toy"):
    recbole.read_atomic(str(folder))
  assert recbole.read_atomic(str(folder / "toy.inter")).histories.num_users == 1


def test_the_signature_changes_with_the_files(tmp_path: Path) -> None:
  path = _write(tmp_path)
  first = recbole.signature_atomic(path, repeats="keep")
  assert json.loads(json.dumps(first)) == first
  (tmp_path / "toy.item").write_text(_ITEM + "2\tx\t1\tx\t1\t1\tx\n")
  second = recbole.signature_atomic(path)
  (tmp_path / "toy.item").unlink()
  assert first != second != recbole.signature_atomic(path) != first
