"""Finding items by title, as people write titles.

A title names the item that has it: letters, signs and accents count; case, runs of blanks and the
Unicode form do not. Only a title that no item has is compared more loosely: without its year, with
its article in front or behind, and without signs.
"""

import bisect
import copy
import difflib
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
_ARTICLE = "the|an?|les?|la|il|el|das|der|die"
_ARTICLE_LAST = re.compile(rf"^(.*), ({_ARTICLE})$")
_ARTICLE_FIRST = re.compile(rf"^({_ARTICLE}) (.*)$")
_BLANKS = re.compile(r"\s+")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_NEAR = 3  # similar titles that are named for one that was not found
_MOST_HINTS = 10  # titles of a request that similar ones are looked up for
_MOST_COMPARED = 200  # characters of a title that is compared by similarity


class Found(NamedTuple):
  """What a list of titles named."""

  items: list[int]  # item rows, in the order of the list
  missing: dict[str, list[str]]  # title that was not found → nearest titles of the catalogue
  loose: dict[str, int]  # title that no item has → the item that was taken for it
  ambiguous: dict[str, list[int]]  # title of several items, of which none was taken → their rows


class Names:
  """Names that may hold commas themselves, to find in a list with commas between."""

  def __init__(self, rows_of: Mapping[str, Sequence[int]], spell: Callable[[str], str], comma: str):
    """Takes names as `spell` writes them, and what it makes of the comma between two pieces."""
    self.rows_of = rows_of
    self._spell, self._comma = spell, comma
    self._sorted = sorted(rows_of)

  def longest(self, pieces: Sequence[str], at: int) -> tuple[int, Sequence[int]] | None:
    """The longest run of pieces from `at` on that is a name: where it stops, and its rows."""
    found, text = None, ""
    for stop in range(at, len(pieces)):
      text += self._comma * (stop > at) + self._spell(pieces[stop])
      name = text.strip()
      if name in self.rows_of:
        found = stop + 1, self.rows_of[name]
      place = bisect.bisect_left(self._sorted, text.lstrip())
      if place == len(self._sorted) or not self._sorted[place].startswith(name):
        break  # no name begins like this
    return found


def title_key(title: str) -> str:
  """A title whose case, blanks and Unicode form do not count; signs and accents do."""
  return _folded(title).strip()


def loose_key(title: str) -> str:
  """`title_key` without signs: letters, their marks and digits, with one blank between words."""
  return _without_signs(_folded(title))


def find_titles(text: str, titles_N: Sequence[str]) -> Found:
  """Items named in a comma-separated list of titles.

  Titles may hold commas themselves ('Matrix, The (1999)'): the longest run of pieces that is a
  title counts. Where none is, the longest run that is one when compared loosely: a year may be
  left out, and so may signs. A title of several items names none of them, unless only one of them
  has it as it is written.
  """
  exact = Names(_rows_by(titles_N, lambda title: [title_key(title)]), _folded, ",")
  loose = functools.cache(lambda: Names(_rows_by(titles_N, _loose_keys), loose_key, " "))
  pieces = text.split(",")
  found, unknown, at = Found([], {}, {}, {}), [], 0
  open_piece = False  # whether the last unknown title may go on in the next piece
  while at < len(pieces):
    piece = pieces[at].strip()
    run = exact.longest(pieces, at)
    is_exact = run is not None
    if run is None and loose_key(piece):
      run = loose().longest(pieces, at)
    if run is None:
      if open_piece:
        unknown[-1] += f", {piece}"
      elif piece:
        unknown.append(piece)
      open_piece, at = bool(piece) and not YEAR.search(piece), at + 1
      continue
    stop, rows = run
    asked = ",".join(pieces[at:stop]).strip()
    rows = _closest(asked, rows, titles_N)
    at, open_piece = stop, False
    if len(rows) > 1:
      found.ambiguous[asked] = list(rows)
      continue
    found.items.append(rows[0])
    if not is_exact:
      found.loose[asked] = rows[0]
  found.missing.update({title: [] for title in unknown})
  known = list(exact.rows_of) if unknown else []
  for title in list(found.missing)[:_MOST_HINTS]:
    near = _near(title_key(title), known)
    found.missing[title] = [titles_N[exact.rows_of[key][0]] for key in near]
  return found


class TitleIndex:
  """The titles of a catalogue, to find many items one after another."""

  def __init__(self, titles_N: Sequence[str]):
    """Takes the title of each item row."""
    self._titles_N = titles_N
    self._rows = _rows_by(titles_N, lambda title: [title_key(title)])
    self._loose: dict[str, list[int]] | None = None  # made when a title is first not exact

  def with_titles(self, titles_N: Sequence[str]) -> "TitleIndex":
    """The index of more items, which follow those of this one."""
    more = copy.copy(self)
    more._titles_N = titles_N
    new = titles_N[len(self._titles_N) :]
    first = len(titles_N) - len(new)
    more._rows = _rows_by(new, lambda title: [title_key(title)], first, self._rows)
    if self._loose is not None:
      more._loose = _rows_by(new, _loose_keys, first, self._loose)
    return more

  def rows(self, title: str) -> tuple[Sequence[int], bool]:
    """The items that a title may mean, and whether it is exactly theirs; see `find_titles`."""
    exact = self._rows.get(title_key(title), [])
    if exact:
      return _closest(title, exact, self._titles_N), True
    if self._loose is None:
      self._loose = _rows_by(self._titles_N, _loose_keys)
    return _closest(title, self._loose.get(loose_key(title), []), self._titles_N), False

  def near(self, title: str) -> list[str]:
    """The titles that are most like one that no item has, at most three."""
    return [self._titles_N[self._rows[key][0]] for key in _near(title_key(title), [*self._rows])]

  def holding(self, text: str, limit: int) -> list[int]:
    """Rows of at most so many items whose title holds a text, first where it begins with it."""
    wanted, begins, others = title_key(text), [], []
    for key, rows in self._rows.items():
      if wanted and key.startswith(wanted):
        begins += rows
      elif wanted in key and len(others) < limit:
        others += rows
    return [*begins, *others][:limit]


def _folded(text: str) -> str:
  """Text whose case and Unicode form do not count, with one blank for each run of them."""
  if text.isascii():
    return _BLANKS.sub(" ", text.casefold())
  folded = unicodedata.normalize("NFD", text).casefold()
  return _BLANKS.sub(" ", unicodedata.normalize("NFC", folded))


def _without_signs(folded: str) -> str:
  if folded.isascii():
    return " ".join(_NO_WORD.sub(" ", folded).split())
  kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
  return " ".join("".join(kept).split())


def _rows_by(
  titles_N: Sequence[str],
  keys_of: Callable[[str], Iterable[str]],
  first: int = 0,
  before: Mapping[str, list[int]] | None = None,
) -> dict[str, list[int]]:
  """The item rows of each key, `first` and on, after those before; titles without a key have none.

  The lists of `before` stay as they are.
  """
  rows, own = dict(before or {}), set()
  for row, title in enumerate(titles_N, first):
    for key in keys_of(title):
      if key in own:
        rows[key].append(row)
      elif key:
        own.add(key)
        rows[key] = [*rows.get(key, ()), row]
  return rows


def _loose_keys(title: str) -> set[str]:
  """All ways to write a title loosely: with its year or without, its article on either side."""
  year = YEAR.search(title)
  body = title_key(title[: year.start()] if year else title)
  moved = _ARTICLE_LAST.sub(r"\2 \1", body), _ARTICLE_FIRST.sub(r"\2 \1", body)
  keys = {_without_signs(form) for form in (body, *moved)}
  if year:
    digits = year.group().strip().strip("()")
    keys |= {f"{key} {digits}".strip() for key in keys}
  return keys


def _closest(asked: str, rows: Sequence[int], titles_N: Sequence[str]) -> Sequence[int]:
  """Of several items, those whose title is most like what was asked, if some are more so."""
  for spell in (str.strip, title_key, lambda title: title_key(YEAR.sub("", title))):
    alike = [row for row in rows if spell(titles_N[row]) == spell(asked)]
    if alike:
      return alike
  return rows


def _near(key: str, known: Sequence[str]) -> list[str]:
  """The known keys that are most similar, at most three."""
  if len(key) > _MOST_COMPARED:
    return []
  short = [other for other in known if len(other) <= _MOST_COMPARED]
  return difflib.get_close_matches(key, short, n=_NEAR, cutoff=0.5)
