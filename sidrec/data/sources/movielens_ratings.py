"""Millions of MovieLens ratings a second: the ratings files of every edition.

A file is read in blocks of whole lines; all numbers of a block are found and converted at
once. Only a block with a fault is looked at line by line, to name the line.

Letters: T ratings, M movies.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_BLOCK_BYTES = 1 << 20
_MAX_DIGITS = 16  # any such number fits int64
_FIELDS = "UserID, MovieID, Rating, Timestamp"


class RatingsForm(NamedTuple):
  """How the lines of a ratings file look: user, movie, rating and time with separators between."""

  separator: bytes
  header: bytes = b""  # the first line, if there is one
  halves: bool = False  # whether ratings are 0.5, 1, … 5 instead of 1, 2, … 5


class Ratings(NamedTuple):
  """The columns of a ratings file, in file order."""

  user_T: np.ndarray  # int64 [T]
  movie_T: np.ndarray  # int64 [T]
  rating_T: np.ndarray  # float32 [T]
  time_T: np.ndarray  # int64 [T], seconds


def parse_ratings(
  file: Path, form: RatingsForm, movie_ids_M: np.ndarray, text: bytes | None = None
) -> Ratings:
  """Parses a ratings file, plain or compressed (.gz).

  Args:
    file: its path.
    form: what its lines look like.
    movie_ids_M: the movies that may be rated.
    text: what to parse in place of the file's content; the file is then but a name.

  Raises:
    ValueError: naming file, line number and content of the first malformed line: another
      header, other than three whole numbers and a rating, a rating off the scale, or an
      unknown movie; or if the file holds no rating.
  """
  parts = []
  lines_before = 0
  for block in _blocks(file, text):
    if lines_before == 0 and form.header:
      first, _, block = block.partition(b"\n")
      if first.removeprefix(b"\xef\xbb\xbf") != form.header:
        raise ValueError(
          f"{file}:1: the header is {_shown(first)}, not {_shown(form.header)}; is this a "
          "ratings file of this edition?"
        )
      lines_before = 1
      if not block:
        continue
    part = _parse_block(block, form)
    if part is None or not np.isin(part.movie_T, movie_ids_M).all():
      raise ValueError(f"{file}:{_first_fault(block, lines_before, form, movie_ids_M)}")
    parts.append(part)
    lines_before += len(part.user_T)
  if not parts:
    raise ValueError(f"{file} holds no rating; fetch the file again")
  return Ratings(*map(np.concatenate, zip(*parts, strict=True)))


def _blocks(file: Path, text: bytes | None) -> Iterator[bytes]:
  """The file in pieces of whole lines that end in a newline; none for blank lines at its end."""
  rest = b""
  try:
    with _opened(file) if text is None else io.BytesIO(text) as stream:
      while piece := stream.read(_BLOCK_BYTES):
        rest = (rest + piece).replace(b"\r\n", b"\n")
        # Newlines at the end are kept back: they may turn out to end the file.
        end = rest.rfind(b"\n", 0, len(rest.rstrip(b"\r\n"))) + 1
        if end:
          yield rest[:end]
        rest = rest[end:]
  except (gzip.BadGzipFile, EOFError, zlib.error) as error:
    raise ValueError(f"{file} is not a readable gzip file: {error}") from error
  if rest := rest.rstrip(b"\r\n"):
    yield rest + b"\n"


def _opened(file: Path) -> BinaryIO | gzip.GzipFile:
  return gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb")


def _parse_block(block: bytes, form: RatingsForm) -> Ratings | None:
  """The ratings of some lines, or None if any line is not four numbers that form one.

  All bytes but digits must come as: separator, separator, perhaps a point two bytes before
  the next separator, separator, newline.
  """
  # Filled up in front so that 16 bytes can be read before the end of any number.
  padded = b"0" * _MAX_DIGITS + block
  text = np.frombuffer(padded, np.uint8)
  mark_P = np.flatnonzero((text - np.uint8(ord("0"))) > 9)  # what is less wraps around
  is_point_P = text[mark_P] == ord(".")
  num_points = int(is_point_P.sum())
  if num_points:
    mark_P = mark_P[~is_point_P]
  width = len(form.separator)
  if len(mark_P) % (3 * width + 1):
    return None
  mark_TxP = mark_P.reshape(-1, 3 * width + 1)
  expected_P = np.frombuffer(form.separator * 3 + b"\n", np.uint8)
  if (text[mark_TxP] != expected_P[None]).any():
    return None
  end_Tx4 = mark_TxP[:, ::width]
  next_Tx3 = mark_TxP[:, width - 1 : -1 : width] + 1
  if (next_Tx3 != end_Tx4[:, :3] + width).any():  # a separator of two bytes is torn apart
    return None
  start_T = np.concatenate([[_MAX_DIGITS], end_Tx4[:-1, 3] + 1])
  length_Tx4 = end_Tx4 - np.column_stack([start_T, next_Tx3])
  if length_Tx4.min() < 1 or length_Tx4.max() > _MAX_DIGITS:
    return None

  rating_end_T, rating_length_T = end_Tx4[:, 2], length_Tx4[:, 2]
  pointed_T = (rating_length_T == 3) & (text[rating_end_T - 2] == ord("."))
  if pointed_T.sum() != num_points or ((rating_length_T != 1) & ~pointed_T).any():
    return None
  last_T = text[rating_end_T - 1] - np.uint8(ord("0"))
  first_T = text[rating_end_T - 3] - np.uint8(ord("0"))  # of other use where there is no point
  tenths_T = np.where(pointed_T, first_T * np.uint8(10) + last_T, last_T * np.uint8(10))
  if not _scale(form)[tenths_T].all() or (num_points and not form.halves):
    return None
  numbers = [_numbers(padded, end_Tx4[:, field], length_Tx4[:, field]) for field in (0, 1, 3)]
  return Ratings(numbers[0], numbers[1], tenths_T.astype(np.float32) / 10, numbers[2])


def _scale(form: RatingsForm) -> np.ndarray:
  """For each number of tenths, whether it is a rating: bool [256]."""
  scale = np.zeros(256, bool)
  scale[5 if form.halves else 10 : 51 : 5 if form.halves else 10] = True
  return scale


def _numbers(padded: bytes, end_T: np.ndarray, digits_T: np.ndarray) -> np.ndarray:
  """The decimal numbers of `digits_T` digits that end before `end_T`, int64 [T]."""
  low_T = _eight_digits(padded, end_T - 8, np.minimum(digits_T, 8))
  if digits_T.max() <= 8:
    return low_T
  return low_T + 10**8 * _eight_digits(padded, end_T - 16, np.maximum(digits_T - 8, 0))


def _eight_digits(padded: bytes, at_T: np.ndarray, digits_T: np.ndarray) -> np.ndarray:
  """The numbers that the last `digits_T` of eight bytes spell, int64 [T].

  The bytes are one 64-bit word, whose neighbouring digits are joined to pairs, the pairs to
  fours and the fours to a number: three steps instead of eight.
  """
  word_P = np.ndarray(len(padded) - 7, "<u8", padded, 0, (1,))  # a word at every byte
  word_T = word_P[at_T] & _LAST_DIGITS[digits_T]
  word_T = (word_T * 10 + (word_T >> 8)) & 0x00FF00FF00FF00FF
  word_T = (word_T * 100 + (word_T >> 16)) & 0x0000FFFF0000FFFF
  return ((word_T * 10000 + (word_T >> 32)) & 0xFFFFFFFF).astype(np.int64)


# For a count of digits, a mask of the values of as many last (highest) bytes of a word.
_LAST_DIGITS = np.array(
  [int.from_bytes(b"\x00" * (8 - count) + b"\x0f" * count, "little") for count in range(9)],
  np.uint64,
)


def _first_fault(
  block: bytes, lines_before: int, form: RatingsForm, movie_ids_M: np.ndarray
) -> str:
  """'line number: what is wrong: content' of the first malformed line; there must be one."""
  known = set(movie_ids_M.tolist())
  scale = "0.5, 1, … 5" if form.halves else "1, 2, … 5"
  for number, line in enumerate(block[:-1].split(b"\n"), lines_before + 1):
    fields = line.split(form.separator)
    if len(fields) != 4:
      separator = form.separator.decode("ascii")
      fault = f"{len(fields)} fields instead of the 4 ({_FIELDS}), separated by {separator!r}"
    elif not all(map(_is_number, (fields[0], fields[1], fields[3]))):
      fault = "a user, movie or time is not a whole number"
    elif not _is_rating(fields[2], form):
      fault = f"the rating {_shown(fields[2])} is none of {scale}"
    elif int(fields[1]) not in known:
      fault = f"movie {int(fields[1])} is not in the file of movies"
    else:
      continue
    return f"{number}: {fault}: {_shown(line)}"
  raise AssertionError("no line is malformed")


def _is_number(field: bytes) -> bool:
  return field.isdigit() and len(field) <= _MAX_DIGITS


def _is_rating(field: bytes, form: RatingsForm) -> bool:
  whole, point, tenth = field.partition(b".")
  if len(whole) != 1 or not whole.isdigit() or (point and (len(tenth) != 1 or not tenth.isdigit())):
    return False
  return bool(_scale(form)[10 * int(whole) + int(tenth or b"0")]) and (form.halves or not point)


def _shown(line: bytes) -> str:
  return repr(line[:200].decode("utf-8", "replace"))
