"""What the files of every MovieLens edition say about movies: titles, years, genres, tags.

All functions take plain or compressed (.gz) files and return frames as `build.build` takes them.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from sidrec.data.sources.text_lines import read_lines, read_text, refuse

# The flags of u.item, in order. The first means that no genre is known.
# fmt: off
_GENRES_100K = (
  "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
  "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
  "Thriller", "War", "Western",
)
# fmt: on
_NO_GENRES = "(no genres listed)"
_TAG_WORDS = 20  # per movie
_MAX_WORD = 32  # characters


def parse_movies(file: Path, encoding: str = "latin-1") -> pl.DataFrame:
  """Parses movies.dat: lines `MovieID::Title (Year)::Genre|Genre`.

  Args:
    file: its path.
    encoding: of its text; MovieLens-1M has latin-1, MovieLens-10M utf-8.

  Returns:
    item (Int64), title, categories and year (null where the title names none), in file order.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  rows = _split(file, encoding, "::", ["id", "title", "genres"])
  return _movies(file, rows, 3, "MovieID::Title (Year)::Genre|Genre", _listed_genres())


def parse_movies_csv(file: Path) -> pl.DataFrame:
  """Parses movies.csv: quoted UTF-8 rows `movieId,title,genres` below a header.

  Returns, Raises:
    as `parse_movies`.
  """
  rows = _csv_rows(file, ["movieId", "title", "genres"]).rename({"movieId": "id"})
  return _movies(file, rows, 3, "movieId,title,genres", _listed_genres())


def parse_u_item(file: Path) -> pl.DataFrame:
  """Parses u.item of MovieLens-100K: latin-1 lines with a flag for each of 19 genres.

  Returns, Raises:
    as `parse_movies`.
  """
  others = ["release", "video", "url"]
  rows = _split(file, "latin-1", "|", ["id", "title", *others, *_GENRES_100K])
  named = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K[1:]]
  return _movies(
    file,
    rows,
    24,
    "movie id|title|release date|video date|URL|19 genre flags",
    pl.concat_list(named).list.drop_nulls(),
    {"a genre flag is neither 0 nor 1": ~pl.col("line").str.contains(r"(\|[01]){19}$")},
  )


def _listed_genres() -> pl.Expr:
  is_genre = ~pl.element().is_in(["", _NO_GENRES])
  return pl.col("genres").str.split("|").list.eval(pl.element().filter(is_genre))


def _movies(
  file: Path,
  rows: pl.DataFrame,
  num_fields: int,
  names: str,
  genres: pl.Expr,
  faults: Mapping[str, pl.Expr] | None = None,
) -> pl.DataFrame:
  """Movies from rows with 'number', 'line', 'count' (of fields), 'id' and 'title'."""
  item = pl.col("id").cast(pl.Int64, strict=False).alias("item")
  rows = rows.with_columns(item).with_columns(pl.col("number").first().over("item").alias("first"))
  sentences = {
    f"{{count}} fields instead of the {num_fields} of {names}": pl.col("count") != num_fields,
    "the movie id {id!r} is not a whole number": ~pl.col("id").str.contains("^[0-9]{1,16}$"),
    "movie {id} stands on line {first} already": pl.col("number") != pl.col("first"),
  }
  refuse(file, rows, sentences | dict(faults or {}))
  if not len(rows):
    raise ValueError(f"{file} describes no movie; fetch the file again")
  return rows.select("item", "title", genres.alias("categories"), title_year())


def title_year() -> pl.Expr:
  """'year': the one that ends a 'title' such as 'Toy Story (1995)', or null; Float32."""
  return pl.col("title").str.extract(r"\(([0-9]{4})\)\s*$").cast(pl.Float32).alias("year")


def parse_tags(file: Path, movies: pl.Series) -> pl.DataFrame:
  """Reads the words that users tagged each movie with, the most frequent ones first.

  Args:
    file: tags.csv, with the header `userId,movieId,tag,timestamp`, or tags.dat, with
      '::' between the same fields.
    movies: ids of the movies to describe; tags of other movies are left out.

  Returns:
    item (Int64) and text: at most 20 words in lower case, of equal frequency in the order of the
    file. Movies without a tag are left out.

  Raises:
    ValueError: naming file and line number of the first malformed row.
  """
  names = ["userId", "movieId", "tag", "timestamp"]
  if ".csv" in file.suffixes:
    rows = _csv_rows(file, names)
  else:
    # A tag may hold the separator.
    fields = pl.col("line").str.extract_groups("^.*?::(?<movieId>.*?)::(?<tag>.*)::")
    count = pl.when(pl.col("movieId").is_null()).then(1).otherwise(len(names)).alias("count")
    rows = read_lines(file).with_columns(fields.struct.unnest()).with_columns(count)
  is_whole = (pl.col("count") == len(names)) & pl.col("movieId").str.contains("^[0-9]+$")
  refuse(file, rows, {f"expected {', '.join(names)} with a whole number as movieId": ~is_whole})

  tags = rows.select(pl.col("movieId").cast(pl.Int64, strict=False).alias("item"), "tag")
  tags = tags.filter(pl.col("item").is_in(movies.implode()))
  distinct = tags["tag"].unique()  # Polars folds no case, and tags repeat
  folded = [" ".join(tag.casefold().split()) for tag in distinct]
  words = tags.join(
    pl.DataFrame({"tag": distinct, "word": pl.Series(folded, dtype=pl.String).str.split(" ")}),
    on="tag",
    how="left",
    maintain_order="left",
  ).explode("word")
  words = words.filter(pl.col("word").str.len_chars().is_between(1, _MAX_WORD))
  counted = words.group_by("item", "word", maintain_order=True).len()
  ranked = counted.sort("len", descending=True, maintain_order=True)
  return ranked.group_by("item").agg(pl.col("word").head(_TAG_WORDS).str.join(" ").alias("text"))


def _split(file: Path, encoding: str, separator: str, names: Sequence[str]) -> pl.DataFrame:
  """The lines of a file and their fields: 'number', 'line', 'count' and the names."""
  fields = pl.col("line").str.split(separator)
  columns = [fields.list.get(k, null_on_oob=True).alias(name) for k, name in enumerate(names)]
  return read_lines(file, encoding).with_columns(fields.list.len().alias("count"), *columns)


def _csv_rows(file: Path, names: list[str]) -> pl.DataFrame:
  """The rows of a quoted CSV file below its header: 'number', 'line', 'count' and the names.

  The first row with another count of fields ends the frame.
  """
  reader = csv.reader(io.StringIO(read_text(file, "utf-8-sig"), newline=""))
  numbers, flat, last = [], [], names
  try:
    found = next(reader, [])
    if found != names:
      raise ValueError(f"{file}:1: the header is {','.join(found)!r}, not {','.join(names)!r}")
    for last in reader:
      numbers.append(reader.line_num)
      flat += last
      if len(last) != len(names):
        break
  except csv.Error as error:
    raise ValueError(f"{file}:{reader.line_num}: {error}") from error
  width, height = len(names), len(numbers)
  flat += [None] * width
  columns = {
    name: pl.Series(flat[k::width][:height], dtype=pl.String) for k, name in enumerate(names)
  }
  frame = pl.DataFrame({"number": pl.Series(numbers, dtype=pl.Int64), **columns})
  is_last = pl.int_range(pl.len()) == height - 1
  return frame.with_columns(
    pl.when(is_last)
    .then(pl.lit(",".join(last)))
    .otherwise(pl.concat_str(names, separator=","))
    .alias("line"),
    pl.when(is_last).then(len(last)).otherwise(width).alias("count"),
  )
