"""Damaged inputs of every reader: one sentence or the right data, in time and memory.

The suite mutates each input a few times; SIDREC_FUZZ=10000 does so that many times for each.
"""

import contextlib
import gzip
import io
import json
import os
import random
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from sidrec.data import store
from sidrec.data.dataset import TEXT, Dataset
from sidrec.data.settings import MISSING, TableConfig
from sidrec.data.sources import registry
from sidrec.data.sources.build import item_table
from sidrec.features.settings import VectorFileConfig
from sidrec.features.vector_file import file_vectors

_COUNT = int(os.environ.get("SIDREC_FUZZ", "25"))
_SEED = int(os.environ.get("SIDREC_FUZZ_SEED", "0"))
_SECONDS, _BYTES, _CHARACTERS = 5, 1 << 30, 2000
_ALLOWED = (ValueError, FileNotFoundError, OSError, ImportError)
_LOG = [(f"u{k % 4}", f"i{k * 7 % 5}", 10 * k, k % 5 + 1) for k in range(20)]
_COLUMNS = {"user": "user", "item": "item", "time": "time", "rating": "rating"}
_ITEM_COLUMNS = {"id": "item", "title": "title", "categories": ("a", "b"), "price": "price"}
_TOKENS = (
  b"NaN", b"null", b'"', b"\\N", b"1e400", b"-1", b"9" * 25, b"\x00", b"\xff\xfe", b"\r", b"\n\n",
  b"\xe2\x80\xa8", b"\\ud83d", b"[" * 2000, b"{", b"}", b",", b"\t", b"::", b"|", b" ", b"0",
  b"x" * 140_000, b"1970-01-01", b"\xef\xbb\xbf", b"True", b"\xd9\xa3",
)  # fmt: skip


class Case(NamedTuple):
  """Valid files, and how to read them."""

  files: dict[str, bytes]
  read: Callable[[Path], object]


def _mutated(data: bytes, rng: random.Random) -> bytes:
  """The data with one to three changes."""
  for _ in range(rng.choice([1, 1, 2, 3])):
    at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    end = min(end, at + rng.choice([1, 8, 64]))
    match rng.randrange(7):
      case 0 if data:  # a flipped bit
        at = rng.randrange(len(data))
        data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
      case 1:
        data = data[:at]
      case 2:
        data = data[:at] + data[end:]
      case 3:
        data = data[:end] + data[at:end] * rng.choice([1, 2, 50]) + data[end:]
      case 4:
        data = data[:at] + rng.choice(_TOKENS) + data[end:]
      case 5:
        data = data[:at] + rng.randbytes(rng.choice([1, 4, 8])) + data[end:]
      case 6:  # a whole field or line
        pieces = re.split(rb"([,\t\n|:]+)", data)
        pieces[rng.randrange(len(pieces))] = rng.choice(_TOKENS)
        data = b"".join(pieces)
  return data


# What is read.


def _text(rows: list[tuple], separator: str) -> bytes:
  return "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()


def _frame_bytes(frame: pl.DataFrame) -> bytes:
  buffer = io.BytesIO()
  frame.write_parquet(buffer)
  return buffer.getvalue()


def _table(log: str, items: str = "") -> Callable[[Path], Dataset]:
  def read(folder: Path) -> Dataset:
    settings = TableConfig(
      columns=_COLUMNS,
      items_path=str(folder / items) if items else "",
      item_columns=_ITEM_COLUMNS,
      time_unit="iso" if "dates" in log else "s",
    )
    return registry.read("table", str(folder / log), settings=settings)

  return read


def _source(name: str, path: str = "", **settings: str) -> Callable[[Path], Dataset]:
  def read(folder: Path) -> Dataset:
    named = {key: str(folder / value) for key, value in settings.items()}
    return registry.read(name, str(folder / path), **named)

  return read


def _vectors(suffix: str) -> Callable[[Path], np.ndarray]:
  items = item_table([1, 2, 3], [""] * 3, [()] * 3, {})
  config = VectorFileConfig(id="id", vector="vector")

  def read(folder: Path) -> np.ndarray:
    path = str(folder / f"v.{suffix}")
    return file_vectors(items, VectorFileConfig(**{**config.__dict__, "path": path}))[0]

  return read


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
  buffer = io.BytesIO()
  save(buffer)
  return buffer.getvalue()


def _cases() -> dict[str, Case]:
  rows = [tuple(_COLUMNS), *_LOG]
  items = [("item", "title", "a", "b", "price")]
  items += [(f"i{k}", f"The {k}", "x|y", "", 1.5) for k in range(5)]
  objects = [dict(zip(_COLUMNS, row, strict=True)) for row in _LOG]
  lines = "\n".join(map(json.dumps, objects)).encode()
  log = pl.DataFrame(objects)
  quoted = rows[:1] + [(f'"{u}"', f'"{i}\n""x"""', t, r) for u, i, t, r in _LOG]
  dates = rows[:1] + [(u, i, f"2024-05-01 12:00:{t % 60:02} UTC", r) for u, i, t, r in _LOG]
  described = [dict(zip(items[0], row, strict=True)) for row in items[1:]]
  inter = [("user_id:token", "item_id:token", "timestamp:float", "rating:float"), *_LOG]
  item = [("item_id:token", "title:token", "genre:token_seq", "year:token")]
  item += [(f"i{k}", "t", "x, y", 1999) for k in range(5)]
  user = [("user_id:token", "age:float", "job:token"), ("u0", 30, "cook"), ("u1", "", "")]
  reviews = [{"reviewerID": u, "asin": i, "unixReviewTime": t, "overall": r} for u, i, t, r in _LOG]
  meta = [{"asin": f"i{k}", "title": "t", "category": ["a"], "price": "$1"} for k in range(5)]
  ratings = [(k % 4 + 1, k * 7 % 5 + 1, k % 5 + 1, 10 * k) for k in range(20)]
  genres = "|".join("0" * 19)
  movies = "".join(f"{k}|Film (1999)|01-Jan-1999||url|{genres}\n" for k in range(1, 6))
  vectors = {"id": np.arange(1, 4), "vector": np.ones((3, 2), np.float32)}
  structured = np.zeros(3, [("id", "i8"), ("vector", "f4", 2)])
  structured["id"] = vectors["id"]
  return {
    "csv": Case({"a.csv": _text(rows, ",")}, _table("a.csv")),
    "quoted": Case({"a.csv": _text(quoted, ",")}, _table("a.csv")),
    "tsv": Case({"a.tsv": _text(rows, "\t"), "i.csv": _text(items, ",")}, _table("a.tsv", "i.csv")),
    "dates": Case({"dates.csv": _text(dates, ",")}, _table("dates.csv")),
    "gzip": Case({"a.csv.gz": gzip.compress(_text(rows, ","))}, _table("a.csv.gz")),
    "json": Case(
      {"a.jsonl": lines, "i.jsonl": "\n".join(map(json.dumps, described)).encode()},
      _table("a.jsonl", "i.jsonl"),
    ),
    "parquet": Case(
      {"a.parquet": _frame_bytes(log), "i.parquet": _frame_bytes(pl.DataFrame(described))},
      _table("a.parquet", "i.parquet"),
    ),
    "atomic": Case(
      {f"a.{end}": _text(t, "\t") for end, t in (("inter", inter), ("item", item), ("user", user))},
      _source("atomic"),
    ),
    "reviews": Case(
      {"r.json": "\n".join(map(json.dumps, reviews)).encode(), "m": repr(meta[0]).encode()}
      | {"m.json": "\n".join(map(str, meta)).encode()},
      _source("amazon-reviews", "r.json", metadata_path="m.json"),
    ),
    "sequences": Case(
      {"a.txt": b"1 1 2 3\n2 2 3 1\n", "items.tsv": b"item_id\ttitle\n1\tA\n2\tB\n3\tC\n"},
      _source("sequences", "a.txt"),
    ),
    "movielens-100k": Case(
      {
        "u.data": _text(ratings, "\t"),
        "u.item": movies.encode(),
        "u.user": b"1|24|M|technician|85711\n2|53|F|other|94043\n",
      },
      _source("movielens-100k"),
    ),
    "movielens-1m": Case(
      {
        "ratings.dat": _text(ratings, "::"),
        "movies.dat": b"".join(b"%d::Film (1999)::War|Drama\n" % k for k in range(1, 6)),
        "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n",
      },
      _source("movielens-1m"),
    ),
    "movielens-20m": Case(
      {
        "ratings.csv": b"userId,movieId,rating,timestamp\n" + _text(ratings, ","),
        "movies.csv": b"movieId,title,genres\n"
        + b"".join(b'%d,"Film, the (1999)",War|Drama\n' % k for k in range(1, 6)),
        "tags.csv": b"userId,movieId,tag,timestamp\n1,1,a tag,5\n2,1,tag,5\n",
      },
      _source("movielens-20m"),
    ),
    "npz": Case({"v.npz": _saved(lambda file: np.savez(file, **vectors))}, _vectors("npz")),
    "packed-npz": Case(
      {"v.npz": _saved(lambda file: np.savez_compressed(file, **vectors))}, _vectors("npz")
    ),
    "npy": Case({"v.npy": _saved(lambda file: np.save(file, structured))}, _vectors("npy")),
    "vectors": Case(
      {"v.parquet": _frame_bytes(pl.DataFrame({**vectors, "vector": vectors["vector"].tolist()}))},
      _vectors("parquet"),
    ),
  }


def _store_case(folder: Path) -> Case:
  """A store of shards, whose files are there already."""
  (folder / "log.csv").write_bytes(_text([tuple(_COLUMNS), *_LOG], ","))
  store.write_store(folder / "s", _table("log.csv")(folder))
  files = {file.name: file.read_bytes() for file in (folder / "s").iterdir()}
  return Case(files, _source("store"))


# What must hold.


def _expected(rows: list[dict]) -> dict[str, list[str]] | None:
  """User → items by a plain reading of the rules; None where that is not simple."""
  log: dict[str, list[tuple]] = {}
  for row in rows:
    values = [row.get(name) for name in _COLUMNS]
    if any(not isinstance(v, str | int) or isinstance(v, bool) for v in values):
      return None
    user, item, when, rating = map(str, values)
    if not all(re.fullmatch("[0-9]{1,9}", number) for number in (when, rating)):
      return None
    if {user, item} & {"", *MISSING}:
      continue
    log.setdefault(user, []).append((int(when), item, int(rating)))
  histories = {user: list(dict.fromkeys(found)) for user, found in log.items()}
  return {
    user: [item for _, item, _ in sorted(found, key=lambda row: row[0])]
    for user, found in histories.items()
    if len(found) >= 3
  }


def _plain_rows(name: str, data: bytes) -> list[dict] | None:
  """The rows of a log by Python's own readers, None where they are not told simply."""
  try:
    text = data.decode().removeprefix("\ufeff")
    if name == "json":
      return [json.loads(line, object_pairs_hook=_distinct) for line in text.split("\n") if line]
    if any(sign in text for sign in '"\r\0'):
      return None
    header, *rows = (line.split(",") for line in text.split("\n") if line.strip())
    header = [column.strip() for column in header]
    if any(len(row) != len(header) for row in rows) or len(set(header)) < len(header):
      return None
    return [dict(zip(header, (v.strip(" ") for v in row), strict=True)) for row in rows]
  except (ValueError, RecursionError):
    return None


def _distinct(pairs: list[tuple]) -> dict:
  if len(dict(pairs)) < len(pairs):
    raise ValueError("a name repeats")
  return dict(pairs)


def _check_same(name: str, files: dict[str, bytes], data: object) -> None:
  """Raises AssertionError where a data set is not what its log says."""
  file = {"csv": "a.csv", "json": "a.jsonl"}.get(name)
  if not file or not isinstance(data, Dataset):
    return
  rows = _plain_rows(name, files[file])
  expected = _expected(rows) if rows is not None else None
  if expected is None:
    return
  histories, ids_N = data.histories, data.items.ids_N.astype(TEXT)
  found = {
    str(user): ids_N[histories.of(row)].tolist()
    for row, user in enumerate(histories.user_ids_U.tolist())
  }
  assert found == expected


def _seconds_of(read: Callable[[Path], object], folder: Path) -> float:
  began = time.monotonic()
  with contextlib.suppress(Exception):
    read(folder)
  return time.monotonic() - began


def fuzz(name: str, case: Case, folder: Path, count: int, seed: int) -> dict[str, int]:
  """Mutates a case's files `count` times; raises AssertionError for what must not be.

  Returns:
    How many were read, and how many were refused.
  """
  rng = random.Random(f"{name} {seed}")
  met = {"read": 0, "refused": 0}
  for number in range(count):
    files = dict(case.files)
    changed = rng.choice(sorted(files))
    files[changed] = _mutated(files[changed], rng)
    for file, data in files.items():
      (folder / file).write_bytes(data)
    began, said = time.monotonic(), "a sentence"
    try:
      _check_same(name, files, case.read(folder))
      met["read"] += 1
    except _ALLOWED as error:
      said = repr(error) if isinstance(error, UnicodeError) else str(error)
      met["refused"] += 1
    except BaseException as error:
      (Path(os.environ.get("TMPDIR", "/tmp")) / f"fuzz-{name}-{changed}").write_bytes(
        files[changed]
      )
      raise AssertionError(f"{name}, input {number}, file {changed}: {error!r:.500}") from error
    if time.monotonic() - began > _SECONDS:  # once more: this machine may have been busy
      assert _seconds_of(case.read, folder) < _SECONDS, (name, number)
    sentence = 0 < len(said) < _CHARACTERS and not said.startswith("Unicode")
    assert sentence, (name, number, said[:300])
  return met


@pytest.mark.parametrize("name", [*_cases(), "store"])
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
  folder = tmp_path / "data"
  folder.mkdir()
  case = _store_case(tmp_path) if name == "store" else _cases()[name]
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for file, data in case.files.items():
    (folder / file).write_bytes(data)
  case.read(folder)  # as it is, it is sound
  met = fuzz(name, case, folder, _COUNT, _SEED)
  assert sum(met.values()) == _COUNT
  grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
  assert grown < _BYTES, f"{name} took {grown >> 20} MiB"
  print(name, met)
