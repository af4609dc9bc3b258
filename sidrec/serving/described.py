"""What clients say about items, in the terms of a run."""

from typing import Any

import numpy as np

from sidrec.data.dataset import TEXT, Items
from sidrec.run.answers import Id
from sidrec.serving.bodies import RequestError
from sidrec.serving.state import NewItem


def new_item(item: dict[str, Any], where: str, items: Items) -> NewItem:
  """What is said of an item.

  Raises:
    RequestError: 422 for what the run does not know of items, or an id that is none of its ids.
  """
  numbers = tuple(items.numeric)
  names = ("id", "title", "categories", "text", *numbers)
  for name in item:
    if name not in names:
      raise RequestError(422, f"{where} has {name[:60]!r}; items have {', '.join(names)}")
  return NewItem(
    _id_like(item["id"], where, items),
    item.get("title", ""),
    tuple(item.get("categories", ())),
    item.get("text", ""),
    tuple((name, float(item[name])) for name in numbers if name in item),
  )


def describes_otherwise(item: dict[str, Any], where: str, items: Items, row: int) -> bool:
  """Whether a client describes a removed item otherwise than it is known."""
  return len(item) > 1 and not _says_the_same(new_item(item, where, items), items, row)


def _says_the_same(item: NewItem, items: Items, row: int) -> bool:
  """Whether an item is described as a row of a table, as far as it is described."""
  columns = {name: column[row] for name, column in items.numeric.items()}
  return (
    item.title in ("", items.titles_N[row])
    and item.text in ("", items.text_N[row])
    and (not item.categories or list(item.categories) == items.categories_of(row))
    and all(np.float32(value) == columns[name] for name, value in item.numbers)
  )


def _id_like(value: Id, where: str, items: Items) -> Id:
  """An id of the type of the run's ids."""
  text = str(value)
  if text != text.strip():
    raise RequestError(422, f"{where}.id has blanks around it")
  if items.ids_N.dtype == TEXT:
    return text
  number = int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else None
  if number is None or str(number) != text or abs(number) >= 1 << 63:
    raise RequestError(422, f"{where}.id is no whole number, as the ids of this run are")
  return number
