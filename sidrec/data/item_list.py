"""The catalogue as a table for people and other programs: items.tsv."""

import re

from sidrec.data.dataset import Items

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # ends of lines, tabs and other controls


def item_list(items: Items) -> str:
  """Tab-separated text with a line for each item: its row, its id and its title.

  Newlines, tabs and other control characters in ids and titles become blanks. A value that begins
  with a quote stands in quotes, with its own quotes doubled, as in CSV.
  """
  rows = enumerate(zip(items.ids_N.tolist(), items.titles_N.tolist(), strict=True))
  lines = [f"{row}\t{_cell(item)}\t{_cell(title)}\n" for row, (item, title) in rows]
  return "".join(["row\titem_id\ttitle\n", *lines])


def _cell(value: int | str) -> str:
  text = _BREAKS.sub(" ", str(value))
  return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text
