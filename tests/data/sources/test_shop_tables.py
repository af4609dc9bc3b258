"""Logs and tables of items as shops have them: each was read wrongly somewhere."""

import bz2
import gzip
import json
import lzma
import os
import re
import resource
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from sidrec.data.dataset import Dataset
from sidrec.data.prepare import command
from sidrec.data.settings import DataConfig, TableConfig
from sidrec.data.sources import registry
from sidrec.data.store import read_store

_HEADER = "user_id,item_id,timestamp\n"
_LOG = _HEADER + "u,a,1\nu,b,2\nu,c,3\n"


def _read(path: Path, text: str | None = None, **settings) -> Dataset:
  if text is not None:
    path.write_text(text, encoding="utf-8")
  return registry.read("table", str(path), settings=TableConfig(**settings))


def _items(folder: Path, name: str, text: str, log: str = _LOG, **settings) -> Dataset:
  (folder / name).write_text(text, encoding="utf-8")
  return _read(folder / "log.csv", log, items_path=str(folder / name), **settings)


def _history(data: Dataset, user: int = 0) -> list:
  return data.items.ids_N[data.histories.of(user)].tolist()


def _categories(data: Dataset) -> list[list[str]]:
  return [data.items.categories_of(row) for row in range(data.items.num_items)]


# Ids, times and numbers.


def test_a_double_is_the_same_id_in_every_file(tmp_path: Path) -> None:
  for part, users in enumerate(([7.0, 7.0], [7.0, 7.5], [7.0, 1e16])):
    items = range(2 * part, 2 * part + 2)
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": 1})
    frame.write_parquet(tmp_path / f"{part}.parquet")
  histories = _read(tmp_path).histories
  assert (histories.user_ids_U.tolist(), histories.lengths_U.tolist()) == (["7"], [4])


def test_one_list_of_marks_says_what_is_missing(tmp_path: Path) -> None:
  log = "user_id,item_id,timestamp,rating\n"
  log += "u,a,1,NULL\nu,b,2,\\N\nu,c,3,5\nu,d,NaN,1\nNA,e,1,1\n<NA>,e,2,1\nu,None,3,1\n"
  columns = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"}
  data = _read(tmp_path / "a.csv", log, columns=columns)
  assert _history(data) == ["a", "b", "c"]
  assert str(data.histories.rating_T.tolist()) == "[nan, nan, 5.0]"
  assert data.notes[:2] == (
    "dropped 3 rows without a user or item",
    "dropped 1 row without a time",
  )
  with pytest.raises(ValueError, match=r"a\.csv:2: the rating 'NULL' is no number"):
    _read(tmp_path / "a.csv", columns=columns, missing=())
  marks = "".join(f"NA,{item},{time},1\n" for time, item in enumerate(("nan", "NULL", "x")))
  kept = _read(tmp_path / "a.csv", log.split("u,a")[0] + marks, columns=columns, missing=())
  assert (kept.histories.user_ids_U.tolist(), _history(kept)) == (["NA"], ["nan", "NULL", "x"])
  own = _read(tmp_path / "a.csv", _LOG + "guest,a,1\n" * 3, missing=("guest",))
  assert own.histories.user_ids_U.tolist() == ["u"]


def test_nan_in_json_and_in_text_of_parquet_is_no_user(tmp_path: Path) -> None:
  rows = [f'{{"user_id": {u}, "item_id": {i}, "timestamp": {i}}}' for u in ("NaN", '"u"')
          for i in range(3)]  # fmt: skip
  data = _read(tmp_path / "a.jsonl", "\n".join(rows))
  assert data.histories.user_ids_U.tolist() == ["u"]
  assert data.notes[0] == "dropped 3 rows without a user or item"
  frame = pl.DataFrame({"user_id": ["nan", "u"] * 3, "item_id": [1, 1, 2, 2, 3, 3]})
  frame.with_columns(timestamp=1).write_parquet(tmp_path / "a.parquet")
  assert _read(tmp_path / "a.parquet").histories.user_ids_U.tolist() == ["u"]


def test_blanks_around_values_are_stripped_unless_kept(tmp_path: Path) -> None:
  text = 'item_id, title, kind\na, "Lamp, large" , Light \n b ,Chair,"  "\nc, \'x\', \n'
  columns = {"id": "item_id", "title": "title", "categories": "kind"}
  data = _items(tmp_path, "i.csv", text, item_columns=columns)
  assert data.items.titles_N.tolist() == ["Lamp, large", "Chair", "'x'"]
  assert _categories(data) == [["Light"], [], []]
  several = text.replace(", large", "\n large")  # and the same where values go over lines
  data = _items(tmp_path, "i.csv", several, item_columns=columns)
  assert data.items.titles_N.tolist() == ["Lamp\n large", "Chair", "'x'"]
  log = "user_id, item_id,timestamp\nu, a,1\nu,a,2\nu,a ,3\n"
  columns = {"user": "user_id", "item": " item_id", "time": "timestamp"}
  kept = _read(tmp_path / "k.csv", log, columns=columns, strip=False)
  assert _history(kept) == [" a", "a", "a "]


@pytest.mark.parametrize(
  ("form", "written", "seconds"),
  [
    ("%m/%d/%Y %H:%M", "12/1/2010 8:26", 1291191960),
    ("%d.%m.%Y", "01.12.2010", 1291161600),
    ("%Y%m%d", "20101201", 1291161600),
    ("%b %d, %Y %I:%M %p %z", "Dec 01, 2010 08:26 AM +0100", 1291188360),
  ],
)
def test_a_format_of_times(tmp_path: Path, form: str, written: str, seconds: int) -> None:
  log = _HEADER + "".join(f'u,{item},"{written}"\n' for item in "abc") + "u,d,NULL\n"
  data = _read(tmp_path / "a.csv", log, time_format=form)
  assert data.histories.time_T.tolist() == [seconds] * 3
  assert data.notes[0] == "dropped 1 row without a time"
  with pytest.raises(ValueError, match=r"a\.csv:6: the time 'soon' is not written as time_format "):
    _read(tmp_path / "a.csv", log + "u,e,soon\n", time_format=form)


@pytest.mark.parametrize("form", ["%H:%M", "%Y", "%Q", "date", "%Y-%m-%d %"])
def test_a_format_that_tells_no_date_is_refused(tmp_path: Path, form: str) -> None:
  with pytest.raises(ValueError, match=f"time_format {form!r} does not tell a date; write such as"):
    _read(tmp_path / "a.csv", _LOG, time_format=form)


def test_another_unit_is_noted_with_its_line_also_in_a_second_file(tmp_path: Path) -> None:
  times = [1700000000000, 1700000060000, 1700000120, 1700000180000]
  lines = [f"u,{item},{time}\n" for item, time in enumerate(times)]
  for name, part in (("0.csv", lines[:1]), ("1.csv", lines[1:])):
    (tmp_path / name).write_text(_HEADER + "".join(part))
  note = "1 of 4 times lie before 1971, the first at 1.csv:3; are they in another unit than 'ms'?"
  assert _read(tmp_path, time_unit="ms").notes[0] == note


# Quotes.


def test_quotes_by_setting(tmp_path: Path) -> None:
  rows = [("a", '"lamp'), ("b", "x"), ("c", 'y"'), ("d", '"z"')]
  text = "user_id\titem_id\tname\ttimestamp\n"
  text += "".join(f"u\t{item}\t{name}\t{time}\n" for time, (item, name) in enumerate(rows))
  loose = _read(tmp_path / "a.tsv", text)
  assert _history(loose) == ["a", "b", "c", "d"]
  assert loose.notes[0] == (
    "1 row of a.tsv with a quote that does not close, which was taken as text; the first is line 2"
  )
  with pytest.raises(ValueError, match="none of its 1 user has 3 or more"):
    _read(tmp_path / "a.tsv", quoting="strict")  # rows 1 to 3 are one, as their quotes say
  strict = _read(tmp_path / "a.tsv", text + "u\te\tz\t5\n", quoting="strict")
  assert _history(strict) == ["a", "d", "e"]
  assert strict.notes[0] == (
    "1 row of a.tsv over several lines, for a quote closes on a later line; the first is line 2"
  )
  columns = {"user": "user_id", "item": "name", "time": "timestamp"}
  none = _read(tmp_path / "a.tsv", text, quoting="none", columns=columns)
  assert _history(none) == ['"lamp', "x", 'y"', '"z"']
  assert not any("quote" in note for note in none.notes)
  with pytest.raises(ValueError, match="unknown quoting 'some'; choose from auto, strict, none"):
    TableConfig(quoting="some")  # pyrefly: ignore[bad-argument-type]


def test_a_quote_is_reported_where_it_opens(tmp_path: Path) -> None:
  text = _HEADER + 'u,a,1\nu,"b,2\nu,c,3\nu,d\nu,e,4\n'
  with pytest.raises(ValueError, match=r"a\.csv:3: a quote opens and does not close; .*'none'"):
    _read(tmp_path / "a.csv", text)


# Texts.


def test_long_texts_take_their_own_size(tmp_path: Path) -> None:
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  lines = [
    f'{{"item_id": {k}, "title": "{"x" * 60_000 if k == 2 else "t"}"}}' for k in range(20_000)
  ]
  log = _HEADER + "".join(f"u,{k},{k}\n" for k in range(20_000))
  data = _items(tmp_path, "i.jsonl", "\n".join(lines), log)
  assert len(data.items.titles_N[2]) == 60_000
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_half_a_surrogate_is_noted_and_a_pair_is_not(tmp_path: Path) -> None:
  titles = ("cut \\ud83d", "\\ud83d\\ude00", "\\\\ud83d")
  lines = [f'{{"item_id": "{i}", "title": "{t}"}}' for i, t in zip("abc", titles, strict=True)]
  data = _items(tmp_path, "i.jsonl", "\n".join(lines))
  assert data.items.titles_N.tolist() == ["cut \ufffd", "\U0001f600", "\\ud83d"]
  assert data.notes[0].startswith("1 line of i.jsonl with half of a surrogate pair")


def test_another_locale_changes_nothing(tmp_path: Path) -> None:
  _items(tmp_path, "i.csv", "item_id,title\na,Größe 日本\n")
  code = """
import sys
from pathlib import Path
from sidrec.data.cache import load_dataset, save_dataset
from sidrec.data.item_list import item_list
from sidrec.data.settings import TableConfig
from sidrec.data.sources import registry
folder = Path(sys.argv[1])
for name in ("demo", "table"):
  path = "" if name == "demo" else str(folder / "log.csv")
  settings = {} if name == "demo" else {"settings": TableConfig(items_path=str(folder / "i.csv"))}
  data = registry.read(name, path, **settings)
save_dataset(folder / "d.npz", data)
assert load_dataset(folder / "d.npz").items.titles_N[0] == "Gr\\xf6\\xdfe \\u65e5\\u672c"
"""
  environment = {
    **os.environ,
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONWARNDEFAULTENCODING": "1",
  }
  found = subprocess.run(
    [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True
  )
  assert found.returncode == 0, found.stderr
  assert not re.search("sidrec.*EncodingWarning", found.stderr)


# Tables of items.


def test_ids_that_hardly_meet_are_told_of_both_sides(tmp_path: Path) -> None:
  log = _HEADER + "".join(f"u,SKU-{k},{k}\n" for k in range(300))
  items = "item_id,title\n" + "".join(f"sku-{k},t\n" for k in range(298))
  told = "its ids look like 'sku-0', those of the log like 'SKU-0'"
  for few, some in (("", "no item"), ("SKU-299,t\n", "1 of 300 items")):
    with pytest.raises(ValueError, match=rf"i\.csv describes {some} of .*log\.csv: {told}"):
      _items(tmp_path, "i.csv", items + few, log)
  more = "".join(f"SKU-{k},t\n" for k in range(20))
  data = _items(tmp_path, "i.csv", items + more, log)
  told = told.replace("-0'", "-100'")  # the first of those that do not meet
  assert f"i.csv describes 20 of 300 items: {told}" in data.notes
  few = _items(tmp_path, "i.csv", "item_id,title\nSKU-1,t\nSKU-2,t\n", log)
  assert not any("look like" in note for note in few.notes)  # all that it has are in the log


def test_ids_that_hardly_meet_are_told_by_prepare_too(tmp_path: Path) -> None:
  _read(tmp_path / "log.csv", _LOG)
  (tmp_path / "i.csv").write_text("item_id,title\nA,t\nB,t\n")
  table = TableConfig(items_path=str(tmp_path / "i.csv"))
  config = DataConfig(source="table", path=str(tmp_path / "log.csv"), table=table)
  with pytest.raises(ValueError, match=r"i\.csv describes no item of .*log\.csv: its ids look like "
                     "'A', those of the log like 'a'"):  # fmt: skip
    command.prepare(config, tmp_path / "store")


def test_levels_keep_their_places(tmp_path: Path) -> None:
  text = "item_id\tdept\tclass\tbrand\na\t\t\tApple\nb\tTech\tTech\tTech\nc\tHome\t\t\n"
  columns = {"id": "item_id", "categories": ("dept", "class", "brand")}
  data = _items(tmp_path, "i.tsv", text, item_columns=columns)
  assert _categories(data) == [["", "", "Apple"], ["Tech", "Tech", "Tech"], ["Home"]]


# Parquet.


@pytest.mark.parametrize(
  ("column", "expected"),
  [
    (pl.Series([["x", None, "y"]] * 3), ["x", "y"]),
    (pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int8, 2)), ["1", "2"]),
    (pl.Series([Decimal("7.00")] * 3), ["7"]),
    (pl.Series([Decimal("7.50")] * 3), ["7.5"]),
    (pl.Series(["q"] * 3, dtype=pl.Categorical), ["q"]),
    (pl.Series([bytes.fromhex("f81d4fae7dec11d0a76500a0c91e6bf6")] * 3),
      ["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
    (pl.Series([None] * 3), []),
    (pl.Series([{"x": 1}] * 3), "is of type Struct"),
    (pl.Series([[{"key": "a", "value": 1}]] * 3), r"is of type List\(Struct"),
    (pl.Series([b"\xff"] * 3), "holds bytes that are no UTF-8 text"),
  ],
)  # fmt: skip
def test_types_of_parquet_are_read_or_named(
  tmp_path: Path, column: pl.Series, expected: list | str
) -> None:
  pl.DataFrame({"item_id": ["a", "b", "c"], "cat": column}).write_parquet(tmp_path / "i.parquet")
  (tmp_path / "log.csv").write_text(_LOG)
  settings = {
    "items_path": str(tmp_path / "i.parquet"),
    "item_columns": {"id": "item_id", "categories": "cat"},
  }
  if isinstance(expected, str):
    with pytest.raises(ValueError, match=rf"i\.parquet: column 'cat' {expected}"):
      _read(tmp_path / "log.csv", **settings)
  else:
    assert _categories(_read(tmp_path / "log.csv", **settings)) == [expected] * 3


def test_parquet_times_need_no_unit(tmp_path: Path) -> None:
  times = [datetime(2024, 5, 1, 12, 30, second) for second in (2, 1, 0)]
  frame = pl.DataFrame({"user_id": 1, "item_id": [1, 2, 3], "timestamp": times})
  frame.write_parquet(tmp_path / "a.parquet")
  for settings in ({}, {"time_unit": "ms"}, {"time_format": "%d/%m/%Y"}):
    data = _read(tmp_path / "a.parquet", **settings)
    assert data.histories.time_T.tolist() == [1714566600, 1714566601, 1714566602]


# Names of files.


def test_compressed_files_are_read(tmp_path: Path) -> None:
  packers = {"gz": gzip.compress, "GZ": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
  lines = [json.dumps({"user_id": "u", "item_id": i, "timestamp": t}) for t, i in enumerate("abc")]
  for end, pack in packers.items():
    for name, text in (("a.csv", _LOG), ("a.jsonl", "\n".join(lines))):
      (tmp_path / f"{name}.{end}").write_bytes(pack(text.encode()))
      assert _history(_read(tmp_path / f"{name}.{end}")) == ["a", "b", "c"]
    (tmp_path / f"b.csv.{end}").write_bytes(pack(_LOG.encode())[:-6])
    with pytest.raises(ValueError, match=rf"b\.csv\.{end} is not a readable "):
      _read(tmp_path / f"b.csv.{end}")


def test_zstandard_is_read_with_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  pyarrow = pytest.importorskip("pyarrow")
  with pyarrow.CompressedOutputStream(str(tmp_path / "a.csv.zst"), "zstd") as file:
    file.write(_LOG.encode())
  assert _history(_read(tmp_path / "a.csv.zst")) == ["a", "b", "c"]
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  with pytest.raises(ImportError, match=r"a\.csv\.zst, run pip install 'sidrec\[parquet\]', or"):
    _read(tmp_path / "a.csv.zst")


def test_other_files_are_called_what_they_are(tmp_path: Path) -> None:
  for name, fault in (
    ("a.xlsx", "is a .xlsx file; unpack or export it as .csv"),
    ("a.7z", "is a .7z file"),
    ("a.parquet.gz", "is a compressed Parquet file; unpack it first"),
  ):
    with pytest.raises(ValueError, match=re.escape(fault)):
      _read(tmp_path / name, "x")
  with pytest.raises(ValueError, match="with names, one a line, and not a list of them"):
    _read(tmp_path / "a.json", '[{"user_id": 1}]')
  (tmp_path / "spark" / "date=1").mkdir(parents=True)
  (tmp_path / "spark" / "date=1" / "part-0.csv").write_text(_LOG)
  with pytest.raises(
    FileNotFoundError, match=r"holds no file of a table; to read .* pattern .*/\*/"
  ):
    _read(tmp_path / "spark")
  assert _history(_read(tmp_path / "spark/*/*")) == ["a", "b", "c"]
  frame = pl.DataFrame({"user_id": "u", "item_id": ["a", "b", "c"], "timestamp": 1})
  frame.write_parquet(tmp_path / "v[1].parquet")
  assert _history(_read(tmp_path / "v[1].parquet")) == ["a", "b", "c"]


# Bounds.


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
  blank = b" " * (17 << 20)
  (tmp_path / "a.csv.gz").write_bytes(gzip.compress(_HEADER.encode() + blank))
  (tmp_path / "a.jsonl.bz2").write_bytes(bz2.compress(b'{"user_id":1}' + blank))
  (tmp_path / "r.json.gz").write_bytes(gzip.compress(b'{"reviewerID":"a","asin":"b"}\n' + blank))
  (tmp_path / "u.data.gz").write_bytes(gzip.compress(b"1\t1\t1\t1\n" + blank))
  (tmp_path / "u.item").write_text("1|Film|||" + "|0" * 19 + "\n")
  for source, name in (("table", "a.csv.gz"), ("table", "a.jsonl.bz2"),
                       ("amazon-reviews", "r.json.gz"), ("movielens-100k", "")):  # fmt: skip
    with pytest.raises(ValueError, match=r"unpacks to more than 200 times its size; if that is"):
      registry.read(source, str(tmp_path / name))


def test_messages_are_short_and_name_the_file(tmp_path: Path) -> None:
  long = "x" * 140_000
  for name, text in (
    ("a.csv", _LOG + f"u,d,{long}\n"),
    ("a.csv", _LOG + f"u,{long}\n"),
    ("a.csv", f"user,{long},b\n"),
    ("a.jsonl", f'{{"user_id": 1}}\n{{"{long}'),
    ("a.jsonl", f'{{"{long}": 1}}\n'),
    ("a.inter", f"{long}\n"),
  ):
    (tmp_path / name).write_text(text)
    source = "atomic" if name == "a.inter" else "table"
    with pytest.raises(ValueError, match=re.escape(name)) as error:
      registry.read(source, str(tmp_path / name))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("depth", [150, 2000])
def test_deep_json_is_one_sentence(tmp_path: Path, depth: int) -> None:
  deep = "[" * depth + "1" + "]" * depth
  (tmp_path / "a.jsonl").write_text(f'{{"user_id": {deep}, "item_id": 1, "timestamp": 1}}\n')
  with pytest.raises(ValueError, match=r"a\.jsonl:1: a list or object stands in more than 100 oth"):
    registry.read("table", str(tmp_path / "a.jsonl"))
  (tmp_path / "r.json").write_text(
    '{"reviewerID": "u", "asin": "a", "unixReviewTime": 1, "overall": 1}\n' * 3
  )
  (tmp_path / "m.json").write_text(
    f'{{"asin": "a", "title": {"[" * 7 * depth + "]" * 7 * depth}}}\n'
  )
  with pytest.raises(ValueError, match=r"m\.json:1: (neither JSON|lists in too many lists)"):
    registry.read(
      "amazon-reviews", str(tmp_path / "r.json"), metadata_path=str(tmp_path / "m.json")
    )


def test_a_count_below_zero_in_parquet_does_not_end_the_process(tmp_path: Path) -> None:
  frame = pl.DataFrame({"user_id": ["u"] * 5, "item_id": list("abcde"), "timestamp": range(5)})
  frame.write_parquet(tmp_path / "a.parquet")
  data = (tmp_path / "a.parquet").read_bytes()
  at = data.index(b"\x2c\x15\x0a")  # the header of a page with 5 values
  (tmp_path / "a.parquet").write_bytes(data[: at + 2] + b"\x09" + data[at + 3 :])
  with pytest.raises(ValueError, match=r"a\.parquet is no readable Parquet file: a page of -5 val"):
    _read(tmp_path / "a.parquet")
  at = data.rindex(b"\x16\x0a\x16")  # the number of values of a column
  (tmp_path / "a.parquet").write_bytes(data[: at + 1] + b"\x09" + data[at + 2 :])
  with pytest.raises(ValueError, match=r"a\.parquet is no readable Parquet file: a column with -5"):
    _read(tmp_path / "a.parquet")


# What is stored.


def test_notes_and_names_hold_no_folders(tmp_path: Path) -> None:
  (tmp_path / "seq.txt").write_text("1 1 2 3\n")
  found = [registry.read("sequences", str(tmp_path / "seq.txt"))]
  found += [_items(tmp_path, "i.jsonl", '{"item_id": "a", "title": "\\ud83d"}')]
  found += [_read(tmp_path / "a.csv", _LOG + 'u,"d\n",4\n'), _read(tmp_path / "*.csv")]
  for data in found:
    assert str(tmp_path) not in f"{data.name} {data.notes}"


def test_users_are_read_kept_and_stored(tmp_path: Path) -> None:
  inter = "user_id:token\titem_id:token\ttimestamp:float\n"
  inter += "".join(f"u{user}\ti{k % 3}\t{k}\n" for user in range(3) for k in range(3 + user))
  (tmp_path / "a.inter").write_text(inter)
  (tmp_path / "a.user").write_text(
    "user_id:token\tage:float\tjob:token\tvector:float_seq\n"
    "u2\t30\tcook\t1 2\nu0\t\t baker\t1\nu0\t9\tx\t1\nnan\t1\tx\t1\n"
  )
  data = registry.read("atomic", str(tmp_path))
  assert data.users["job"].tolist() == ["baker", "", "cook"]
  assert str(data.users["age"].tolist()) == "[nan, nan, 30.0]"
  assert "a.user lacks 1 user of the data set" in data.notes
  command.prepare(DataConfig(source="atomic", path=str(tmp_path)), tmp_path / "store")
  stored = read_store(str(tmp_path / "store"))
  assert {name: str(column.tolist()) for name, column in stored.users.items()} == {
    "age": "[nan, nan, 30.0]", "job": "['baker', '', 'cook']"
  }  # fmt: skip
  (tmp_path / "a.user").write_text("user_id:token\tage:float\nu2\told\n")
  with pytest.raises(ValueError, match=r"a\.user:2: the age 'old' is no number"):
    registry.read("atomic", str(tmp_path))
