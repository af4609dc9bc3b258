"""An item that a client adds, in the run's terms."""

from typing import Any

from sidrec.data.dataset import TEXT, Items
from sidrec.run.answers import Id
from sidrec.serving.bodies import RequestError
from sidrec.serving.state import NewItem


def new_item(item: dict[str, Any], where: str, items: Items) -> NewItem:
  """What is said of an item, in the run's terms; raises RequestError 422 for what is not."""
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
