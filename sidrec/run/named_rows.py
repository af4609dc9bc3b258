"""Item and user rows from what a person writes: ids, lists and files of them, and titles."""

from collections.abc import Mapping, Sequence

import numpy as np

from sidrec.catalogue.titles import Names, find_titles
from sidrec.core.paths import as_path
from sidrec.core.printable import printable
from sidrec.data.dataset import Items
from sidrec.run.ask import rows_by_id

SHOWN_AMBIGUOUS = 20  # items of one title


def rows_of_ids(texts: Sequence[str] | str, ids_N: np.ndarray, what: str) -> list[int]:
  """Rows of original ids, from texts as `run.recommend.Request` describes them.

  Raises:
    ValueError: naming the first id that is not there, or if there is none at all.
    FileNotFoundError: if a file is not there.
  """
  known = rows_by_id(ids_N)
  names = Names({name: [row] for name, row in known.items()}, str, ",")
  rows = []
  for text in [texts] if isinstance(texts, str) else texts:
    if text in known:
      rows.append(known[text])
    elif text.startswith("@"):
      rows += [row_of(line, known, what) for line in _lines_of(text[1:])]
    else:
      rows += _rows_in_list(text, known, names, what)
  if not rows:
    raise ValueError(f"no {what} is named; give {what} ids, such as {printable(next(iter(known)))}")
  return rows


def row_of(name: str, known: Mapping[str, int], what: str) -> int:
  """The row of an id; raises ValueError if it is not there."""
  row = known.get(name, known.get(name.strip()))
  if row is None:
    example = printable(next(iter(known)))
    raise ValueError(
      f"{what} '{printable(name.strip())}' is not in the data set; {what} ids look like {example}"
    )
  return row


def _rows_in_list(text: str, known: Mapping[str, int], names: Names, what: str) -> list[int]:
  pieces, rows, at = text.split(","), [], 0
  while at < len(pieces):
    if not pieces[at].strip() and names.longest(pieces, at) is None:
      at += 1  # nothing between two commas
      continue
    found = names.longest(pieces, at)
    if found is None:
      row_of(pieces[at], known, what)  # raises
      break
    at = found[0]
    rows += found[1]
  return rows


def _lines_of(name: str) -> list[str]:
  """The lines of a text file that are not blank."""
  path = as_path(name)
  if not path.is_file():
    raise FileNotFoundError(f"there is no file '{printable(path)}'; after @ comes a file of ids")
  try:
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not UTF-8 text; write one id a line") from error
  return [line for line in text.split("\n") if line.strip()]


def rows_of_titles(
  texts: Sequence[str] | str, items: Items, *, needs_all: bool = False
) -> list[int]:
  """Item rows of comma-separated titles; prints what no item is called, or several are.

  Raises:
    ValueError: if no title names an item; with `needs_all` if one of them does not.
  """
  rows, left_out = [], False
  titles_N = items.titles_N.tolist()

  def named(row: int) -> str:
    return f"{printable(titles_N[row])} (id {printable(items.ids_N[row])})"

  for text in [texts] if isinstance(texts, str) else texts:
    found = find_titles(text, titles_N)
    rows += found.items
    left_out = left_out or bool(found.missing or found.ambiguous)
    for title, row in found.loose.items():
      print(f"no title is '{printable(title)}'; taken for {named(row)}")
    for title, several in found.ambiguous.items():
      ids = ", ".join(map(named, several[:SHOWN_AMBIGUOUS]))
      more = ", …" if len(several) > SHOWN_AMBIGUOUS else ""
      print(
        f"left out, for {len(several)} items may be meant by '{printable(title)}': {ids}{more}; "
        "ask with --items"
      )
    for title, near in found.missing.items():
      hint = f"; near: {', '.join(map(printable, near))}" if near else ""
      print(f"not in the catalogue: '{printable(title)}'{hint}")
  if not rows:
    raise ValueError("none of the titles in --history names one item of the catalogue")
  if needs_all and left_out:
    raise ValueError(
      "a title in --history was left out, and it is not clear which of --times, --ratings and "
      "--actions are its own; take it out there, too, or ask with --items"
    )
  return rows
