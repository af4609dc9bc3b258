"""What the files of every MovieLens edition say about movies: titles, years, genres, tags.

All functions take plain or compressed (.gz) files and return frames as `build.build` takes them:
of movies item (Int64), title, categories and year (null where the title names none), in file
order. They raise ValueError naming file, line number and content of the first malformed line.
"""

from collections.abc import Sequence

import polars as pl
from etils import epath

from sidrec.data.sources.line_frames import (
  read_bytes,
  read_lines,
  refuse,
  with_fields,
  with_number,
)
from sidrec.data.sources.shown import shown

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


def parse_movies(file: epath.Path, encoding: str = "latin-1") -> pl.DataFrame:
  """Parses movies.dat: lines `MovieID::Title (Year)::Genre|Genre`, in utf-8 for 10M."""
  rows = with_fields(read_lines(file, encoding), "::", ["id", "title", "genres"])
  return _movies(file, rows, "MovieID::Title (Year)::Genre|Genre", 3, listed("genres"))


def parse_movies_csv(file: epath.Path) -> pl.DataFrame:
  """Parses movies.csv: quoted UTF-8 rows `movieId,title,genres` below a header."""
  rows = _csv_rows(file, ["movieId", "title", "genres"]).rename({"movieId": "id"})
  return _movies(file, rows, "movieId,title,genres", 3, listed("genres"))


def parse_u_item(file: epath.Path) -> pl.DataFrame:
  """Parses u.item of MovieLens-100K: latin-1 lines with a flag for each of 19 genres."""
  names = ["id", "title", "released", "on video", "url", *_GENRES_100K]
  rows = with_fields(read_lines(file, "latin-1"), "|", names)
  genres = pl.concat_list(pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in _GENRES_100K[1:])
  described = "movie id|title|release date|video date|URL|19 genre flags"
  odd = {"a genre flag is neither 0 nor 1": ~pl.col("line").str.contains(r"(\|[01]){19}$")}
  return _movies(file, rows, described, 24, genres.list.drop_nulls(), odd)


def listed(column: str) -> pl.Expr:
  """The names in texts such as 'Drama|War': List(String)."""
  is_genre = ~pl.element().is_in(["", _NO_GENRES])
  return pl.col(column).str.split("|").list.eval(pl.element().filter(is_genre))


def title_year() -> pl.Expr:
  """'year': the one that ends a 'title' such as 'Toy Story (1995)', or null; Float32."""
  return pl.col("title").str.extract(r"\(([0-9]{4})\)\s*$").cast(pl.Float32).alias("year")


def _movies(
  file: epath.Path,
  rows: pl.DataFrame,
  described: str,
  num_fields: int,
  genres: pl.Expr,
  more_faults: dict[str, pl.Expr] | None = None,
) -> pl.DataFrame:
  """Movies from lines with their fields, of which 'id' and 'title' are two."""
  rows = with_number(rows, "id")
  faults = {
    f"{{count}} fields instead of the {num_fields} of {described}": pl.col("count") != num_fields,
    "the movie id {id!r} is not a whole number": ~pl.col("id").str.contains("^[0-9]{1,16}$"),
    "movie {id} stands on line {first} already": pl.col("number") != pl.col("first"),
  }
  refuse(file, rows, faults | (more_faults or {}))
  if not len(rows):
    raise ValueError(f"{file} describes no movie; fetch the file again")
  item, categories = pl.col("whole").alias("item"), genres.alias("categories")
  return rows.select(item, "title", categories, title_year())


def parse_tags(file: epath.Path, movies: pl.Series) -> pl.DataFrame:
  """Reads the words that users tagged each movie with, the most frequent ones first.

  Args:
    file: tags.csv, with the header `userId,movieId,tag,timestamp`, or tags.dat, with
      '::' between the same fields.
    movies: ids of the movies to describe; tags of other movies are left out.

  Returns:
    item (Int64) and text: at most 20 words in lower case, of equal frequency in the order of the
    file. Movies without a tag are left out.
  """
  names = ["userId", "movieId", "tag", "timestamp"]
  if ".csv" in file.suffixes:
    rows = _csv_rows(file, names)
  else:  # a tag may hold the separator
    fields = pl.col("line").str.extract_groups("^.*?::(?<movieId>.*?)::(?<tag>.*)::")
    rows = read_lines(file).with_columns(fields.struct.unnest(), pl.lit(4).alias("count"))
  is_number = pl.col("movieId").str.contains("^[0-9]+$").fill_null(False)
  sentence = f"expected {', '.join(names)} with a whole number as movieId"
  refuse(file, rows, {sentence: (pl.col("count") != len(names)) | ~is_number})

  tags = rows.select(pl.col("movieId").cast(pl.Int64, strict=False).alias("item"), "tag")
  tags = tags.filter(pl.col("item").is_in(movies.implode()))
  distinct = tags["tag"].unique()  # Polars folds no case, and tags repeat
  folded = pl.Series([" ".join(tag.casefold().split()) for tag in distinct], dtype=pl.String)
  words_of = pl.DataFrame({"tag": distinct, "word": folded.str.split(" ")})
  words = tags.join(words_of, on="tag", how="left", maintain_order="left").explode("word")
  words = words.filter(pl.col("word").str.len_chars().is_between(1, _MAX_WORD))
  counted = words.group_by("item", "word", maintain_order=True).len()
  ranked = counted.sort("len", descending=True, maintain_order=True)
  return ranked.group_by("item").agg(pl.col("word").head(_TAG_WORDS).str.join(" ").alias("text"))


def _csv_rows(file: epath.Path, names: Sequence[str]) -> pl.DataFrame:
  """The lines of a quoted CSV file below its header, with their fields."""
  try:
    rows = pl.read_csv(read_bytes(file), infer_schema=False)
    if rows.columns == names and not any(rows.null_count().row(0)):
      line, count = pl.concat_str(names, separator=","), pl.lit(len(names))
      return rows.with_row_index("number", 2).with_columns(line=line, count=count)
  except pl.exceptions.PolarsError:
    pass  # the lines, one by one, tell what is wrong
  lines, header = read_lines(file), ",".join(names)
  found = next(iter(lines["line"]), "")
  if found != header:
    raise ValueError(f"{file}:1: the header is {shown(found)}, not {header!r}")
  return with_fields(lines[1:], ",", names)
