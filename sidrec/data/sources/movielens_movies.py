"""What the files of every MovieLens edition say about movies: titles, years, genres, tags.

Letters: M movies.
"""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from sidrec.data import dataset
from sidrec.data.sources.build import item_table

# The flags of u.item, in order. The first means that no genre is known.
# fmt: off
_GENRES_100K = (
  "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
  "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
  "Thriller", "War", "Western",
)
# fmt: on
_NO_GENRES = "(no genres listed)"
_TAG_WORDS = 20  # per movie; arrays of text are as wide as their longest
_MAX_WORD = 32  # characters


def parse_movies(file: Path, encoding: str = "latin-1") -> dataset.Items:
  """Parses movies.dat: lines `MovieID::Title (Year)::Genre|Genre`.

  Args:
    file: its path; plain or compressed (.gz), as for all functions here.
    encoding: of its text; MovieLens-1M has latin-1, MovieLens-10M utf-8.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  rows = ((number, line, line.split("::")) for number, line in _lines(file, encoding))
  return _movies(file, rows, 3, "MovieID::Title (Year)::Genre|Genre", _listed_genres)


def parse_movies_csv(file: Path) -> dataset.Items:
  """Parses movies.csv: quoted UTF-8 rows `movieId,title,genres` below a header.

  Raises:
    ValueError: naming file, line number and content of the first malformed row.
  """
  rows = _csv_rows(file, ["movieId", "title", "genres"])
  return _movies(file, rows, 3, "movieId,title,genres", _listed_genres)


def parse_u_item(file: Path) -> dataset.Items:
  """Parses u.item of MovieLens-100K: latin-1 lines with a flag for each of 19 genres.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  names = "movie id|title|release date|video date|URL|19 genre flags"
  rows = ((number, line, line.split("|")) for number, line in _lines(file, "latin-1"))
  return _movies(file, rows, 24, names, _flagged_genres)


def _listed_genres(fields: list[str]) -> list[str]:
  return [genre for genre in fields[2].split("|") if genre and genre != _NO_GENRES]


def _flagged_genres(fields: list[str]) -> list[str] | None:
  """The genres whose flag is 1, or None if a flag is neither 0 nor 1."""
  flags = fields[5:]
  if not set(flags) <= {"0", "1"}:
    return None
  pairs = zip(_GENRES_100K, flags, strict=True)
  return [genre for genre, flag in pairs if flag == "1" and genre != "unknown"]


def _movies(
  file: Path,
  rows: Iterable[tuple[int, str, list[str]]],
  num_fields: int,
  names: str,
  genres_of: Callable[[list[str]], list[str] | None],
) -> dataset.Items:
  """Movies from (line number, line, fields), of which the first two are id and title."""
  ids, titles, genres = {}, [], []
  for number, line, fields in rows:
    if len(fields) != num_fields:
      fault = f"{len(fields)} fields instead of the {num_fields} of {names}"
    elif not (fields[0].isascii() and fields[0].isdigit() and len(fields[0]) <= 16):
      fault = f"the movie id {fields[0]!r} is not a whole number"
    elif int(fields[0]) in ids:
      fault = f"movie {fields[0]} stands on line {ids[int(fields[0])]} already"
    elif (found := genres_of(fields)) is None:
      fault = "a genre flag is neither 0 nor 1"
    else:
      ids[int(fields[0])] = number
      titles.append(fields[1])
      genres.append(found)
      continue
    raise ValueError(f"{file}:{number}: {fault}: {line[:200]!r}")
  if not ids:
    raise ValueError(f"{file} describes no movie; fetch the file again")
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


def parse_tags(file: Path, movies: dataset.Items) -> dataset.Items:
  """Adds the words that users tagged a movie with, the most frequent ones first, as its text.

  Args:
    file: tags.csv, with the header `userId,movieId,tag,timestamp`, or tags.dat, with
      '::' between the same fields.
    movies: the table to describe; tags of other movies are left out.

  Returns:
    The movies with at most 20 words each in text_N, in lower case; words of equal
    frequency stand in the order of the file.

  Raises:
    ValueError: naming file and line number of the first malformed row.
  """
  names = ["userId", "movieId", "tag", "timestamp"]
  if ".csv" in file.suffixes:
    rows = _csv_rows(file, names)
  else:
    lines = _lines(file, "utf-8")
    # A tag may hold the separator.
    rows = ((n, line, [*line.split("::", 2)[:2], *_tag_and_time(line)]) for n, line in lines)
  words = {movie: Counter() for movie in movies.ids_N.tolist()}
  for number, line, fields in rows:
    if len(fields) != len(names) or not (fields[1].isascii() and fields[1].isdigit()):
      raise ValueError(
        f"{file}:{number}: expected {', '.join(names)} with a whole number as movieId: "
        f"{line[:200]!r}"
      )
    counter = words.get(int(fields[1]))
    if counter is not None:
      counter.update(word for word in fields[2].casefold().split() if len(word) <= _MAX_WORD)
  text = [" ".join(w for w, _ in counter.most_common(_TAG_WORDS)) for counter in words.values()]
  return movies._replace(text_N=np.array(text, dtype=str))


def _tag_and_time(line: str) -> list[str]:
  return line.split("::", 2)[-1].rsplit("::", 1)


def _lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
  """The numbered lines of a text file, without blank ones at its end."""
  lines = _text(file, encoding).replace("\r\n", "\n").rstrip("\n").split("\n")
  return iter([] if lines == [""] else enumerate(lines, 1))


def _csv_rows(file: Path, header: list[str]) -> Iterator[tuple[int, str, list[str]]]:
  """The numbered rows of a quoted CSV file, below its header."""
  reader = csv.reader(io.StringIO(_text(file, "utf-8-sig"), newline=""))
  try:
    found = next(reader, [])
    if found != header:
      raise ValueError(f"{file}:1: the header is {','.join(found)!r}, not {','.join(header)!r}")
    for fields in reader:
      yield reader.line_num, ",".join(fields), fields
  except csv.Error as error:
    raise ValueError(f"{file}:{reader.line_num}: {error}") from error


def _text(file: Path, encoding: str) -> str:
  data = file.read_bytes()
  if file.suffix == ".gz":
    try:
      data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
      raise ValueError(f"{file} is not a readable gzip file: {error}") from error
  try:
    return data.decode(encoding)
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise ValueError(f"{file}:{line}: the text is not {encoding}: {error.reason}") from error
