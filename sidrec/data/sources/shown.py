"""Values in messages: whole if they are short, else cut."""

from collections.abc import Iterable


def brief(text: object, limit: int = 300) -> str:
  """The beginning of a text, such as another library's message."""
  text = str(text)
  return text if len(text) <= limit else f"{text[:limit]}…"


def shown(value: object, limit: int = 200) -> str:
  """A value as Python writes it."""
  return brief(repr(value), limit)


def listed(names: Iterable[object], limit: int = 500) -> str:
  """Names with commas between."""
  return brief(", ".join(map(str, names)), limit)
