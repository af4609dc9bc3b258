"""MovieLens 100K to 32M: from a folder, a TFDS copy or the official archive to a `Dataset`.

The data may be used for research and not be redistributed; cite Harper and Konstan, 'The
MovieLens Datasets: History and Context', ACM TiiS 5(4), 2015, doi:10.1145/2827872.
"""

import functools
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from etils import epath

from sidrec.core.content import stamps
from sidrec.core.paths import as_path, is_local
from sidrec.data import dataset
from sidrec.data.sources.build import build
from sidrec.data.sources.download import fetch
from sidrec.data.sources.line_frames import plain_or_gz
from sidrec.data.sources.movielens_movies import (
  parse_movies,
  parse_movies_csv,
  parse_tags,
  parse_u_item,
)
from sidrec.data.sources.movielens_ratings import RatingsForm, parse_ratings
from sidrec.data.sources.movielens_tfds import read_tfds
from sidrec.data.sources.users import parse_users, with_users

_TFDS_FOLDER = "movielens/1m-ratings/0.1.1"
_TFDS_FILES = ("dataset_info.json", "features.json", "movie_genres.labels.txt", "*.array_record*")


class Edition(NamedTuple):
  """What the files of an edition are called, and what they look like."""

  folder: str  # below $SIDREC_DATA_DIR and the cache, and the archive's name
  md5: str  # of the archive, as published
  members: str  # the folder in the archive
  ratings: str
  movies: str
  tags: str  # '' where the edition has none
  extra: tuple[str, ...]  # files that are kept with the others, for people
  users: tuple[str, str, tuple[str, ...]] | None  # file, separator and fields; None for none
  form: RatingsForm
  parse_movies: Callable[[epath.Path], pl.DataFrame]
  max_megabytes: int  # of the archive and, times five, of a file in it

  @property
  def url(self) -> str:
    """The official archive."""
    return f"https://files.grouplens.org/datasets/movielens/{self.folder}.zip"

  @property
  def files(self) -> list[str]:
    """The files that are read."""
    users = self.users[0] if self.users else ""
    return [name for name in (self.ratings, self.movies, self.tags, users) if name]


_100K_USERS = ("u.user", "|", ("user id", "age", "gender", "occupation", "zip code"))
_1M_USERS = ("users.dat", "::", ("user id", "gender", "age", "occupation", "zip code"))
# Ratings, movies, tags, extra, users, form and parser of an edition.
_100K = ("u.data", "u.item", "", (), _100K_USERS, RatingsForm("\t"), parse_u_item)
_1M = ("ratings.dat", "movies.dat", "", (), _1M_USERS, RatingsForm("::"), parse_movies)
_10M_MOVIES = functools.partial(parse_movies, encoding="utf-8")
_10M_RATINGS = RatingsForm("::", halves=True)
_10M = ("ratings.dat", "movies.dat", "tags.dat", (), None, _10M_RATINGS, _10M_MOVIES)
_CSV_RATINGS = RatingsForm(",", "userId,movieId,rating,timestamp", halves=True)
_CSV = (
  "ratings.csv",
  "movies.csv",
  "tags.csv",
  ("links.csv",),
  None,
  _CSV_RATINGS,
  parse_movies_csv,
)
EDITIONS = {
  "movielens-100k": Edition("ml-100k", "0e33842e24a9c977be4e0107933c0723", "ml-100k", *_100K, 16),
  "movielens-1m": Edition("ml-1m", "c4d9eecfca2ab87c1945afe126590906", "ml-1m", *_1M, 16),
  "movielens-10m": Edition("ml-10m", "ce571fd55effeba0271552578f2648bd", "ml-10M100K", *_10M, 128),
  "movielens-20m": Edition("ml-20m", "cd245b17a1ae2cc31bb14903e1204af3", "ml-20m", *_CSV, 256),
  "movielens-25m": Edition("ml-25m", "6b51fb2759a8657d3bfcbfc42b592ada", "ml-25m", *_CSV, 512),
  "movielens-32m": Edition("ml-32m", "d472be332d4daa821edc399621853b57", "ml-32m", *_CSV, 512),
}


class Source(NamedTuple):
  """Where the data is, and why the ways that come before were not taken."""

  kind: str  # 'folder', 'tfds' or 'archive' (to be downloaded, if not cached)
  folder: epath.Path
  passed_over: tuple[str, ...]


def read_movielens(name: str, path: str = "", min_interactions: int = 3) -> dataset.Dataset:
  """Reads an edition of MovieLens from the first of four places that has it.

  The words of the users' tags, where the edition has them, become the movies' text. Exact
  duplicates of a rating are dropped. What u.user (100K) and users.dat (1M) say of users, where the
  file is there, becomes the data set's `users`; codes of age groups and occupations stay codes.

  Args:
    name: of the edition, in EDITIONS.
    path: a folder with the edition's files, plain or compressed (.gz): u.data and u.item
      (100K), ratings.dat and movies.dat (1M, 10M), or ratings.csv and movies.csv (20M, 25M,
      32M), and tags.dat or tags.csv if there is one. Where it is empty: $SIDREC_DATA_DIR/ml-1m
      (and so on); for 1M, the TFDS data set movielens/1m-ratings in array_record format under
      $TFDS_DATA_DIR or ~/tensorflow_datasets; the official archive, downloaded once into
      $SIDREC_CACHE_DIR or ~/.cache/sidrec.
    min_interactions: users with fewer are dropped.

  Raises:
    FileNotFoundError: if a folder that was named lacks a file, or no place has the data.
    ValueError: for a malformed line, naming file, line number and content.
  """
  source, edition = find_source(name, path), EDITIONS[name]
  users = None
  if source.kind == "tfds":
    ratings, movies, notes = read_tfds(source.folder)
  else:
    folder = source.folder if source.kind == "folder" else _unpacked_archive(name, source)
    file, tags = plain_or_gz(folder, edition.ratings), plain_or_gz(folder, edition.tags)
    movies, notes = edition.parse_movies(plain_or_gz(folder, edition.movies)), []
    if edition.tags and tags.is_file():
      text = parse_tags(tags, movies["item"])
      movies = movies.join(text, on="item", how="left", maintain_order="left")
      notes = [f"the movies' text is the words of {tags.name}, whenever they were given"]
    ratings = parse_ratings(file, edition.form, movies["item"])
    if edition.users and (described := plain_or_gz(folder, edition.users[0])).is_file():
      users = parse_users(described, *edition.users[1:])
  dataset = build(name, ratings, movies, min_interactions, notes)
  return with_users(dataset, users) if users else dataset


def signature_movielens(name: str, path: str = "") -> dict[str, Any]:
  """What identifies the raw files that `read_movielens` would read, without reading them."""
  source, edition = find_source(name, path), EDITIONS[name]
  if source.kind == "archive":
    return {"kind": "archive", "url": edition.url, "md5": edition.md5}
  if source.kind == "tfds":
    files = sorted(source.folder.iterdir())
  else:
    files = [plain_or_gz(source.folder, member) for member in edition.files]
  return {"kind": source.kind, "files": stamps(file for file in files if file.is_file())}


# Where the data is.


def find_source(name: str, path: str = "") -> Source:
  """The place that `read_movielens` takes; downloads nothing.

  Raises:
    FileNotFoundError: if a folder that was named, here or in $SIDREC_DATA_DIR, lacks a file.
  """
  edition = EDITIONS[name]
  if path:
    folder = _checked_folder(edition, as_path(path), "the path given")
    return Source("folder", folder, ())
  passed_over = ["no path was given"]

  if named := os.environ.get("SIDREC_DATA_DIR"):
    folder = as_path(named) / edition.folder
    if folder.exists() or not folder.parent.is_dir():
      return Source("folder", _checked_folder(edition, folder, "SIDREC_DATA_DIR"), ())
    passed_over.append(f"SIDREC_DATA_DIR: {named} has no folder {edition.folder}")
  else:
    passed_over.append("SIDREC_DATA_DIR is not set")

  if name == "movielens-1m":
    folder = as_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets") / _TFDS_FOLDER
    if not is_local(folder):
      passed_over.append(f"TFDS: {folder} is in a bucket; its files are read from a local folder")
    elif not folder.is_dir():
      passed_over.append(f"TFDS: {folder} does not exist")
    elif lacking := [name for name in _TFDS_FILES if not any(folder.glob(name))]:
      passed_over.append(f"TFDS: {folder} has no {', '.join(lacking)}")
    else:
      return Source("tfds", folder, tuple(passed_over))

  cache = as_path(os.environ.get("SIDREC_CACHE_DIR") or "~/.cache/sidrec")
  return Source("archive", cache / edition.folder, tuple(passed_over))


def _checked_folder(edition: Edition, folder: epath.Path, origin: str) -> epath.Path:
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder} ({origin}) is not a folder")
  for name in (edition.ratings, edition.movies):
    if not plain_or_gz(folder, name).is_file():
      raise FileNotFoundError(f"{folder} ({origin}) has no {name} or {name}.gz")
  return folder


def _unpacked_archive(name: str, source: Source) -> epath.Path:
  """The folder of the archive's files, downloaded and unpacked where it is not there yet."""
  edition, folder = EDITIONS[name], source.folder
  if folder.is_dir():  # it appears under this name only when it is complete
    return folder
  try:
    if not is_local(folder):
      raise ValueError("archives are unpacked in a local folder only; set SIDREC_CACHE_DIR to one")
    zipped = folder.with_name(f"{folder.name}.zip")
    archive = fetch(edition.url, zipped, edition.md5, edition.max_megabytes << 20)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
      unpacking = Path(temporary, folder.name)
      unpacking.mkdir()
      unpack(archive, unpacking, edition)
      try:
        unpacking.rename(folder)
      except OSError:
        if not folder.is_dir():  # else another process was faster
          raise
  except (OSError, ValueError) as error:
    ways = [*source.passed_over, f"download into {folder.parent}: {error}"]
    tfds = "prepare the TFDS data set movielens/1m-ratings with file_format='array_record', "
    raise FileNotFoundError(
      f"{name} was not found in any of the {len(ways)} places:\n"
      + "\n".join(f"  {way}" for way in ways)
      + f"\nGive the path of a folder with {edition.ratings} and {edition.movies}, put that folder "
      f"at $SIDREC_DATA_DIR/{edition.folder}, {tfds if name == 'movielens-1m' else ''}"
      f"or let {edition.url} be downloaded."
    ) from error
  return folder


def unpack(archive: Path, folder: Path, edition: Edition) -> None:
  """Writes the data files of an edition's archive, and nothing else, into a folder.

  Raises:
    ValueError: if the archive is damaged, lacks one of them or holds one that is too large.
  """
  try:
    with zipfile.ZipFile(archive) as members:
      for name in [*edition.files, *edition.extra]:
        member = members.getinfo(f"{edition.members}/{name}")
        if member.file_size > 5 * edition.max_megabytes << 20:
          raise ValueError(f"{archive}: {member.filename} has {member.file_size:,} bytes, too many")
        with members.open(member) as packed, open(folder / name, "wb") as file:
          shutil.copyfileobj(packed, file, 1 << 20)
  except (zipfile.BadZipFile, zlib.error, KeyError) as error:
    raise ValueError(f"{archive} is not the archive {edition.folder}.zip: {error}") from error
