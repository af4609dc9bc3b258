"""Tables in plain text, cell by cell."""

from sidrec.core.tables import aligned_table


def test_columns_of_a_table_line_up():
  lines = aligned_table([["a", "bb"], ["ccc", "d"]]).splitlines()
  assert lines == ["a    bb", "---  --", "ccc  d"]


def test_numbers_stand_to_the_right_and_the_underline_may_go():
  rows = [["name", "n"], ["a", "10"], ["bcdef", "7"]]
  assert aligned_table(rows, names=1).splitlines() == [
    "name    n",
    "-----  --",
    "a      10",
    "bcdef   7",
  ]
  assert aligned_table(rows, names=1, underline=False).splitlines()[1] == "a      10"
