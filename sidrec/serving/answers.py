"""What a server answers, as JSON."""

from typing import Any

from sidrec.run.answers import Answer
from sidrec.serving.catalogue import Now


def described(now: Now, row: int) -> dict[str, Any]:
  """An item as HTTP gives it."""
  original, title = now.snapshot.asker.described(row)
  state = now.snapshot.state
  return {
    "id": original,
    "title": title,
    "semantic_id": list(state.ids.get_semantic_id(row)),
    "categories": [name for name in state.items.categories_of(row) if name],
    "in_stock": row not in now.withdrawn,
  }


def as_json(answer: Answer) -> dict[str, Any]:
  """An answer as HTTP gives it: all but `certified`, since a server searches without."""
  items = [{**item._asdict(), "semantic_id": list(item.semantic_id)} for item in answer.items]
  return {
    "items": items,
    "user": answer.user,
    "unknown": list(answer.unknown),
    "ambiguous": {title: list(ids) for title, ids in answer.ambiguous.items()},
    "taken_for": dict(answer.taken_for),
    "read": answer.read,
    "asked_at": answer.asked_at,
  }


def as_plain(value: Any) -> Any:
  """Named tuples as objects, answers as `as_json` gives them."""
  if isinstance(value, Answer):
    return as_json(value)
  if hasattr(value, "_asdict"):
    return {name: as_plain(part) for name, part in value._asdict().items()}
  if isinstance(value, dict):
    return {name: as_plain(part) for name, part in value.items()}
  if isinstance(value, (list, tuple)):
    return [as_plain(part) for part in value]
  return value
