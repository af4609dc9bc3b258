"""Markup in which no text can become markup: every text is escaped where it enters a tag."""

import html
from collections.abc import Iterable, Sequence

from sidrec.core.printable import printable

_VOID = {"meta", "br"}
_SHAPES = {"circle", "line", "path", "rect", "use"}  # of SVG, which may close themselves


class Html(str):
  """Markup that stands as it is. Any other text is escaped by `tag`."""

  __slots__ = ()


Part = str | float | None  # of a tag's content; None is nothing


def tag(name: str, *parts: Part, **attributes: str | float | None) -> Html:
  """An element.

  Args:
    name: of the element.
    *parts: its content: markup (`Html`), or text, which is escaped.
    **attributes: 'class_' stands for class, 'aria_label' for aria-label; those that are None are
      left out, and numbers are written short.
  """
  given = "".join(
    f' {key.rstrip("_").replace("_", "-")}="{html.escape(_text(value))}"'
    for key, value in attributes.items()
    if value is not None
  )
  if name in _VOID:
    return Html(f"<{name}{given}>")
  if name in _SHAPES and not parts:
    return Html(f"<{name}{given}/>")
  return Html(f"<{name}{given}>{join(parts)}</{name}>")


def join(parts: Iterable[Part]) -> Html:
  """Parts one after another; texts are escaped."""
  return Html("".join(_escaped(part) for part in parts if part is not None))


def paragraph(*parts: Part) -> Html:
  """A paragraph."""
  return tag("p", *parts)


def section(title: str, *parts: Part) -> Html:
  """A section with its heading; `page` lists it in the contents."""
  return tag("section", tag("h2", title), *parts, id=anchor(title))


def anchor(title: str) -> str:
  """What a link to a section says after '#'."""
  return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


def table(caption: str, rows: Sequence[Sequence[Part]], names: int = 1) -> Html:
  """A table that scrolls sideways where it does not fit.

  Args:
    caption: what it shows.
    rows: the header first.
    names: how many columns hold text; those after them hold numbers.
  """
  header, *body = rows

  def cells(row: Sequence[Part]) -> list[Html]:
    first = [tag("th", cell, scope="row") for cell in row[:1]]
    return first + [
      tag("td", cell, class_=None if at < names else "n") for at, cell in enumerate(row[1:], 1)
    ]

  head = [
    tag("th", cell, scope="col", class_=None if at < names else "n")
    for at, cell in enumerate(header)
  ]
  whole = tag(
    "table",
    tag("caption", tag("span", caption)),
    tag("thead", tag("tr", *head)),
    tag("tbody", *(tag("tr", *cells(row)) for row in body)),
    class_="prose" if names > 1 else None,
  )
  return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def figure(chart: Html, caption: str, *legend: Part, wide: bool = False) -> Html:
  """A chart with its legend above and its caption below."""
  key = tag("div", *legend, class_="legend") if legend else None
  return tag("figure", key, chart, tag("figcaption", caption), class_="wide" if wide else None)


def folded(summary: str, *parts: Part) -> Html:
  """What is shown on a click."""
  return tag("details", tag("summary", summary), *parts)


def pair(*parts: Part) -> Html:
  """Side by side where there is room."""
  return tag("div", *parts, class_="pair")


def _escaped(part: str | float) -> str:
  return part if isinstance(part, Html) else html.escape(_shown(part))


def _shown(part: str | float) -> str:
  return printable(part, 1000) if isinstance(part, str) else _text(part)


def _text(value: str | float) -> str:
  """A number without needless digits."""
  if isinstance(value, float):
    value = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if value == "-0" else value
  return str(value)
