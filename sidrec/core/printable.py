"""Text from files as a terminal may show it."""

import unicodedata

_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, half surrogates, ends of lines
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: object, most: int = 200) -> str:
  """Text on one line that a terminal shows as it is, with no more than `most` characters.

  Control characters become escapes such as \\x1b, so that no title of a catalogue moves the cursor
  or colours the screen.
  """
  whole = str(text)
  cut = whole if len(whole) <= most else whole[: most - 1] + "…"
  return "".join(map(_shown, cut))


def _shown(character: str) -> str:
  if unicodedata.category(character) in _UNSAFE or character in _DIRECTIONS:
    return character.encode("unicode_escape").decode()
  return character
