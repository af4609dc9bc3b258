"""Lines of text files, their fields and their faults."""

import csv
import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidrec.data.sources import line_frames

_FIELDS = st.text(st.sampled_from('a,"é ='), max_size=5)


def test_lines_are_numbered_whatever_ends_and_packs_them(tmp_path: Path) -> None:
  (tmp_path / "a").write_bytes(b"\xef\xbb\xbfx\r\n\ny\r\n\n")
  (tmp_path / "b.gz").write_bytes(gzip.compress(b"x\n\ny"))
  for name in ("a", "b.gz"):
    rows = line_frames.read_lines(tmp_path / name).rows()
    assert rows == [(1, "x"), (2, ""), (3, "y")]
  (tmp_path / "a").write_bytes(b"\n")
  assert len(line_frames.read_lines(tmp_path / "a")) == 0


def test_the_line_that_is_not_text_is_named(tmp_path: Path) -> None:
  (tmp_path / "a").write_bytes(b"x\n\xff\n")
  with pytest.raises(ValueError, match=r"a:2: the text is not utf-8: invalid start byte"):
    line_frames.read_lines(tmp_path / "a")
  assert line_frames.read_lines(tmp_path / "a", "latin-1")["line"].to_list() == ["x", "ÿ"]


@given(st.lists(_FIELDS, min_size=2, max_size=4))
def test_fields_of_a_csv_line_are_those_of_the_csv_module(fields: list[str]) -> None:
  text = ",".join(
    '"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field for field in fields
  )
  assert next(csv.reader([text])) == fields
  frame = line_frames.with_fields(pl.DataFrame({"line": [text]}), ",", list("abcde"))
  assert frame["count"].item() == len(fields)
  assert frame.select("a", "b", "c", "d", "e").row(0) == (*fields, *[None] * (5 - len(fields)))


def test_the_first_fault_of_the_first_faulty_line_is_named(tmp_path: Path) -> None:
  rows = pl.DataFrame({"number": [4, 5, 6], "line": ["ok", "bad 'x", "bad"], "size": [2, 7, 3]})
  is_bad, is_long = pl.col("line").str.contains("bad"), pl.col("size") > 2
  faults = {"{size} is long": is_long, "{line!r} is bad": is_bad}
  with pytest.raises(ValueError, match=r"""^a:5: 7 is long: "bad 'x"$"""):
    line_frames.refuse(Path("a"), rows, faults)
  with pytest.raises(ValueError, match=r"""^a:5: "bad 'x" is bad: "bad 'x"$"""):
    line_frames.refuse(Path("a"), rows, dict(reversed(faults.items())))
  line_frames.refuse(Path("a"), rows[:1], faults)
