"""Tokenizers side by side."""

import numpy as np
import pytest

from sidrec.tokenizers.report.comparison import HEADINGS, compare_markdown, compare_table
from sidrec.tokenizers.report.quality import report

CODES = np.array([[0, 1], [0, 1], [0, 2], [3, 0]])
VECTORS = np.array([[0.0], [1.0], [5.0], [9.0]], np.float32)


@pytest.fixture
def reports():
  full = report(
    CODES,
    4,
    VECTORS,
    VECTORS,
    labels={"category": np.array(["a", "a", "a", "b"])},
    timings={"fit": 2.0, "encode": 0.5},
  )
  return {"full": full, "bare|radix": report(CODES[:, :1], 4)}


def test_the_cells(reports):
  lines = compare_table(reports).splitlines()
  cells = dict(zip(HEADINGS, ["full", *lines[2].split()[1:]], strict=True))
  # 3 · 2 and 2 · 1 of the 4 · 3 pairs of items share one code and both.
  assert cells == {
    "tokenizer": "full",
    "codes": "2x4",
    "shared": "50.0%",
    "used": "2",
    "perplexity": "2/3",
    "lost": "0.0%",
    "AMI": "1.000",
    "near 1": "50.0%",
    "near 2": "16.7%",
    "fit s": "2.0",
    "items/s": "8",
  }
  assert lines[3].split() == ["bare|radix", "1x4", "75.0%", "2", "2", *"-" * 6]


def test_both_forms_say_the_same(reports):
  plain, marked = compare_table(reports).splitlines(), compare_markdown(reports).splitlines()
  rows = [line for line in marked if line.startswith("|")]
  assert len(rows) == 2 + len(reports)
  assert {line.replace("\\|", "").count("|") for line in rows} == {len(HEADINGS) + 1}
  assert rows[2].strip("| ").split(" | ")[1:] == plain[2].split()[1:]
  assert rows[3].startswith("| bare\\|radix |")
  assert len({len(line) for line in plain[:4]}) == 1  # aligned
  assert plain[2].startswith("full  ")  # names to the left, figures to the right
  assert plain[3].startswith("bare|radix  ")
  assert plain[2].endswith("    8")
  assert max(map(len, plain)) <= 100
  assert plain[4:] == marked[4:]  # what the columns are


def test_another_label(reports):
  assert "0.000" not in compare_table(reports)
  text = compare_table(reports, label="decade")
  assert "decade" in text
  assert text.splitlines()[2].split()[6] == "-"


def test_refuses_nothing_to_compare():
  for compare in (compare_table, compare_markdown):
    with pytest.raises(ValueError, match="no reports"):
      compare({})
