"""Checks the counts in a Parquet file's headers, on which readers rely when they ask for memory.

A count below zero or far beyond the file would end the process. See
https://parquet.apache.org/docs/file-format/ and Thrift's compact protocol.
"""

import io
from typing import IO, Any

from etils import epath

from sidrec.core.copies import local
from sidrec.data.sources.shown import brief

_MAGIC = b"PAR1"
_HEADER = 1 << 16  # bytes that a page's header takes at most, with its statistics
_MAX_DEPTH = 16
_MAX_RATIO, _SMALL = 1000, 64 << 20  # of a page and its compressed bytes
_VALUES_PER_BYTE = 1 << 14  # runs of one value take next to nothing


def check_pages(file: epath.Path) -> None:
  """Raises ValueError if a header says what cannot be; files that are no Parquet pass."""
  size = local(file).stat().st_size
  with local(file).open("rb") as stream:
    stream.seek(max(size - 8, 0))
    end = stream.read(8)
    if size < 12 or end[4:] != _MAGIC:
      return
    length = int.from_bytes(end[:4], "little")
    if length > size - 12:
      raise ValueError(f"{file} is no readable Parquet file: its footer is cut off")
    stream.seek(size - 8 - length)
    try:
      footer = _struct(io.BytesIO(stream.read(length)))
      for group in footer[4]:
        for chunk in group[1]:
          _check_chunk(stream, chunk[3], size)
    except (LookupError, TypeError, ValueError, OverflowError, OSError) as error:
      raise ValueError(f"{file} is no readable Parquet file: {brief(error)}") from error


def _check_chunk(stream: IO[bytes], chunk: dict[int, Any], size: int) -> None:
  """Walks over the pages of a column in a row group."""
  left = chunk[5]
  if not 0 <= left <= _VALUES_PER_BYTE * size:
    raise ValueError(f"a column with {left} values")
  at = min(filter(None, (chunk.get(11), chunk[9])))
  while left > 0:
    if not 0 <= at < size:
      raise ValueError("a page beyond the end")
    stream.seek(at)
    data = stream.read(_HEADER)
    header = io.BytesIO(data)
    page = _struct(header)
    unpacked, packed = page[2], page[3]
    if not 0 <= packed <= size - at or not 0 <= unpacked <= max(_SMALL, _MAX_RATIO * packed):
      raise ValueError(f"a page of {packed} bytes that unpack to {unpacked}")
    counts = [page[kind][1] for kind in (5, 7, 8) if kind in page]
    if any(not 0 <= count <= chunk[5] for count in counts):
      raise ValueError(f"a page of {counts[0]} values in a column of {chunk[5]}")
    if 7 not in page:
      left -= sum(counts)
    at += header.tell() + packed


# Thrift's compact protocol.


def _struct(data: io.BytesIO, depth: int = 0) -> dict[int, Any]:
  """Field → value."""
  if depth > _MAX_DEPTH:
    raise ValueError("headers nested too deeply")
  fields: dict[int, Any] = {}
  number = 0
  while kind := _byte(data):
    step, kind = kind >> 4, kind & 15
    number = number + step if step else _zigzag(data)
    fields[number] = kind == 1 if kind in (1, 2) else _value(data, kind, depth)
  return fields


def _value(data: io.BytesIO, kind: int, depth: int) -> Any:
  match kind:
    case 1 | 2 | 3:  # in lists also booleans take a byte
      return _byte(data)
    case 4 | 5 | 6:
      return _zigzag(data)
    case 7:
      return _bytes(data, 8)
    case 8:
      return _bytes(data, _varint(data))
    case 9 | 10:
      head = _byte(data)
      count = head >> 4 if head >> 4 < 15 else _varint(data)
      return [_value(data, head & 15, depth + 1) for _ in range(count)]
    case 12:
      return _struct(data, depth + 1)
  raise ValueError(f"unknown type {kind} in a header")


def _byte(data: io.BytesIO) -> int:
  return _bytes(data, 1)[0]


def _bytes(data: io.BytesIO, count: int) -> bytes:
  if len(found := data.read(count)) < count:
    raise ValueError("a header is cut off")
  return found


def _varint(data: io.BytesIO) -> int:
  found = shift = 0
  while shift < 70:
    byte = _byte(data)
    found |= (byte & 127) << shift
    if byte < 128:
      return found
    shift += 7
  raise ValueError("a number in a header is too long")


def _zigzag(data: io.BytesIO) -> int:
  number = _varint(data)
  return number >> 1 ^ -(number & 1)
