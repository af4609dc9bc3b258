"""Text of many rows, in parts."""

import numpy as np
import pytest

from sidrec.catalogue import row_text
from sidrec.catalogue.lcrec_index import read_index, write_index

NAMES = ["a", "50% off", 'a "b"', "c, d", "ä"]


@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_parts_join_to_one_text(monkeypatch, at_once):
  monkeypatch.setattr(row_text, "ROWS_AT_ONCE", at_once)
  numbers = np.array([3, 1, 2**40, 0, 7])
  parts = list(row_text.row_text("<%s %d>", [NAMES, numbers]))
  assert len(parts) == -(-len(NAMES) // at_once)
  rows = [f"<{name} {number}>" for name, number in zip(NAMES, numbers.tolist(), strict=True)]
  assert "".join(parts) == ", ".join(rows)


def test_columns_of_other_lengths_are_refused():
  with pytest.raises(ValueError, match="zip"):
    list(row_text.row_text("%s %d", [NAMES, np.arange(4)]))


@pytest.mark.parametrize("name", ["index.json", "index.json.gz"])
def test_an_index_in_parts_reads_back(monkeypatch, tmp_path, name):
  monkeypatch.setattr(row_text, "ROWS_AT_ONCE", 2)
  codes_NxL = np.arange(15).reshape(5, 3)
  write_index(tmp_path / name, codes_NxL, NAMES)
  index = read_index(tmp_path / name)
  assert index.keys == NAMES
  np.testing.assert_array_equal(index.codes_NxL, codes_NxL)
