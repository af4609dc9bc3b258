"""Metadata of Amazon's products as published in 2014, 2018 and 2023: what is known of some items.

        id           categories                       price          free text
  2014  asin         the first of its lists (a path)  9.99           brand, description
  2018  asin         category                         '$9.99'        brand, feature, description
  2023  parent_asin  main_category, then categories   9.99, '9.99'   store, features, description

One item a line; 2014's lines are Python literals, the others JSON. A missing value is absent,
null, '' or []. Each line is read by its own fields.

Rules, each with a note that counts what it met:
  * Lines about items that are not asked for are left out, mostly unparsed, so that a fault in
    such a line may stay unseen.
  * Lines without an id are dropped, and of several lines about an item the first describes it.
  * A price is one number, perhaps with a dollar sign; ranges and other text are missing prices.
  * A brand 'Unknown' is none. A title that is a page's script, as some of 2018 are, is none.
  * Text loses its HTML: entities (&amp; → &), tags and line breaks.
"""

import html
import re
from collections.abc import Collection
from typing import Any

import polars as pl
from etils import epath

from sidrec.data.sources.amazon import free_text
from sidrec.data.sources.amazon_lines import numbered_lines, parse_line
from sidrec.data.sources.rules import counted
from sidrec.data.sources.shown import shown

_SCHEMA = {
  "item": pl.String,
  "title": pl.String,
  "categories": pl.List(pl.String),
  "text": pl.String,
  "price": pl.Float64,
}
# Finds every id that is written without escapes, and perhaps more: asin': 'B000…'
_IDS = re.compile(rb"""asin["']\s*:\s*["']([^"'\\]*)["']""")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "\\n")
_SCRIPT = "getTime()"  # what the titles that are no titles hold


def read_metadata(
  file: epath.Path, wanted: Collection[str], max_characters: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
  """Reads what a file says about the wanted items.

  Args:
    file: plain or gzip (its name ends in .gz).
    wanted: ids.
    max_characters: of a title, of a category's name and of a free text, which are cut there.

  Returns:
    Of the wanted items that are described, in file order: item, title, categories, free text,
    such as 'Brand: OPI. Dries fast Nail lacquer …', and price; and notes.

  Raises:
    ValueError: if it describes none of the wanted items, and with file and line for a line that
      is no object, or a review.
  """
  wanted = frozenset(wanted)
  asked = {id_.encode("utf-8", "replace") for id_ in wanted}
  items: dict[str, tuple] = {}
  skipped = nameless = repeated = 0
  odd_prices: list[str] = []
  for number, line in numbered_lines(file):
    named = _IDS.findall(line)
    if named and asked.isdisjoint(named):
      skipped += 1
      continue
    row = parse_line(file, number, line)
    if "reviewerID" in row or "user_id" in row:
      raise ValueError(f"{file}:{number} is a review; metadata has a line for each item")
    id_ = str(row.get("parent_asin") or row.get("asin") or "")
    nameless += not id_
    repeated += id_ in items
    skipped += bool(id_) and id_ not in wanted
    if id_ in items or id_ not in wanted:
      continue
    try:
      items[id_] = (id_, *_facts(row, max_characters))
      if items[id_][-1] is None and (said := _plain(row.get("price"))).lower() not in _MISSING:
        odd_prices.append(said[:60])
    except RecursionError as error:
      raise ValueError(f"{file}:{number}: lists in too many lists: {shown(line[:200])}") from error
  if not items:
    raise ValueError(
      f"{file} describes none of the {len(wanted):,} items that were interacted with; is it the "
      "metadata of another category or year?"
    )
  frame = pl.DataFrame(list(items.values()), _SCHEMA, orient="row")
  about = f"of {file.name} about items"
  notes = {
    f"left out {counted(skipped, 'line')} {about} without interactions": skipped,
    f"dropped {counted(nameless, 'line')} of {file.name} without an id": nameless,
    f"dropped {counted(repeated, 'line')} {about} that an earlier describes": repeated,
    **_missing_values(frame, odd_prices),
  }
  return frame, tuple(note for note, count in notes.items() if count)


def _facts(row: dict[str, Any], max_characters: int) -> tuple:
  """The columns of an item after its id."""
  return (
    _title(row, max_characters),
    _categories(row, max_characters),
    _free_text(row, max_characters),
    _price(row.get("price")),
  )


def _missing_values(items: pl.DataFrame, odd_prices: list[str]) -> dict[str, int]:
  """Notes on titles and prices, and what each counts."""
  untitled, priceless = int((items["title"] == "").sum()), items["price"].null_count()
  described = f"of {len(items):,} described items have no"
  odd = f"the price of {len(odd_prices):,} of these is not one number, such as "
  return {
    f"{untitled:,} {described} title": untitled,
    f"{priceless:,} {described} price": priceless,
    f"{odd}{next(iter(odd_prices), '')!r}": len(odd_prices),
  }


def _title(row: dict[str, Any], max_characters: int) -> str:
  title = _plain(row.get("title"))
  return "" if _SCRIPT in title else _cut(title, max_characters)


def _categories(row: dict[str, Any], max_characters: int) -> list[str]:
  """The names, in order; those of a path may repeat."""
  found = row.get("categories") or []
  if row.get("category"):
    names = row["category"]
  elif isinstance(found, list) and found and isinstance(found[0], list):
    names = found[0]
  else:
    names = list(dict.fromkeys(map(_plain, [row.get("main_category"), *_as_list(found)])))
  cut = (_cut(_plain(name), max_characters) for name in _as_list(names))
  return [name for name in cut if name]


def _price(value: Any) -> float | None:
  """One number, None for anything else."""
  match = _PRICE.fullmatch(_plain(value))
  return float(match[1].replace(",", "")) if match else None


def _free_text(row: dict[str, Any], max_characters: int) -> str:
  parts = (_plain(row.get(name)) for name in ("features", "feature", "description"))
  brand = _plain(row.get("brand") or row.get("store"))
  return _cut(free_text(brand, " ".join(filter(None, parts))), max_characters)


def _plain(value: Any) -> str:
  """A value, or the values of a list, as one line of text without HTML."""
  if isinstance(value, list):
    return " ".join(filter(None, map(_plain, value)))
  text = "" if value is None else str(value)
  text = html.unescape(_TAG.sub(" ", text))
  # Half of a surrogate pair, which JSON can spell, is no character.
  return " ".join(text.encode("utf-8", "replace").decode().split())


def _cut(text: str, max_characters: int) -> str:
  return text[:max_characters].rstrip()


def _as_list(value: Any) -> list[Any]:
  return value if isinstance(value, list) else [value]
