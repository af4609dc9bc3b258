"""Own logs in CSV, TSV, JSON lines and Parquet: every rule, and every message."""

import gzip
import importlib.util
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.data import dataset
from sidrec.data.settings import TableConfig
from sidrec.data.sources import table

_NEEDS_PYARROW = pytest.mark.skipif(
  importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed"
)
_MANY = 3000
_HEADER = "user_id,item_id,timestamp,rating\n"
_LOG = [("u1", "b", 30, 4.0), ("u1", "a", 10, 3.5), ("u1", "c", 20, 1.0)]
_COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"}


def _csv(file: Path, log: list[tuple] = _LOG, header: str = _HEADER) -> str:
  lines = [",".join(map(str, row)) + "\n" for row in log]
  file.write_text(header + "".join(lines), encoding="utf-8")
  return str(file)


def _read(path: str, repeats: str = "keep", **settings) -> dataset.Dataset:
  settings = TableConfig(**{"columns": _COLUMNS, **settings})
  return table.read_table(path, settings=settings, repeats=repeats)


def _same(found: dataset.Dataset, expected: dataset.Dataset) -> None:
  for part in ("histories", "items"):
    for field, value in getattr(expected, part)._asdict().items():
      other = getattr(found, part)._asdict()[field]
      np.testing.assert_equal(other, value, err_msg=field)
      if field != "numeric" and value is not None:
        assert other.dtype == value.dtype, field
  assert found.notes == expected.notes


def test_a_table_becomes_a_data_set(tmp_path: Path) -> None:
  data = _read(_csv(tmp_path / "shop.csv"))
  assert data.name == "shop"
  assert data.items.ids_N.tolist() == ["a", "b", "c"]
  assert data.histories.user_ids_U.tolist() == ["u1"]
  assert data.histories.item_T.tolist() == [0, 2, 1]  # by time
  assert data.histories.time_T.tolist() == [10, 20, 30]
  assert data.histories.rating_T.tolist() == [3.5, 1.0, 4.0]
  assert data.items.titles_N.tolist() == ["", "", ""]
  assert data.notes[0] == "the metadata lacks 3 items of the catalogue"


def _write_as(folder: Path, kind: str, header: list[str], log: list[tuple]) -> str:
  """The same table in one of the forms."""
  file = folder / f"log.{kind}"
  packed = kind.endswith(".gz")
  if kind == "parquet":
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = zip(*log, strict=True)
    pq.write_table(pa.table({k: list(v) for k, v in zip(header, columns, strict=True)}), file)
    return str(file)
  if kind.startswith("jsonl"):
    text = "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in log) + "\n"
  else:
    separator = "," if kind.startswith("csv") else "\t"
    shown = [header, *([("" if v is None else str(v)) for v in row] for row in log)]
    text = "".join(separator.join(row) + "\r\n" for row in shown)
  file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
  return str(file)


@pytest.mark.parametrize(
  "kind",
  ["csv.gz", "tsv", "txt", "jsonl", "jsonl.gz", pytest.param("parquet", marks=_NEEDS_PYARROW)],
)
def test_all_forms_say_the_same(tmp_path: Path, kind: str) -> None:
  rng = np.random.default_rng(0)
  log = [
    (int(user), f"片{item}", int(rng.integers(5)) if rng.random() < 0.9 else None, rating / 2)
    for user, item, rating in zip(*rng.integers(0, 9, (3, 4000)), strict=True)
  ]
  expected = _read(_write_as(tmp_path, "csv", list(_COLUMNS.values()), log))
  assert "rows without a time" in expected.notes[0]
  assert expected.histories.user_ids_U.dtype == np.int64
  _same(_read(_write_as(tmp_path, kind, list(_COLUMNS.values()), log)), expected)


@settings(max_examples=60)
@given(
  st.lists(
    st.tuples(
      *[st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5)] * 2
    ),
    min_size=3,
    max_size=12,
  )
)
def test_ids_in_any_script_stay_as_they_are(tmp_path_factory, pairs: list) -> None:
  file = tmp_path_factory.mktemp("ids") / "log.csv"
  quoted = [[f'"{id_.replace(chr(34), chr(34) * 2)}"' for id_ in pair] for pair in pairs]
  log = [(*pair, time, 1) for time, pair in enumerate(quoted)]
  users = [user for user, _ in pairs]
  kept = {user for user in users if users.count(user) >= 3}
  if not kept:
    with pytest.raises(ValueError, match="3 or more interactions"):
      _read(_csv(file, log), missing=())
    return
  data = _read(_csv(file, log), missing=())
  assert set(map(str, data.histories.user_ids_U.tolist())) == kept
  found = [
    (str(user), str(data.items.ids_N[item]))
    for row, user in enumerate(data.histories.user_ids_U.tolist())
    for item in data.histories.of(row)
  ]
  assert sorted(found) == sorted(pair for pair in pairs if pair[0] in kept)


@pytest.mark.parametrize(
  ("ids", "expected"),
  [
    (["10", "9", "-1"], [-1, 9, 10]),
    (["10", "9", "07"], ["07", "9", "10"]),  # 07 is not 7
    (["10", "9", "7", "07"], ["07", "7", "9", "10"]),
    (["10", "9", "x"], ["10", "9", "x"]),
    (["2" * 19, "3" * 18, "1"], ["1", "3" * 18, "2" * 19]),
    (["1.0", "2", "3"], ["1.0", "2", "3"]),
  ],
)
def test_ids_are_numbers_if_all_are(tmp_path: Path, ids: list[str], expected: list) -> None:
  data = _read(_csv(tmp_path / "a.csv", [("u", id_, k, 1) for k, id_ in enumerate(ids)]))
  assert data.items.ids_N.tolist() == expected
  by_time = [data.items.ids_N[item] for item in data.histories.item_T]
  assert list(map(str, by_time)) == ids


def test_ids_of_items_are_numbers_only_if_those_of_the_metadata_are(tmp_path: Path) -> None:
  path = _csv(tmp_path / "a.csv", [("u", k, k, 1) for k in (1, 2, 10)])
  items = tmp_path / "items.csv"
  for text, ids in (("3\n10\n", [1, 2, 10]), ("x3\n10\n", ["1", "2", "10"])):
    items.write_text("item_id\n" + text)
    data = _read(path, items_path=str(items), item_columns={"id": "item_id"})
    assert sorted(data.items.ids_N.tolist()) == sorted(ids)
    assert "1 of 2 items have no interaction left and are not in the catalogue" in data.notes
    assert "the metadata lacks 2 items of the catalogue" in data.notes


# Times.


@pytest.mark.parametrize(
  ("unit", "times", "seconds"),
  [
    ("s", ["3", "1", "2"], [1, 2, 3]),
    ("s", ["3.5", "-1.25", "2e0"], [-2, 2, 3]),
    ("ms", ["1486227204999", "1486227204998", "5"], [0, 1486227204, 1486227204]),
    ("us", ["3000001", "3000000", "1"], [0, 3, 3]),
    ("ns", ["1700000000000000000", "1600000000000000000", "0"], [0, 1600000000, 1700000000]),
    ("iso", ["1970-01-02", "1970-01-01T00:00:10", "1970-01-01 00:00:05.5"], [5, 10, 86400]),
    ("iso", ["1970-01-01T02:00:00+02:00", "1970-01-01T00:00:01Z", "1969-12-31"], [-86400, 0, 1]),
  ],
)
def test_units_of_time(tmp_path: Path, unit: str, times: list[str], seconds: list[int]) -> None:
  log = [("u", k, time, 1) for k, time in enumerate(times)]
  data = _read(_csv(tmp_path / "a.csv", log), time_unit=unit)
  assert data.histories.time_T.tolist() == seconds


def test_whole_numbers_beyond_those_of_floats_still_order(tmp_path: Path) -> None:
  log = [("u", 1, 2**56 + 1, 1), ("u", 2, 2**56, 1), ("u", 3, 2**56 + 2, 1)]
  data = _read(_csv(tmp_path / "a.csv", log), time_unit="us")
  assert data.items.ids_N[data.histories.item_T].tolist() == [2, 1, 3]


def test_what_is_finer_than_seconds_still_orders(tmp_path: Path) -> None:
  log = [("u", item, time, 1) for item, time in ((1, 5900), (2, 5100), (3, 5500), (4, 5100))]
  data = _read(_csv(tmp_path / "a.csv", log), time_unit="ms")
  assert data.items.ids_N[data.histories.item_T].tolist() == [2, 4, 3, 1]
  assert data.histories.time_T.tolist() == [5, 5, 5, 5]


def test_a_missing_time_does_not_change_the_unit(tmp_path: Path) -> None:
  times = {"s": 10**6, "ms": 1000, "us": 1, "ns": 0.001}
  for unit, factor in times.items():
    log = [("u", k, int(k * 10**6 / factor), 1) for k in (3, 1, 2)] + [("u", 9, "", 1)]
    data = _read(_csv(tmp_path / "a.csv", log), time_unit=unit)
    assert data.histories.time_T.tolist() == [1, 2, 3]
    assert data.notes[0] == "dropped 1 row without a time"


def test_dates_order_by_fractions_and_are_utc_everywhere(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  log = [("u", item, f"1970-01-01T00:00:01.{item}", 1) for item in (300, 100, 200)]
  monkeypatch.setenv("TZ", "Asia/Tokyo")
  time.tzset()
  try:
    data = _read(_csv(tmp_path / "a.csv", log), time_unit="iso")
  finally:
    monkeypatch.undo()
    time.tzset()
  assert data.items.ids_N[data.histories.item_T].tolist() == [100, 200, 300]
  assert data.histories.time_T.tolist() == [1, 1, 1]


@_NEEDS_PYARROW
def test_parquet_knows_its_times_whole_floats_and_lists(tmp_path: Path) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  log = pa.table(
    {
      "user_id": pa.array([7.0, 7.0, None, 7.0], pa.float64()),  # as where integers have gaps
      "item_id": pa.array([3, 1, 2, 1]),
      "timestamp": pa.array([5000, 1000, 3000, 2000], pa.timestamp("ms", tz="Europe/Paris")),
      "rating": pa.array([1.5, None, 2.0, 4.0], pa.float32()),
    }
  )
  pq.write_table(log, tmp_path / "a.parquet")
  items = {
    "item_id": [1, 3],
    "title": ["One", None],
    "kinds": [["x", "y"], None],
    "price": [1.5, None],
  }
  pq.write_table(pa.table(items), tmp_path / "items.parquet")
  data = _read(
    str(tmp_path / "a.parquet"),
    items_path=str(tmp_path / "items.parquet"),
    item_columns={"id": "item_id", "title": "title", "categories": "kinds", "price": "price"},
  )
  assert data.histories.user_ids_U.tolist() == [7]
  assert data.histories.time_T.tolist() == [1, 2, 5]
  np.testing.assert_array_equal(data.histories.rating_T, [np.nan, 4, 1.5])
  assert data.items.ids_N.tolist() == [1, 3]
  assert data.items.titles_N.tolist() == ["One", ""]
  assert [data.items.categories_of(row) for row in (0, 1)] == [["x", "y"], []]
  np.testing.assert_array_equal(data.items.numeric["price"], np.float32([1.5, np.nan]))
  assert data.notes[0] == "dropped 1 row without a user or item"


def test_parquet_is_read_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  pl.DataFrame(_LOG, list(_COLUMNS.values()), orient="row").write_parquet(tmp_path / "a.parquet")
  found = _read(str(tmp_path / "a.parquet"))
  assert found.histories.num_users == 1
  _same(found, _read(_csv(tmp_path / "a.csv")))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
  (tmp_path / "a.parquet").write_bytes(b"no parquet")
  with pytest.raises(ValueError, match=r"a\.parquet is no readable Parquet file"):
    _read(str(tmp_path / "a.parquet"))


# Rules.


def test_without_times_the_order_of_the_file_is_time(tmp_path: Path) -> None:
  log = [("u", "b", "", 1), ("v", "a", "NA", 1), ("u", "a", "", 1), ("u", "b", "", 1)]
  path = _csv(tmp_path / "a.csv", log)
  empty = _read(path)
  assert empty.notes[0] == "column 'timestamp' is empty: the order of the file stands for time"
  without = _read(path, columns=_COLUMNS | {"time": ""})
  assert without.notes[0] == "there is no column of times: the order of the file stands for time"
  for data in (empty, without):
    assert data.items.ids_N[data.histories.item_T].tolist() == ["b", "a", "b"]  # b is a repeat
    assert data.histories.time_T.tolist() == [0, 2, 3]
    assert data.notes[-1].startswith("0 of 3 interactions share")


def test_rows_with_gaps_are_dropped_and_counted(tmp_path: Path) -> None:
  log = [("", "a", 5, 1), ("u1", "", 5, 1), ("", "", "", 1), ("u1", "d", "null", 1), *_LOG]
  data = _read(_csv(tmp_path / "a.csv", log))
  assert data.notes[:2] == (
    "dropped 3 rows without a user or item",
    "dropped 1 row without a time",
  )
  assert data.items.ids_N[data.histories.item_T].tolist() == ["a", "c", "b"]


def test_a_missing_rating_is_missing(tmp_path: Path) -> None:
  log = [("u", k, k, rating) for k, rating in enumerate(["", "NaN", "\\N", "-2.5e1"])]
  data = _read(_csv(tmp_path / "a.csv", log))
  np.testing.assert_array_equal(data.histories.rating_T, [np.nan, np.nan, np.nan, -25])
  data = _read(str(tmp_path / "a.csv"), columns=_COLUMNS | {"rating": ""})
  assert np.isnan(data.histories.rating_T).all()


def test_repeats_and_duplicates(tmp_path: Path) -> None:
  log = [("u", "a", 5, 1), ("u", "b", 6, 1), ("u", "a", 5, 1), ("u", "a", 3, 1), ("u", "c", 7, 1)]
  path = _csv(tmp_path / "a.csv", log)
  kept = _read(path)
  assert kept.items.ids_N[kept.histories.item_T].tolist() == ["a", "a", "b", "c"]
  assert kept.notes[0] == (
    "dropped 1 interaction that repeats another in user, item, time and rating"
  )
  first = _read(path, repeats="first")
  assert first.items.ids_N[first.histories.item_T].tolist() == ["a", "b", "c"]
  assert first.histories.time_T.tolist() == [3, 6, 7]
  assert first.notes[1] == "dropped 1 interaction with an item that the user had met before"
  with pytest.raises(ValueError, match="repeats must be 'keep' or 'first', not 'all'"):
    _read(path, repeats="all")


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
  log = [("u", item, time, 1) for item, time in (("d", 2), ("c", 1), ("a", 2), ("b", 1))]
  data = _read(_csv(tmp_path / "a.csv", log))
  assert data.items.ids_N[data.histories.item_T].tolist() == ["c", "b", "d", "a"]


# Items.


def test_items_are_described(tmp_path: Path) -> None:
  items = tmp_path / "items.tsv"
  items.write_text(
    "id\tname\tkind\tbrand\tnotes\tmore\tyear\tprice\n"
    'a\t"The ""A"""\tx / y\tZ, Inc\tgood\tcheap\t1999\t1.5\n'
    "b\t\t/ x/ \t\t\tdear\t\tNA\n"
    "a\tagain\t\t\t\t\t1\t1\n"
    "\tno id\t\t\t\t\t1\t1\n"
    "never\tbought\tq\t\t\t\t1\t1\n",
    encoding="utf-8",
  )
  columns = {
    "id": "id",
    "title": "name",
    "categories": ("kind", "brand"),
    "text": ["notes", "more"],
  }
  data = _read(
    _csv(tmp_path / "a.csv"),
    items_path=str(items),
    item_columns={**columns, "year": "year", "price": "price"},
    category_separator="/",
  )
  assert data.items.titles_N.tolist() == ['The "A"', "", ""]
  assert [data.items.categories_of(row) for row in range(3)] == [["x", "y", "Z, Inc"], ["x"], []]
  assert data.items.text_N.tolist() == ["good cheap", "dear", ""]
  np.testing.assert_array_equal(data.items.numeric["year"], [1999, np.nan, np.nan])
  np.testing.assert_array_equal(data.items.numeric["price"], [1.5, np.nan, np.nan])
  assert data.notes[:5] == (
    "dropped 1 row of items without an id",
    "dropped 1 row of items that an earlier row describes",
    "some values of 'kind' are several categories, which moves those of the columns after it; name "
    "it last",
    "1 of 3 items have no interaction left and are not in the catalogue",
    "the metadata lacks 1 item of the catalogue",
  )


@pytest.mark.parametrize(
  ("text", "columns", "fault"),
  [
    ("id\na\n", {"title": "id"}, "no column is named for the id of an item"),
    ("id\na\n", {"id": "id", "title": "name"}, "has no column 'name', which was to be its title"),
    ("id,y\na,x\n", {"id": "id", "year": "y"}, "items.csv:2: the year 'x' is no number"),
    ("id,y\na,1_0\n", {"id": "id", "year": "y"}, "items.csv:2: the year '1_0' is no number"),
    ("id,y\na,1\n", {"id": "id", "year": ["id", "y"]}, "'year' is one column, not id, y"),
    ("id,id\na,1\n", {"id": "id"}, "has 2 columns called 'id'; rename all but one"),
  ],
)
def test_a_faulty_table_of_items_is_named(
  tmp_path: Path, text: str, columns: dict, fault: str
) -> None:
  (tmp_path / "items.csv").write_text(text)
  with pytest.raises(ValueError, match=re.escape(fault)):
    _read(_csv(tmp_path / "a.csv"), items_path=str(tmp_path / "items.csv"), item_columns=columns)


# What files hold.


def test_parquet_doubles_are_whole_or_not_as_a_column(tmp_path: Path) -> None:
  users = [7.0] * 2048
  users[1500] = 1e16
  log = {"user_id": users, "item_id": [k % 50 for k in range(2048)], "timestamp": range(2048)}
  pl.DataFrame(log).write_parquet(tmp_path / "a.parquet")
  data = _read(str(tmp_path / "a.parquet"), columns=_COLUMNS | {"rating": ""})
  assert data.histories.lengths_U.tolist() == [2047]


def test_parquet_bytes_are_text_or_uuids(tmp_path: Path) -> None:
  of = lambda users: pl.DataFrame(
    {"user_id": users, "item_id": [1, 2, 3], "timestamp": [1, 2, 3]}
  ).write_parquet(tmp_path / "a.parquet")
  columns = _COLUMNS | {"rating": ""}
  for users, read in (
    (["Ü".encode()] * 3, "Ü"),
    (
      [bytes.fromhex("f81d4fae7dec11d0a76500a0c91e6bf6")] * 3,
      "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    ),
    ([bytes(15) + b"\1"] * 3, "00000000-0000-0000-0000-000000000001"),
  ):
    of(users)
    data = _read(str(tmp_path / "a.parquet"), columns=columns)
    assert data.histories.user_ids_U.tolist() == [read]
  for users, fault in (
    ([b"\xff"] * 3, "column 'user_id' holds bytes that are no UTF-8 text; cast it to text"),
    ([{"name": "x"}] * 3, "column 'user_id' is of type Struct"),
  ):
    of(users)
    with pytest.raises(ValueError, match=rf"a\.parquet: {fault}"):
      _read(str(tmp_path / "a.parquet"), columns=columns)


def test_what_programs_write_for_a_missing_id_is_no_id(tmp_path: Path) -> None:
  marks = ["nan", "NULL", "None", "\\N"]
  log = [(user, item, item, 1) for user in [*marks, "anna", "Null"] for item in range(4)]
  data = _read(_csv(tmp_path / "a.csv", log))
  assert data.histories.user_ids_U.tolist() == ["Null", "anna"]  # a name, perhaps
  assert data.notes[0] == "dropped 16 rows without a user or item"
  lines = [json.dumps({"user_id": u, "item_id": i, "timestamp": i}) for u, i, *_ in log]
  (tmp_path / "a.jsonl").write_text("\n".join(lines))
  data = _read(str(tmp_path / "a.jsonl"), columns=_COLUMNS | {"rating": ""})
  assert data.histories.user_ids_U.tolist() == ["Null", "anna"]
  kept = _read(str(tmp_path / "a.jsonl"), columns=_COLUMNS | {"rating": ""}, missing=())
  assert kept.histories.num_users == 6


def test_blanks_around_ids_count_in_quotes_alone(tmp_path: Path) -> None:
  log = [("u ", " lamp", 1, 1), ("u", '" lamp"', 2, 1), (" u", "lamp ", 3, 1)]
  data = _read(_csv(tmp_path / "a.csv", log, _HEADER.replace(",", ", ")))
  assert data.items.ids_N[data.histories.item_T].tolist() == ["lamp", " lamp", "lamp"]


def test_quotes_that_do_not_close(tmp_path: Path) -> None:
  lines = ["user_id\titem_id\tname\ttimestamp"]
  lines += [f"u\t{item}\t{name}\t{time}" for time, (item, name) in enumerate(
    [("a", '"lamp'), ("b", "x"), ("c", 'y"'), ("d", '"z"'), ("e", '5" disc')]
  )]  # fmt: skip
  (tmp_path / "a.tsv").write_text("\n".join(lines))
  data = _read(str(tmp_path / "a.tsv"), columns=_COLUMNS | {"rating": ""})
  assert data.items.ids_N[data.histories.item_T].tolist() == list("abcde")
  (tmp_path / "a.csv").write_text("\n".join(lines).replace("\t", ","))
  with pytest.raises(
    ValueError, match=r"a\.csv:2: a quote opens and does not close; a value that holds a"
  ):
    _read(str(tmp_path / "a.csv"), columns=_COLUMNS | {"rating": ""})


def test_long_texts_cost_what_they_hold(tmp_path: Path) -> None:
  long = "x" * 200_000
  lines = [json.dumps({"item_id": k, "title": long if k == 2 else "t"}) for k in range(3000)]
  (tmp_path / "items.jsonl").write_text("\n".join(lines))
  path = _csv(tmp_path / "a.csv", [("u", k, k, 1) for k in range(3000)])
  data = _read(path, items_path=str(tmp_path / "items.jsonl"))
  assert data.items.titles_N[2] == long
  (tmp_path / "items.csv").write_text(f'item_id,title\n2,"{long}\n"\n')
  data = _read(path, items_path=str(tmp_path / "items.csv"))
  assert data.items.titles_N[2] == long + "\n"


def test_half_a_surrogate_is_replaced(tmp_path: Path) -> None:
  (tmp_path / "items.jsonl").write_text('{"item_id": "a", "title": "cut \\ud83d"}\n')
  data = _read(_csv(tmp_path / "a.csv"), items_path=str(tmp_path / "items.jsonl"))
  assert data.items.titles_N[0] == "cut \ufffd"


def test_json_values_are_written_as_python_does(tmp_path: Path) -> None:
  values = ["x", 5, 5.0, 1e20, 2**70, True, [1, "y"], {"z": [1.5]}, "[1]", "1e5", "é\n"]
  lines = [json.dumps({"user_id": "u", "item_id": v, "timestamp": k}) for k, v in enumerate(values)]
  (tmp_path / "a.jsonl").write_text("\n".join(lines))
  data = _read(str(tmp_path / "a.jsonl"), columns=_COLUMNS | {"rating": ""})
  expected = [
    "x",
    "5",
    "5.0",
    "1e+20",
    str(2**70),
    "true",
    "1|y",
    '{"z": [1.5]}',
    "[1]",
    "1e5",
    "é\n",
  ]
  assert data.items.ids_N[data.histories.item_T].tolist() == expected


def test_json_columns_may_come_late(tmp_path: Path) -> None:
  rows = [{"user_id": "u", "item_id": k} for k in range(1500)]
  rows[1300:] = [row | {"timestamp": row["item_id"]} for row in rows[1300:]]
  (tmp_path / "a.json").write_text("\n".join(map(json.dumps, rows)))
  data = _read(str(tmp_path / "a.json"), columns=_COLUMNS | {"rating": ""})
  assert len(data.histories.item_T) == 200
  with pytest.raises(ValueError, match="has no column 'when', which was to be its time"):
    _read(str(tmp_path / "a.json"), columns=_COLUMNS | {"rating": "", "time": "when"})


def test_items_of_another_log_are_refused(tmp_path: Path) -> None:
  (tmp_path / "items.csv").write_text("item_id,title\n00123,A\n")
  path = _csv(tmp_path / "a.csv", [("u", 123 + k, k, 1) for k in range(3)])
  with pytest.raises(ValueError, match=r"items\.csv describes no item of .*a\.csv: its ids look "
                     "like '00123', those of the log like '123'"):  # fmt: skip
    _read(path, items_path=str(tmp_path / "items.csv"), item_columns={"id": "item_id"})


def test_times_in_two_units_are_noted(tmp_path: Path) -> None:
  times = [1700000000000, 1700000060000, 1700000120]
  path = _csv(tmp_path / "a.csv", [("u", k, time, 1) for k, time in enumerate(times)])
  note = "1 of 3 times lie before 1971, the first at a.csv:4; are they in another unit than 'ms'?"
  assert _read(path, time_unit="ms").notes[0] == note


def test_names_of_files(tmp_path: Path) -> None:
  expected = _read(_csv(tmp_path / "a.csv"))
  _same(_read(_csv(tmp_path / "B.CSV")), expected)
  (tmp_path / "log.csv").mkdir()
  for part, rows in (("part-0.csv", _LOG[:1]), ("part-1.csv", _LOG[1:]), ("_SUCCESS", [])):
    _csv(tmp_path / "log.csv" / part, rows)
  _same(_read(str(tmp_path / "log.csv")), expected)
  _same(_read(str(tmp_path / "log.csv" / "part-*")), expected)
  settings = TableConfig(columns=_COLUMNS)
  files = table.signature_table(str(tmp_path / "log.csv"), settings)["files"]
  assert [Path(file).name for file, *_ in files] == ["part-0.csv", "part-1.csv"]
  for name, fault in (
    ("a.zip", "a.zip is a .zip file; unpack or export it as .csv"),
    ("a.txt", r"it has: user_id,item_id,timestamp,rating; it was split at '\t': set the "
     "separator to ','"),
  ):  # fmt: skip
    _csv(tmp_path / name)
    with pytest.raises(ValueError, match=re.escape(fault)):
      _read(str(tmp_path / name))
  (tmp_path / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match="holds no file of a table"):
    _read(str(tmp_path / "empty"))
  with pytest.raises(FileNotFoundError, match=r"there is no file .*\*\.tsv"):
    _read(str(tmp_path / "*.tsv"))


@pytest.mark.parametrize(
  ("time", "seconds"),
  [
    ("1970-01-02 00:00:01 UTC", 86401), ("1970-01-01T00:00:01z", 1), ("19700102T000001", 86401),
    ("1970-01-01T05:30:02.5+05:30", 2), ("1970-01-01T00:00-01:00", 3600), (" 1970-W01-5 ", 86400),
  ],
)  # fmt: skip
def test_forms_of_dates(tmp_path: Path, time: str, seconds: int) -> None:
  log = [("u", 1, "1969-01-01", 1), ("u", 2, time, 1), ("u", 3, "2024-01-01", 1)]
  data = _read(_csv(tmp_path / "a.csv", log), time_unit="iso")
  assert data.histories.time_T[1] == seconds


# Messages.


@pytest.mark.parametrize(
  ("text", "fault"),
  [
    ("", "a.csv is empty or begins with a blank line; name the columns on line 1"),
    (_HEADER, "a.csv names its columns and has no row"),
    (_HEADER + "\n\n", "a.csv names its columns and has no row"),
    (_HEADER + "u,a,1,1\n\nu,b,2\n", "a.csv:4: 3 values for the 4 columns of the header, with ','"),
    (_HEADER + "u,a,1,1\nu,b,2,1,1\n", "a.csv:3: 5 values for the 4 columns"),
    (_HEADER + 'u,"a\n\nb",1,1\n\nu,b,2,x\n', "a.csv:6: the rating 'x' is no number"),
    (_HEADER + "u,b,2,inf\n", "a.csv:2: the rating 'inf' is no number"),
    (_HEADER + "u,b,soon,1\n", "a.csv:2: the time 'soon' is no number"),
    (
      _HEADER + "u,b,2020-01-01,1\n",
      "a.csv:2: the time '2020-01-01' is no number; for dates, set time_unit to 'iso', or",
    ),
    (_HEADER + "u,b,1_000,1\n", "a.csv:2: the time '1_000' is no number"),
    (_HEADER + "u,b,1486227204000,1\n", "a.csv:2: the time '1486227204000' lies beyond the year"),
    (_HEADER + "u,b," + "9" * 30 + ",1\n", "lies beyond the year 9999; state its time_unit (s, ms"),
    (_HEADER + 'u,"b,2,1\n', "a.csv:2: a quote opens and does not close; a value that"),
    (_HEADER.replace("item_id", "itemid"), "has no column 'item_id', which was to be its item; did "
      "you mean 'itemid'? it has: user_id, itemid, timestamp, rating; data.table.columns says"),
  ],
)  # fmt: skip
def test_a_faulty_log_is_named(tmp_path: Path, text: str, fault: str) -> None:
  (tmp_path / "a.csv").write_text(text)
  with pytest.raises(ValueError, match=re.escape(fault)):
    _read(str(tmp_path / "a.csv"))


def test_the_line_is_right_beyond_the_first_block(tmp_path: Path) -> None:
  log = [("u", k, k, 1) for k in range(3 * _MANY)]
  at = 2 * _MANY + 5
  for column, fault in ((2, "the time 'x'"), (3, "the rating 'x'")):
    faulty = [list(row) for row in log]
    faulty[at][column] = "x"
    with pytest.raises(ValueError, match=rf"a\.csv:{at + 2}: {fault}"):
      _read(_csv(tmp_path / "a.csv", faulty))
  with pytest.raises(ValueError, match=rf"a\.csv:{at + 2}: 3 values"):
    _read(_csv(tmp_path / "a.csv", [*log[:at], log[at][:3], *log[at + 1 :]]))


def test_settings_are_checked(tmp_path: Path) -> None:
  path = _csv(tmp_path / "a.csv")
  with pytest.raises(ValueError, match="unknown role 'when' of a column; known: user, item, time"):
    _read(path, columns=_COLUMNS | {"when": "timestamp"})
  with pytest.raises(ValueError, match="no column is named for the user of an interaction"):
    _read(path, columns=_COLUMNS | {"user": ""})
  with pytest.raises(ValueError, match="time_unit must be one of s, ms, us, ns, iso, not 'hours'"):
    _read(path, time_unit="hours")
  with pytest.raises(ValueError, match="must be one character, not '::'"):
    _read(path, separator="::")
  with pytest.raises(ValueError, match="a table needs a path"):
    _read("")
  with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.csv"):
    _read(str(tmp_path / "nowhere.csv"))
  (tmp_path / "a.csv").write_text(_HEADER.replace(",", ";") + "u;b;5,5;1\n")
  with pytest.raises(ValueError, match=r"a\.csv:2: the time '5,5' is no number"):
    _read(path, separator=";")


def test_dates_that_are_none_are_named(tmp_path: Path) -> None:
  path = _csv(tmp_path / "a.csv", [("u", 1, "2024-05-01", 1), ("u", 2, "01.05.2024", 1)])
  with pytest.raises(ValueError, match=r"a\.csv:3: the time '01\.05\.2024' is no date such as"):
    _read(path, time_unit="iso")


def test_other_text_and_damaged_files_are_named(tmp_path: Path) -> None:
  (tmp_path / "a.csv").write_bytes(_HEADER.encode() + "u,é,1,1\n".encode("latin-1"))
  with pytest.raises(ValueError, match=r"a\.csv is not UTF-8 text"):
    _read(str(tmp_path / "a.csv"))
  (tmp_path / "b.csv.gz").write_bytes(gzip.compress(_HEADER.encode())[:-9])
  with pytest.raises(ValueError, match=r"b\.csv\.gz is not a readable gzip file"):
    _read(str(tmp_path / "b.csv.gz"))
  for text, fault in (
    ("", "is empty; it must hold one JSON object a line"),
    ('{"user_id": 1}\n{"user_id"\n', ":2: not JSON"),
    ("[1]\n", ":1: expected an object with names"),
  ):
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(ValueError, match="c.jsonl.*" + fault):
      _read(str(tmp_path / "c.jsonl"))


def test_a_byte_order_mark_and_blanks_are_no_part_of_a_name(tmp_path: Path) -> None:
  path = _csv(tmp_path / "a.csv", header="\ufeff" + _HEADER.replace(",", " , "))
  assert _read(path).histories.num_users == 1


def test_the_signature_changes_with_the_files(tmp_path: Path) -> None:
  path, items = _csv(tmp_path / "a.csv"), tmp_path / "items.csv"
  items.write_text("item_id\na\n")
  settings = TableConfig(items_path=str(items))
  both = table.signature_table(path, settings, repeats="keep")
  assert json.loads(json.dumps(both)) == both
  assert table.signature_table(path) != both
  items.write_text("item_id\na\nb\n")
  assert table.signature_table(path, settings) != both
  with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.csv"):
    table.signature_table(str(tmp_path / "gone.csv"))
