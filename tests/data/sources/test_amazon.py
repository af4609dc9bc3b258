"""Amazon sequences: what the files say, and where they are looked for."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from sidrec.data.sources.amazon import read_sequences, signature_sequences

_SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
_SEQUENCES = "7 10 2 30\n3 2 10 2 4\n12 30 2\n"
_ITEMS = (
  "item_id\tasin\ttitle\tbrand\tcategories\tkeywords\n"
  "2\tB2\tCrème\tL&#39;Oreal\tBeauty > Skin Care > Face\tcreme face\n"
  "10\tB10\t Comb \tUnknown\tBeauty > Hair > Beauty\tcomb\n"
  "9\tB9\tNever bought\tX\tBeauty\tx\n"
  "30\tB30\t\tOPI\t\t\n"
)


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.delenv("SIDREC_DATA_DIR", raising=False)


def _write(folder: Path, sequences: str = _SEQUENCES, items: str | None = _ITEMS) -> str:
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "Beauty.txt").write_text(sequences)
  if items is not None:
    (folder / "items.tsv").write_text(items)
  return str(folder)


def test_the_files_become_a_data_set(tmp_path: Path) -> None:
  data = read_sequences("amazon-beauty", _write(tmp_path))
  items, histories = data.items, data.histories
  assert data.name == "amazon-beauty"
  assert items.ids_N.tolist() == [2, 4, 10, 30]
  assert items.titles_N.tolist() == ["Crème", "", "Comb", ""]
  assert [items.categories_of(row) for row in range(4)] == [
    ["Beauty", "Skin Care", "Face"],
    [],
    ["Beauty", "Hair", "Beauty"],
    [],
  ]
  assert items.text_N.tolist() == ["Brand: L'Oreal. creme face", "", "comb", "Brand: OPI"]
  assert histories.user_ids_U.tolist() == [3, 7]
  assert [histories.of(user).tolist() for user in range(2)] == [[0, 2, 0, 1], [2, 0, 3]]
  assert histories.time_T.tolist() == [0, 1, 2, 3, 0, 1, 2]
  assert np.isnan(histories.rating_T).all()
  assert data.notes == (
    "the source has no times: a time is the interaction's place in its user's history",
    "the source has no ratings",
    "1 of 4 items have no title",
    "dropped 1 user with fewer than 3 interactions",
    "1 of 4 items have no interaction left and are not in the catalogue",
    "the metadata lacks 1 item of the catalogue",
    "0 of 7 interactions share their user's previous timestamp; equal timestamps keep file order",
  )


def test_gzip_line_ends_column_order_and_a_missing_last_newline_do_not_matter(
  tmp_path: Path,
) -> None:
  plain = read_sequences("amazon-beauty", _write(tmp_path / "plain"))
  folder = tmp_path / "other"
  folder.mkdir()
  backwards = "\n".join("\t".join(line.split("\t")[::-1]) for line in _ITEMS.splitlines())
  for name, text in [("Beauty.txt", _SEQUENCES), ("items.tsv", backwards)]:
    text = text.replace("\n", "\r\n").removesuffix("\r\n")
    (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
  other = read_sequences("amazon-beauty", str(folder))
  for expected, found in zip(plain.histories, other.histories, strict=True):
    np.testing.assert_array_equal(expected, found)
  np.testing.assert_array_equal(plain.items.titles_N, other.items.titles_N)
  np.testing.assert_array_equal(plain.items.text_N, other.items.text_N)


def test_without_an_item_table_everything_about_items_is_missing(tmp_path: Path) -> None:
  data = read_sequences("amazon-beauty", _write(tmp_path, items=None))
  assert data.items.titles_N.tolist() == data.items.text_N.tolist() == [""] * 4
  assert len(data.items.category_E) == 0
  note = "the folder of Beauty.txt has no items.tsv: nothing is known of the items"
  assert note in data.notes
  assert "the metadata lacks 4 items of the catalogue" in data.notes


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    ("", "0 fields instead of `user item item …`"),
    ("5", "1 fields instead of `user item item …`"),
    ("5 1 x", "a field is not a whole number"),
    ("5 1 -2", "a field is not a whole number"),
    ("5 1 2.0", "a field is not a whole number"),
    ("5 1 " + "9" * 19, "a field is not a whole number"),
    ("5 1 0 2", "item ids count from 1, but one is 0"),
    ("7 1 2 3", "user 7 stands on line 1 already"),
  ],
)
def test_a_malformed_sequence_is_named(tmp_path: Path, line: str, fault: str) -> None:
  lines = _SEQUENCES.splitlines()
  path = _write(tmp_path, "\n".join([*lines[:2], line, *lines[2:]]))
  pattern = f"^{re.escape(f'{tmp_path}/Beauty.txt:3: {fault}: {line!r}')}$"
  with pytest.raises(ValueError, match=pattern):
    read_sequences("amazon-beauty", path)


@pytest.mark.parametrize(
  ("line", "fault"),
  [
    ("5\tB5\ttitle\tbrand\tBeauty", "5 fields instead of 6"),
    ("x\tB5\ttitle\tbrand\tBeauty\tk", "the item id is not a whole number"),
    ("10\tB5\ttitle\tbrand\tBeauty\tk", "item 10 stands on line 3 already"),
    ("5\tB5\tt\udcff\tbrand\tBeauty\tk", "the text is not utf-8"),
  ],
)
def test_a_malformed_item_is_named(tmp_path: Path, line: str, fault: str) -> None:
  path = _write(tmp_path)
  (tmp_path / "items.tsv").write_bytes((_ITEMS + line).encode("utf-8", "surrogateescape"))
  with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}/items.tsv:6: {fault}: ')}"):
    read_sequences("amazon-beauty", path)


def test_missing_columns_and_damaged_or_empty_files_are_named(tmp_path: Path) -> None:
  path = _write(tmp_path, items="item_id\tname\tcategories\n")
  with pytest.raises(ValueError, match=r"items\.tsv:1: no column title, brand, keywords: 'item_id"):
    read_sequences("amazon-beauty", path)
  _write(tmp_path, sequences="")
  with pytest.raises(ValueError, match=r"Beauty\.txt:1: 0 fields"):
    read_sequences("amazon-beauty", path)
  (tmp_path / "Beauty.txt").unlink()
  for content in (b"no gzip", gzip.compress(_SEQUENCES.encode())[:-12]):
    (tmp_path / "Beauty.txt.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"Beauty\.txt\.gz is not a readable gzip file"):
      read_sequences("amazon-beauty", path)


@pytest.mark.parametrize("function", [read_sequences, signature_sequences])
def test_the_folder_is_the_path_or_below_the_data_folder(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function
) -> None:
  with pytest.raises(FileNotFoundError, match=r"give the path .* \$SIDREC_DATA_DIR/amazon-sports"):
    function("amazon-sports")
  monkeypatch.setenv("SIDREC_DATA_DIR", str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"amazon-sports \(SIDREC_DATA_DIR\) is not a folder"):
    function("amazon-sports")
  _write(tmp_path / "amazon-beauty")
  given = str(tmp_path / "amazon-beauty")
  function("amazon-beauty")
  with pytest.raises(FileNotFoundError, match=r"path given\) has no Sports_and_Outdoors\.txt or"):
    function("amazon-sports", given)
  with pytest.raises(FileNotFoundError, match=r"nowhere \(the path given\) is not a folder"):
    function("amazon-beauty", str(tmp_path / "nowhere"))


def test_the_signature_changes_with_the_files(tmp_path: Path) -> None:
  path = _write(tmp_path)
  first = signature_sequences("amazon-beauty", path)
  assert signature_sequences("amazon-beauty", path) == first
  _write(tmp_path, sequences=_SEQUENCES + "99 1 2 3\n")
  second = signature_sequences("amazon-beauty", path)
  (tmp_path / "items.tsv").unlink()
  third = signature_sequences("amazon-beauty", path)
  assert first != second != third != first


@pytest.mark.skipif(
  not (_SHARED / "amazon-beauty").is_dir(), reason="the Amazon data is not beside the checkout"
)
@pytest.mark.parametrize(
  ("source", "users", "items", "interactions"),
  [("amazon-beauty", 22_363, 12_101, 198_502), ("amazon-sports", 35_598, 18_357, 296_337)],
)
def test_the_real_data(source: str, users: int, items: int, interactions: int) -> None:
  data = read_sequences(source, str(_SHARED / source))
  assert data.histories.num_users == users
  assert data.items.num_items == items
  assert len(data.histories.item_T) == interactions
  assert data.items.ids_N.tolist() == list(range(1, items + 1))
  assert data.histories.lengths_U.min() == np.bincount(data.histories.item_T).min() == 5
  assert (np.diff(data.items.category_offsets_Np1) > 0).mean() > 0.99
  assert (data.items.text_N != "").mean() > 0.99
  assert (data.items.titles_N != "").all() == (source == "amazon-beauty")
  root_N = [data.items.categories_of(row)[:1] for row in range(items)]
  assert source != "amazon-beauty" or all(root == ["Beauty"] for root in root_N)


def test_sequences_of_any_name_may_count_from_0(tmp_path: Path) -> None:
  file = tmp_path / "Toys.seq.txt.gz"
  file.write_bytes(gzip.compress(b"0 0 1 2\n1 2 0 1 0\n"))
  for path in (file, tmp_path):
    data = read_sequences("sequences", str(path))
    assert data.name == "Toys"
    assert data.items.ids_N.tolist() == [0, 1, 2]
    assert [data.histories.of(user).tolist() for user in range(2)] == [[0, 1, 2], [2, 0, 1, 0]]
    assert signature_sequences("sequences", str(path))["files"][0][0] == str(file)
  (tmp_path / "items.tsv").write_text("item_id\tbrand\n2\tOPI\n0\t\n")
  data = read_sequences("sequences", str(file))
  assert data.items.text_N.tolist() == ["", "", "Brand: OPI"]
  assert data.items.titles_N.tolist() == [""] * 3
  assert "2 of 2 items have no title" in data.notes


def test_a_folder_of_sequences_has_one_file(tmp_path: Path) -> None:
  with pytest.raises(FileNotFoundError, match=r"given\) has no file of sequences, \*\.txt or"):
    read_sequences("sequences", str(tmp_path))
  for name in ("a.txt", "b.txt.gz"):
    (tmp_path / name).touch()
  with pytest.raises(ValueError, match=r"several files .* name one: a\.txt, b\.txt\.gz$"):
    read_sequences("sequences", str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"c\.txt \(the path given\) is not a file or folder"):
    signature_sequences("sequences", str(tmp_path / "c.txt"))


def test_columns_of_any_name_do_not_disturb_the_item_table(tmp_path: Path) -> None:
  plain = read_sequences("amazon-beauty", _write(tmp_path))
  names = ["number", "line", "count", "whole", "first"]
  lines = _ITEMS.splitlines()
  others = ["\t".join(["0"] * len(names))] * (len(lines) - 1)
  more = "".join(f"{a}\t{b}\n" for a, b in zip(["\t".join(names), *others], lines, strict=True))
  data = read_sequences("amazon-beauty", _write(tmp_path, items=more))
  np.testing.assert_equal(data.items._asdict(), plain.items._asdict())


@pytest.mark.skipif(
  not (_SHARED / "lcrec-letter-ids").is_dir(), reason="LC-Rec's data is not beside the checkout"
)
def test_the_sequences_of_lc_rec() -> None:
  data = read_sequences("sequences", str(_SHARED / "lcrec-letter-ids/Instruments.seq.txt.gz"))
  assert data.name == "Instruments"
  assert (data.histories.num_users, data.items.num_items) == (24_772, 9_922)
  assert len(data.histories.item_T) == 206_153
  assert data.items.ids_N.tolist() == list(range(9_922))
  assert data.histories.lengths_U.min() == 5
