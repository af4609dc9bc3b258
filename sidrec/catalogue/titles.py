"""Finding items by title, as people write titles."""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
ARTICLE_LAST = re.compile(r"^(.*), (the|an?|les?|la|il|el|das|der|die)$")
NOT_WORD = re.compile(r"[^\w]+")


class Found(NamedTuple):
  """What a list of titles named."""

  items: list[int]  # item rows, in the order of the list
  missing: dict[str, list[str]]  # title that was not found → nearest titles of the catalogue


def title_key(title: str) -> str:
  """A title without case, punctuation and a moved article: 'Matrix, The' is 'The Matrix'."""
  year = YEAR.search(title)
  body = ARTICLE_LAST.sub(r"\2 \1", YEAR.sub("", title).casefold().strip())
  words = NOT_WORD.sub(" ", body).strip()
  return f"{words} {year.group().strip()}" if year else words


def find_titles(text: str, titles_N: Sequence[str]) -> Found:
  """Items named in a comma-separated list of titles.

  Titles may hold commas themselves ('Matrix, The (1999)'): the longest run of
  pieces that is a title counts. A year may be left out where only one item has
  the title without it.
  """
  exact: dict[str, int] = {}
  yearless: dict[str, list[int]] = {}
  for row, title in enumerate(titles_N):
    if not title_key(title):
      continue
    exact.setdefault(title_key(title), row)
    yearless.setdefault(title_key(YEAR.sub("", title)), []).append(row)

  def lookup(title: str) -> int | None:
    key = title_key(title)
    without = yearless.get(key, [])
    return exact.get(key, without[0] if len(without) == 1 else None)

  pieces = text.split(",")
  items, unknown, at = [], [], 0
  open_piece = False  # whether the last unknown title may go on in the next piece
  while at < len(pieces):
    for stop in range(len(pieces), at, -1):
      row = lookup(",".join(pieces[at:stop]))
      if row is not None:
        items.append(row)
        at, open_piece = stop, False
        break
    else:
      piece = pieces[at].strip()
      if open_piece:
        unknown[-1] += f", {piece}"
      elif piece:
        unknown.append(piece)
      open_piece = bool(piece) and not YEAR.search(piece)
      at += 1

  def near(title: str) -> list[str]:
    keys = difflib.get_close_matches(title_key(title), exact, n=3, cutoff=0.5)
    return [titles_N[exact[key]] for key in keys]

  return Found(items, {title: near(title) for title in unknown})
