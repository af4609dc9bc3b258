"""Through Beam comes what the reader in memory reads, row by row, whatever the parts are."""

import csv
import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import assert_same

import sidrec.data
from sidrec.config import default_config
from sidrec.data import store
from sidrec.data.dataset import Dataset
from sidrec.data.k_core import core_of
from sidrec.data.prepare import command, grouping, log_parts
from sidrec.data.prepare.log_parts import Part
from sidrec.data.sources import registry


def in_memory(data) -> Dataset:
  """What the readers make of a config's data without Beam."""
  dataset = registry.read(
    data.source, data.path, data.min_interactions, **registry.settings_of(data)
  )
  return core_of(dataset, data.k_core) if data.k_core else dataset


def prepared(data, folder: Path, **how) -> Dataset:
  pytest.importorskip("apache_beam")
  command.prepare(data, folder, **how)
  return store.load_store(folder)


def table_config(path: Path, **changes):
  data = default_config().data
  data.update(source="table", path=str(path))
  data.update(changes)
  return data


def random_log(rng, users, items, size, times) -> list[list[str]]:
  """Rows of user, item, time and rating, with what logs have: repeats, ties, gaps."""
  rows = [
    [
      str(rng.choice(users)),
      str(rng.choice(items)),
      str(rng.choice(times)),
      str(rng.integers(1, 6)),
    ]
    for _ in range(size)
  ]
  for row in rows[::17]:
    row[rng.integers(0, 4)] = ""  # no user, no item, no time or no rating
  return rows + rows[:25]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
  """So that small files have many parts, whose borders cut rows anywhere."""
  monkeypatch.setattr(log_parts, "PART_BYTES", 501)


@pytest.mark.usefixtures("small_parts")
def test_a_quoted_table_with_faults_to_its_core(tmp_path: Path) -> None:
  rng = np.random.default_rng(0)
  users = [f'u "{n}"\nof {n % 3}' for n in range(25)]
  rows = random_log(rng, users, ["007", "7", "12345678901234567890", *range(9)], 400, range(99))
  with (tmp_path / "log.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["who", "what", "when", "rating"], *rows])
  (tmp_path / "items.csv").write_text("item_id,title,year\n7,seven,1997\n1,one,\n99,none,1999\n")
  data = table_config(tmp_path / "log.csv", repeats="first", k_core=5)
  data.table.columns.update(user="who", item="what", time="when", rating="rating")
  data.table.items_path = str(tmp_path / "items.csv")
  expected = in_memory(data)
  assert len(expected.notes) == 9  # every rule had something to drop
  assert_same(prepared(data, tmp_path / "store", num_shards=3, core_rounds=3), expected)
  assert len([*(tmp_path / "store").glob("*.array_record*")]) == 3


@pytest.mark.usefixtures("small_parts")
def test_json_lines_of_several_files_without_times(tmp_path: Path) -> None:
  rng = np.random.default_rng(1)
  rows = random_log(rng, range(100, 115), list("abc"), 90, [0])
  for number, part in enumerate((rows[:40], rows[40:])):
    lines = [json.dumps({"user_id": user, "item_id": item}) for user, item, *_ in part]
    (tmp_path / f"log-{number}.jsonl").write_text("\n".join(lines) + "\n")
  (tmp_path / "whole.jsonl").write_bytes(
    b"".join((tmp_path / f"log-{number}.jsonl").read_bytes() for number in range(2))
  )
  data = table_config(tmp_path / "whole.jsonl")
  data.table.columns.time = ""
  expected = in_memory(data)
  data.path = str(tmp_path / "log-*.jsonl")
  found = prepared(data, tmp_path / "store")
  assert_same(found._replace(name="whole"), expected)


@pytest.mark.usefixtures("small_parts")
def test_a_movielens_edition_with_tags(tmp_path: Path) -> None:
  rng = np.random.default_rng(2)
  rows = [
    f"{rng.integers(1, 30)},{rng.integers(1, 12)},{rng.integers(1, 11) / 2},{rng.integers(9)}"
    for _ in range(600)
  ]
  (tmp_path / "ratings.csv").write_text(
    "userId,movieId,rating,timestamp\n" + "\n".join(rows) + "\n"
  )
  movies = [f"{n},Movie {n} ({1990 + n}),A|B" for n in range(1, 15)]
  (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "\n".join(movies) + "\n")
  (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,3,dark,5\n")
  data = default_config().data
  data.update(source="movielens-20m", path=str(tmp_path), min_interactions=18)
  expected = in_memory(data)
  assert 0 < expected.histories.num_users < 29
  assert_same(prepared(data, tmp_path / "store"), expected)


# Without Beam: what the parts give, and what is refused.


FIELD = st.text(st.sampled_from('ab"\n,\r'), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=12), st.integers(1, 9))
def test_parts_of_quoted_text_have_each_row_once(
  tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int
) -> None:
  text = io.StringIO(newline="")
  csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
  file = tmp_path_factory.getbasetemp() / "parts.csv"
  file.write_bytes(whole := text.getvalue().encode())
  found = b""
  for start in range(0, len(whole), size):
    part = Part(0, str(file), start, min(start + size, len(whole)))
    begin, piece = log_parts._whole_rows(part, whole[:start].count(b'"'))
    if piece:
      assert begin == len(found)
      assert start <= begin < start + size
      assert len(list(csv.reader(io.StringIO(piece.decode(), newline="")))) >= 1
    found += piece
  assert found == whole


def blocks_of(log: log_parts.RawLog):
  quotes, found = {}, []
  for part in log.parts:
    found.append(log.read(part, quotes.get(part.file, 0)))
    quotes[part.file] = quotes.get(part.file, 0) + (log.quotes(part) if log.quotes else 0)
  return found


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.csv.gz", "log.parquet"])
@pytest.mark.usefixtures("small_parts")
def test_every_form_of_a_table_gives_the_same_blocks(tmp_path: Path, name: str) -> None:
  rng = np.random.default_rng(3)
  rows = [[str(rng.integers(9)), str(rng.integers(9)), str(t)] for t in rng.integers(0, 99, 200)]
  names = ["user_id", "item_id", "timestamp"]
  file = tmp_path / name
  if name.endswith("parquet"):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = [[int(value) for value in column] for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), file, row_group_size=30)
  elif name.endswith("jsonl"):
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    file.write_text("\n".join(lines))
  else:
    text = "\n".join(map(",".join, [names, *rows])).encode()
    file.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
  data = table_config(file)
  log = log_parts.open_log("table", data.path, 3, registry.settings_of(data))
  assert (len(log.parts) > 2) == (not name.endswith("gz"))
  blocks = blocks_of(log)
  assert sum(block.num_rows for block in blocks) == 200
  found = [
    [*map(str, row)]
    for b in blocks
    for row in zip(b.user_ids_U[b.user_T], b.item_ids_N[b.item_T], b.time_T // 10**6, strict=True)
  ]
  assert found == rows


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
  ("name", "wrong"),
  [
    ("log.csv", "1,2"),
    ("log.csv", "1,2,yesterday"),
    ("log.jsonl", '{"user_id": 1, "item_id": 2, "timestamp": "soon"}'),
  ],
)
def test_a_fault_is_told_with_the_line_of_the_file(tmp_path: Path, name: str, wrong: str) -> None:
  rows = [f"{n % 7},{n % 5},{n}" for n in range(300)]
  header = ["user_id,item_id,timestamp"]
  if name == "log.jsonl":
    rows = [f'{{"user_id": {n % 7}, "item_id": {n % 5}, "timestamp": {n}}}' for n in range(300)]
    header = []
  rows[211] = wrong
  (tmp_path / name).write_text("\n".join([*header, *rows]) + "\n")
  data = table_config(tmp_path / name)
  log = log_parts.open_log("table", data.path, 3, registry.settings_of(data))
  with pytest.raises(ValueError, match=rf"{name}:{212 + len(header)}: "):
    blocks_of(log)


def test_keys_order_ids_as_the_contract_does() -> None:
  ids = ["10", "9", "007", "7", "0", "12345678901234567890", "00", "1"]
  found = np.array(ids)[np.argsort(grouping.order_keys(np.array(ids), "digits"))]
  assert found.tolist() == ["0", "00", "1", "007", "7", "9", "10", "12345678901234567890"]


def test_a_worker_s_fault_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
  pytest.importorskip("apache_beam")
  (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n1,2,3\n1,2,soon\n")
  with pytest.raises(ValueError, match=r"^[^\n]*log\.csv:3: the time 'soon' is no number$"):
    command.prepare(table_config(tmp_path / "log.csv"), tmp_path / "store")
  assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_a_core_that_is_not_reached_is_an_error(tmp_path: Path) -> None:
  # A chain: each round drops the item at its end and, with it, the next user.
  rows = [f"{user},{user + place},{place}" for user in range(6) for place in range(3)]
  (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
  data = table_config(tmp_path / "log.csv", k_core=3)
  pytest.importorskip("apache_beam")
  with pytest.raises(ValueError, match="the 3-core was not reached within --core_rounds=1"):
    command.prepare(data, tmp_path / "store", core_rounds=1)


def test_without_beam_there_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  monkeypatch.delitem(sys.modules, "sidrec.data.prepare.beam_graph", raising=False)
  monkeypatch.delattr(sidrec.data, "beam_graph", raising=False)
  with pytest.raises(ImportError, match=r"needs Apache Beam: pip install 'sidrec\[beam\]'"):
    command.prepare(table_config(tmp_path / "log.csv"), tmp_path / "store")


def test_what_a_store_cannot_hold_is_refused(tmp_path: Path) -> None:
  pytest.importorskip("apache_beam")
  for changes, told in (
    ({"k_core": 2}, "a core of 2 is too small"),
    ({"min_interactions": 2}, "min_interactions is 2; it must be at least 3"),
    ({"shuffle_ties": 0}, "keeps file order among equal times"),
    ({"source": "store"}, "is prepared already"),
  ):
    with pytest.raises(ValueError, match=told):
      command.prepare(table_config(tmp_path / "log.csv", **changes), tmp_path / "store")


@pytest.mark.skipif(
  not (Path(os.environ.get("SIDREC_DATA_DIR") or "/nowhere") / "ml-1m").is_dir(),
  reason="needs MovieLens-1M in $SIDREC_DATA_DIR",
)
def test_movielens_1m_in_parts(tmp_path: Path) -> None:
  data = default_config().data
  data.update(source="movielens-1m", k_core=5)
  assert_same(prepared(data, tmp_path / "store", core_rounds=3), in_memory(data))
