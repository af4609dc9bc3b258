"""Text from files on a terminal."""

import pytest

from sidrec.core.printable import printable


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    ("Amélie · मेला 👩\u200d🔬", "Amélie · मेला 👩\u200d🔬"),
    ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
    ("two\nlines\u2028\x9b", "two\\nlines\\u2028\\x9b"),
    ("right\u202eto left", "right\\u202eto left"),
    ("half \ud83d", "half \\ud83d"),
    (17, "17"),
    (300 * "x", 199 * "x" + "…"),
  ],
)
def test_shown(text, shown):
  assert printable(text) == shown
