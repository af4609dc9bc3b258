"""MovieLens-1M: from a folder, a TFDS copy or the official archive to a `Dataset`.

The data may be used for research and not be redistributed; cite Harper and Konstan, 'The
MovieLens Datasets: History and Context', ACM TiiS 5(4), 2015, doi:10.1145/2827872.

Letters: T ratings, M movies.
"""

import gzip
import os
import re
import shutil
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sidrec.data import dataset
from sidrec.data.build import build, item_table
from sidrec.data.download import fetch
from sidrec.data.movielens_tfds import read_tfds

URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
MD5 = "c4d9eecfca2ab87c1945afe126590906"
_MAX_ARCHIVE_BYTES = 16 << 20  # it has 6 MB
_MAX_MEMBER_BYTES = 64 << 20  # ratings.dat, the largest, has 25 MB
_MEMBERS = ("ratings.dat", "movies.dat", "users.dat")
_TFDS_FOLDER = "movielens/1m-ratings/0.1.1"
_MAX_DIGITS = 18  # any such number fits int64


class Source(NamedTuple):
  """Where the data is, and why the ways that come before were not taken."""

  kind: str  # 'folder' (of .dat files), 'tfds' or 'archive' (to be downloaded, if not cached)
  folder: Path
  passed_over: tuple[str, ...]


def read_movielens_1m(path: str = "", min_interactions: int = 3) -> dataset.Dataset:
  """Reads MovieLens-1M from the first of four places that has it.

  Args:
    path: a folder with ratings.dat or ratings.dat.gz, and movies.dat. Where it is empty:
      $SIDREC_DATA_DIR/ml-1m; the TFDS data set movielens/1m-ratings in array_record format
      under $TFDS_DATA_DIR or ~/tensorflow_datasets; the official archive, downloaded once
      into $SIDREC_CACHE_DIR or ~/.cache/sidrec.
    min_interactions: users with fewer are dropped.

  Raises:
    FileNotFoundError: if a folder that was named lacks a file, or no place has the data.
    ValueError: for a malformed line, naming file, line number and content.
  """
  source = find_source(path)
  if source.kind == "tfds":
    ratings = read_tfds(source.folder)
    years = {"year": np.array([title_year(title) for title in ratings.movies.titles_N], np.float32)}
    lost_order = ["the TFDS copy has lost the order of ratings.dat: file order is the copy's own"]
    return build(
      "movielens-1m",
      ratings.user_T,
      ratings.movie_T,
      ratings.time_T,
      ratings.rating_T,
      ratings.movies._replace(numeric=years),
      min_interactions,
      notes=[] if ratings.in_file_order else lost_order,
    )
  folder = source.folder if source.kind == "folder" else _unpacked_archive(source)
  movies = parse_movies(folder / "movies.dat")
  user_T, movie_T, rating_T, time_T = parse_ratings(_ratings_file(folder), movies.ids_N)
  return build("movielens-1m", user_T, movie_T, time_T, rating_T, movies, min_interactions)


def signature_movielens_1m(path: str = "") -> dict[str, Any]:
  """What identifies the raw files that `read_movielens_1m` would read, without reading them."""
  source = find_source(path)
  if source.kind == "archive":
    return {"kind": "archive", "url": URL, "md5": MD5}
  files = (
    sorted(source.folder.iterdir())
    if source.kind == "tfds"
    else [_ratings_file(source.folder), source.folder / "movies.dat"]
  )
  return {
    "kind": source.kind,
    "folder": str(source.folder.resolve()),
    "files": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
  }


# Where the data is.


def find_source(path: str = "") -> Source:
  """The place that `read_movielens_1m` takes; downloads nothing.

  Raises:
    FileNotFoundError: if a folder that was named, here or in $SIDREC_DATA_DIR, lacks a file.
  """
  if path:
    return Source("folder", _checked_folder(Path(path).expanduser(), "the path given"), ())
  passed_over = ["no path was given"]

  if named := os.environ.get("SIDREC_DATA_DIR"):
    folder = Path(named).expanduser() / "ml-1m"
    if folder.exists() or not folder.parent.is_dir():
      return Source("folder", _checked_folder(folder, "SIDREC_DATA_DIR"), ())
    passed_over.append(f"SIDREC_DATA_DIR: {named} has no folder ml-1m")
  else:
    passed_over.append("SIDREC_DATA_DIR is not set")

  folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
  folder /= _TFDS_FOLDER
  wanted = ["dataset_info.json", "features.json", "movie_genres.labels.txt", "*.array_record*"]
  if not folder.is_dir():
    passed_over.append(f"TFDS: {folder} does not exist")
  elif lacking := [name for name in wanted if not any(folder.glob(name))]:
    passed_over.append(f"TFDS: {folder} has no {', '.join(lacking)}")
  else:
    return Source("tfds", folder, tuple(passed_over))

  cache = Path(os.environ.get("SIDREC_CACHE_DIR") or "~/.cache/sidrec").expanduser()
  return Source("archive", cache / "ml-1m", tuple(passed_over))


def _checked_folder(folder: Path, origin: str) -> Path:
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder} ({origin}) is not a folder")
  if not _ratings_file(folder).is_file():
    raise FileNotFoundError(f"{folder} ({origin}) has no ratings.dat or ratings.dat.gz")
  if not (folder / "movies.dat").is_file():
    raise FileNotFoundError(f"{folder} ({origin}) has no movies.dat")
  return folder


def _ratings_file(folder: Path) -> Path:
  plain = folder / "ratings.dat"
  return plain if plain.is_file() else folder / "ratings.dat.gz"


def _unpacked_archive(source: Source) -> Path:
  """The folder of the archive's files, downloaded and unpacked where it is not there yet."""
  folder = source.folder
  if folder.is_dir():  # it appears under this name only when it is complete
    return folder
  unpacking = folder.with_name(f".ml-1m.{uuid.uuid4().hex}")
  try:
    archive = fetch(URL, folder.with_name("ml-1m.zip"), MD5, _MAX_ARCHIVE_BYTES)
    unpacking.mkdir()
    unpack(archive, unpacking)
    try:
      unpacking.rename(folder)
    except OSError:
      if not folder.is_dir():  # else another process was faster
        raise
  except (OSError, ValueError) as error:
    ways = [*source.passed_over, f"download into {folder.parent}: {error}"]
    raise FileNotFoundError(
      "MovieLens-1M was not found in any of the four places:\n"
      + "\n".join(f"  {way}" for way in ways)
      + "\nGive the path of a folder with ratings.dat and movies.dat, put that folder at "
      "$SIDREC_DATA_DIR/ml-1m, prepare the TFDS data set movielens/1m-ratings with "
      f"file_format='array_record', or let {URL} be downloaded."
    ) from error
  finally:
    shutil.rmtree(unpacking, ignore_errors=True)
  return folder


def unpack(archive: Path, folder: Path) -> None:
  """Writes the three data files of ml-1m.zip, and nothing else, into a folder.

  Raises:
    ValueError: if the archive is damaged, lacks one of them or holds one that is too large.
  """
  try:
    with zipfile.ZipFile(archive) as members:
      for name in _MEMBERS:
        member = members.getinfo(f"ml-1m/{name}")
        if member.file_size > _MAX_MEMBER_BYTES:
          raise ValueError(f"{archive}: {member.filename} has {member.file_size:,} bytes, too many")
        (folder / name).write_bytes(members.read(member))
  except (zipfile.BadZipFile, zlib.error, KeyError) as error:
    raise ValueError(f"{archive} is not the MovieLens-1M archive: {error}") from error


# What the files say.


def parse_movies(file: Path) -> dataset.Items:
  """Parses movies.dat: latin-1 lines `MovieID::Title (Year)::Genre|Genre`.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  ids, titles, genres = {}, [], []
  lines = file.read_bytes().decode("latin-1").replace("\r\n", "\n").rstrip("\n").split("\n")
  for number, line in enumerate(lines, 1):
    fields = line.split("::")
    if len(fields) != 3:
      fault = f"{len(fields)} fields instead of the 3 of MovieID::Title (Year)::Genre|Genre"
    elif not _is_number(fields[0].encode("latin-1")):
      fault = f"the movie id {fields[0]!r} is not a whole number"
    elif int(fields[0]) in ids:
      fault = f"movie {fields[0]} stands on line {ids[int(fields[0])]} already"
    else:
      ids[int(fields[0])] = number
      titles.append(fields[1])
      genres.append([genre for genre in fields[2].split("|") if genre])
      continue
    raise ValueError(f"{file}:{number}: {fault}: {line[:200]!r}")
  return item_table(
    ids=np.array(list(ids), np.int64),
    titles=titles,
    categories=genres,
    numeric={"year": [title_year(title) for title in titles]},
  )


def title_year(title: str) -> float:
  """The year that ends a title such as 'Toy Story (1995)'; NaN where there is none."""
  match = re.search(r"\((\d{4})\)\s*$", title)
  return float(match[1]) if match else float("nan")


def parse_ratings(file: Path, movie_ids_M: np.ndarray) -> tuple[np.ndarray, ...]:
  """Parses ratings.dat or ratings.dat.gz: lines `UserID::MovieID::Rating::Timestamp`.

  Args:
    file: its path.
    movie_ids_M: the movies that may be rated.

  Returns:
    user_T, movie_T, rating_T and time_T, int64, in file order.

  Raises:
    ValueError: naming file, line number and content of the first malformed line: other
      than four whole numbers, a rating outside 1..5, or an unknown movie.
  """
  data = file.read_bytes()
  if file.suffix == ".gz":
    try:
      data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
      raise ValueError(f"{file} is not a readable gzip file: {error}") from error
  data = data.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
  columns = _number_columns(data)
  if columns is not None:
    _, movie_T, rating_T, _ = columns
    if rating_T.min() >= 1 and rating_T.max() <= 5 and np.isin(movie_T, movie_ids_M).all():
      return columns
  raise ValueError(f"{file}:{_first_fault(data, movie_ids_M)}")


def _number_columns(data: bytes) -> tuple[np.ndarray, ...] | None:
  """The four numbers of every line, or None if any line is not four numbers joined by '::'.

  All lines at once: the marks that are no digits must come as '::', '::', '::', newline.
  """
  text = np.frombuffer(data, np.uint8)
  mark_P = np.flatnonzero((text < ord("0")) | (text > ord("9")))
  if len(mark_P) % 7:
    return None
  mark_Tx7 = mark_P.reshape(-1, 7)
  if (text[mark_Tx7] != np.frombuffer(b"::::::\n", np.uint8)[None]).any():
    return None
  start_Tx4 = np.empty((len(mark_Tx7), 4), np.int64)
  start_Tx4[0, 0], start_Tx4[1:, 0] = 0, mark_Tx7[:-1, 6] + 1
  start_Tx4[:, 1:] = mark_Tx7[:, 1:6:2] + 1
  end_Tx4 = mark_Tx7[:, 0::2]
  digits_Tx4 = end_Tx4 - start_Tx4
  if (
    (mark_Tx7[:, 1:6:2] != mark_Tx7[:, 0:6:2] + 1).any()
    or digits_Tx4.min() < 1
    or digits_Tx4.max() > _MAX_DIGITS
  ):
    return None
  return tuple(_numbers(text, end_Tx4[:, field], digits_Tx4[:, field]) for field in range(4))


def _numbers(text: np.ndarray, end_T: np.ndarray, digits_T: np.ndarray) -> np.ndarray:
  """The decimal numbers of `digits_T` digits that end before `end_T`, int64 [T]."""
  number_T = np.zeros(len(end_T), np.int64)
  for place in range(int(digits_T.max())):
    digit_T = text[np.maximum(end_T - 1 - place, 0)].astype(np.int64) - ord("0")
    number_T += np.where(place < digits_T, digit_T, 0) * 10**place
  return number_T


def _first_fault(data: bytes, movie_ids_M: np.ndarray) -> str:
  """'line number: what is wrong: content' of the first malformed line; there must be one."""
  known = set(movie_ids_M.tolist())
  for number, line in enumerate(data[:-1].split(b"\n"), 1):
    fields = line.split(b"::")
    if len(fields) != 4:
      fault = f"{len(fields)} fields instead of the 4 of UserID::MovieID::Rating::Timestamp"
    elif not all(map(_is_number, fields)):
      fault = "a field is not a whole number"
    elif not 1 <= int(fields[2]) <= 5:
      fault = f"the rating {int(fields[2])} is outside 1..5"
    elif int(fields[1]) not in known:
      fault = f"movie {int(fields[1])} is not in movies.dat"
    else:
      continue
    return f"{number}: {fault}: {line[:200].decode('latin-1')!r}"
  raise AssertionError("no line is malformed")


def _is_number(field: bytes) -> bool:
  return field.isdigit() and len(field) <= _MAX_DIGITS
