"""JSON files that know whether they are as they were written: an object with a checksum in it."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from sidrec.core.readers import parse_json

CHECKSUM = "crc32"


def checked_text(content: Mapping[str, Any]) -> str:
  """A JSON object with the CRC-32 of its content.

  Raises:
    ValueError: if a number is not finite.
  """
  whole = {CHECKSUM: _crc32(content), **content}
  return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parse_checked(raw: bytes) -> dict[str, Any]:
  """The content of what `checked_text` made.

  Raises:
    ValueError: if it is not as it was written; the message reads well after 'FILE is'.
  """
  content = parse_json(raw)
  if not isinstance(content, dict) or CHECKSUM not in content:
    raise ValueError("not such a file: it has no checksum")
  if content.pop(CHECKSUM) != _crc32(content):
    raise ValueError("not as it was written: its checksum differs")
  return content


def _crc32(content: Mapping[str, Any]) -> str:
  return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"
