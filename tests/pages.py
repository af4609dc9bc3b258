"""Reads a page back: its elements, and its tables as texts."""

from html.parser import HTMLParser

VOID = {"meta", "br"}


class Page(HTMLParser):
  """The elements of a page, in order; every element has to be closed."""

  def __init__(self, text):
    super().__init__()
    self.elements, self.open, self.words, self.tables = [], [], [], {}
    self._table, self._caption, self._depth = None, "", {}
    self.feed(text)
    self.close()
    assert self.open == [], self.open

  def handle_starttag(self, name, attributes):
    self.elements.append((name, dict(attributes)))
    if name in VOID:
      return
    self.open.append(name)
    if name == "table":
      self._table, self._caption = [], ""
    elif name == "tr":
      self._table.append([])
    elif name in ("td", "th"):
      self._table[-1].append("")

  def handle_startendtag(self, name, attributes):
    self.elements.append((name, dict(attributes)))

  def handle_endtag(self, name):
    assert self.open.pop() == name
    if name == "table":
      self.tables[self._caption] = self._table
      self._table = None

  def handle_data(self, data):
    self.words.append(data)
    if "caption" in self.open:
      self._caption += data
    elif self._table and self._table[-1] and ("td" in self.open or "th" in self.open):
      self._table[-1][-1] += data

  @property
  def text(self):
    return "\n".join(self.words)

  def names(self):
    return [name for name, _ in self.elements]
