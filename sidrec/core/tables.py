"""Tables in plain text and in Markdown."""

from collections.abc import Sequence


def aligned_table(
  rows: Sequence[Sequence[str]], names: int | None = None, underline: bool = True
) -> str:
  """Columns of equal width, the first row underlined.

  Args:
    rows: the cells, the header first.
    names: columns that are set to the left; those behind hold numbers. None for all.
    underline: whether to mark the header.
  """
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = list(zip(row, widths, strict=True))
    left = [cell.ljust(width) for cell, width in cells[:names]]
    right = [] if names is None else [cell.rjust(width) for cell, width in cells[names:]]
    lines.append("  ".join(left + right).rstrip())
  if underline:
    lines.insert(1, "  ".join("-" * width for width in widths))
  return "\n".join(lines)


def markdown_table(rows: Sequence[Sequence[str]], names: int | None = None) -> str:
  """The same as a Markdown table; `names` as for `aligned_table`."""
  lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
  left = ["---" for _ in rows[0][:names]]
  right = [] if names is None else ["---:" for _ in rows[0][names:]]
  lines.insert(1, "| " + " | ".join(left + right) + " |")
  return "\n".join(lines)
