"""Millions of MovieLens ratings a second: the ratings files of every edition.

Polars parses a file at once; only a file with a fault is looked at line by line.
"""

from typing import NamedTuple

import polars as pl
from etils import epath

from sidrec.data.sources.line_frames import read_bytes, read_lines, refuse, with_fields

_NUMBERS = ("user", "item", "time")


class RatingsForm(NamedTuple):
  """How the lines of a ratings file look: user, movie, rating and time with separators between."""

  separator: str  # a character, or the same one twice
  header: str = ""  # the first line, if there is one
  halves: bool = False  # whether ratings are 0.5, 1, … 5 instead of 1, 2, … 5

  @property
  def scale(self) -> dict[str, float]:
    """Every way to write a rating, and the rating."""
    if self.halves:
      return {text: k / 2 for k in range(1, 11) for text in (f"{k / 2:g}", f"{k / 2}")}
    return {f"{k}": float(k) for k in range(1, 6)}


def parse_ratings(file: epath.Path, form: RatingsForm, movies: pl.Series) -> pl.DataFrame:
  """Parses a ratings file, plain or compressed (.gz).

  Args:
    file: its path.
    form: what its lines look like.
    movies: ids of the movies that may be rated.

  Returns:
    As `parse_text`.

  Raises:
    ValueError: naming file, line number and content of the first malformed line: another
      header, other than three whole numbers and a rating, a rating off the scale, or an
      unknown movie; or if the file holds no rating.
  """
  text = read_bytes(file).rstrip(b"\r\n")
  if form.header and text:
    first, _, text = text.partition(b"\n")
    header = first.decode("utf-8-sig", "replace")
    if header != form.header:
      raise ValueError(
        f"{file}:1: the header is {header[:200]!r}, not {form.header!r}; is this a ratings file "
        "of this edition?"
      )
  if not text:
    raise ValueError(f"{file} holds no rating; fetch the file again")
  ratings = parse_text(text, form)
  if ratings is None or not ratings["item"].is_in(movies.implode()).all():
    _refuse_first_fault(file, form, movies)
    raise AssertionError("no line is malformed")
  return ratings


def parse_text(text: bytes, form: RatingsForm) -> pl.DataFrame | None:
  """The ratings of some lines, in their order, or None if any line is malformed.

  Returns:
    user, item and time (seconds): Int64; rating: Float32.
  """
  if text.translate(None, f"0123456789.{form.separator}\n".encode()):
    return None  # what is left, such as a sign or a blank, Polars might pass over
  # Polars splits at one character: where there are two, an empty field lies between two others.
  empty = ["e1", "e2", "e3"] if len(form.separator) == 2 else []
  names = ["user", *empty[:1], "item", *empty[1:2], "rating", *empty[2:], "time"]
  schema = {name: pl.Int64 if name in _NUMBERS else pl.String for name in names}
  form_of_text = {"has_header": False, "quote_char": None, "separator": form.separator[0]}
  try:
    table = pl.read_csv(text, schema=schema, ignore_errors=True, **form_of_text)
  except pl.exceptions.PolarsError:  # too many fields
    return None
  rating = pl.col("rating").replace_strict(form.scale, default=None, return_dtype=pl.Float32)
  ratings = table.select(*_NUMBERS, rating)
  is_sound = (
    not any(ratings.null_count().row(0))
    and all(table[name].null_count() == len(table) for name in empty)
    and all((ratings[name] < 10**16).all() for name in _NUMBERS)
  )
  return ratings if is_sound else None


def _refuse_first_fault(file: epath.Path, form: RatingsForm, movies: pl.Series) -> None:
  """Raises ValueError for the first malformed line."""
  lines = read_lines(file)[bool(form.header) :]
  rows = with_fields(lines, form.separator, ["user", "item", "rating", "time"])
  movie = pl.col("item").cast(pl.Int64, strict=False)
  names = f"(UserID, MovieID, Rating, Timestamp), separated by {form.separator!r}"
  scale = "0.5, 1, … 5" if form.halves else "1, 2, … 5"
  whole = pl.all_horizontal(pl.col(*_NUMBERS).str.contains("^[0-9]{1,16}$"))
  faults = {
    f"{{count}} fields instead of the 4 {names}": pl.col("count") != 4,
    "a user, movie or time is not a whole number": ~whole,
    f"the rating {{rating!r}} is none of {scale}": ~pl.col("rating").is_in(list(form.scale)),
    "movie {movie} is not in the file of movies": ~movie.is_in(movies.implode()),
  }
  refuse(file, rows.with_columns(movie.alias("movie")), faults)
