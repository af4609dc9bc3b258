"""Semantic IDs as LC-Rec, LETTER and MiniOneRec exchange them, for language models.

An index file (.json, or .json.gz) gives each item one token per level; the letter is the
level, the number the code:

  {"0": ["<a_45>", "<b_128>", "<c_67>"], "1": ["<a_45>", "<b_3>", "<c_200>"]}

A vocabulary file lists the tokens, one a line. Levels beyond the 26th go on with
aa, ab, …, as columns of a spreadsheet do. IDs in an index file need not be unique.
"""

import gzip
import io
import json
import os
import re
import reprlib
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from sidrec.catalogue.row_text import row_text
from sidrec.catalogue.semantic_id_files import quoted, unique_object
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.core.atomic import write_whole, write_whole_text
from sidrec.core.codes import MAX_CODEBOOK_SIZE, check_codes, check_sizes
from sidrec.core.paths import as_path
from sidrec.core.readers import parse_json

MAX_RATIO = 100  # of a gzip file's content to its size; real ones have 5 to 20
MIN_LIMIT = 1 << 20  # bytes that are always read

TOKEN = re.compile("<([a-z]+)_(0|[1-9][0-9]{0,9})>")


class Index(NamedTuple):
  """What an index file says."""

  keys: list[str]  # the N items' names, in the file's order
  codes_NxL: np.ndarray  # int32; rows may repeat
  codebook_size: int  # V
  by_row: bool = False  # the keys are rows of the catalogue, as in sidrec's own files


def read_index(path: str | os.PathLike) -> Index:
  """Reads an index file, gzipped or not, or a semantic-ID file of sidrec, .json or .npz.

  The codebook size of an index file is the smallest that holds its codes.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is no index file; says which item is wrong.
  """
  path = as_path(path)
  if not path.is_file():
    raise FileNotFoundError(f"no index file {path}; give a .json or .json.gz of semantic IDs")
  if path.suffix == ".npz":
    return _own_index(path)
  try:
    content = _json_object(path.read_bytes())
    if "item_to_semantic" not in content:
      codes_NxL = _codes(content)
      size = max(2, int(codes_NxL.max()) + 1)
      check_sizes(1, size)
      return Index(list(content), check_codes(codes_NxL, size), size)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  return _own_index(path)


def align_index(index: Index, item_ids: ArrayLike, offset: int = 0) -> np.ndarray:
  """Lines an index up with a catalogue; items that only the file has are left out.

  Args:
    index: from `read_index`.
    item_ids: integer or str [N], the catalogue's ids in its order. An index by row must
      have as many rows.
    offset: the file's number of an item minus the catalogue's id of it; LETTER's own files
      count from 0 where S3-Rec's catalogues count from 1, so -1. 0 for text ids.

  Returns:
    codes_NxL int32; rows may repeat.

  Raises:
    ValueError: if the index lacks an item; says how many and names the first.
  """
  ids_N = np.asarray(item_ids)
  if ids_N.ndim != 1 or not (np.issubdtype(ids_N.dtype, np.integer) or ids_N.dtype.kind in "UT"):
    raise ValueError(
      f"item ids of shape {ids_N.shape} and type {ids_N.dtype} cannot be looked up in an index; "
      "give one axis of integers or text"
    )
  if index.by_row:
    if offset or len(ids_N) != len(index.keys):
      raise ValueError(
        f"the index has {len(index.keys)} items by catalogue row, but the catalogue has "
        f"{len(ids_N)} (offset {offset}); give the IDs of this catalogue, and offset 0"
      )
    ids_N = np.arange(len(ids_N))
  if offset and ids_N.dtype.kind in "UT":
    raise ValueError(f"an offset of {offset} cannot be added to item ids that are text; give 0")
  ids = ids_N.tolist()
  row_of = {key: row for row, key in enumerate(index.keys)}
  wanted = [str(item + offset) for item in ids] if offset else [str(item) for item in ids]
  missing = [repr(item) for item, key in zip(ids, wanted, strict=True) if key not in row_of]
  if missing:
    shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    raise ValueError(
      f"the index has no semantic ID for {len(missing)} of {len(ids)} items: {shown}; give the "
      f"index of this catalogue, or another offset than {offset} (the index has keys such as "
      f"{', '.join(map(repr, index.keys[:3]))})"
    )
  return index.codes_NxL[[row_of[key] for key in wanted]]


def write_index(
  path: str | os.PathLike, codes: ArrayLike, keys: Sequence[Any] | np.ndarray
) -> None:
  """Writes an index file, compressed if the name ends in .gz; it appears whole or not at all.

  Args:
    path: the file; parent folders are made.
    codes: integer [N, L], not negative.
    keys: the N items' names in the file, e.g. their original ids or rows; written as text.

  Raises:
    ValueError: if a key repeats, there is not one for each row, or the codes are not valid.
  """
  codes_NxL = check_codes(codes, MAX_CODEBOOK_SIZE)
  names = np.array([json.dumps(str(key), ensure_ascii=False) for key in keys], object)
  if len(names) != len(codes_NxL):
    raise ValueError(f"{len(names)} keys for {len(codes_NxL)} rows of codes; give one for each")
  if len(set(names)) != len(names):
    repeated = Counter(names).most_common(1)[0][0]
    raise ValueError(f"the key {repeated} stands twice; give each item its own")
  token_L = [f'"<{letters(level)}_%d>"' for level in range(codes_NxL.shape[1])]
  text = chain("{", row_text(f"%s: [{', '.join(token_L)}]", [names, *codes_NxL.T]), "}")
  path = as_path(path)
  if path.suffix == ".gz":
    content = gzip.compress("".join(text).encode(), mtime=0)  # equal codes, equal bytes
    write_whole(path, lambda file: file.write(content))
  else:
    write_whole(path, lambda file: file.writelines(part.encode() for part in text))


def new_tokens(codes_NxL: np.ndarray) -> list[str]:
  """The tokens that codes use, by level and then code: what a vocabulary lacks."""
  return [
    f"<{letters(level)}_{code}>"
    for level, column_N in enumerate(codes_NxL.T)
    for code in np.unique(column_N).tolist()
  ]


def write_new_tokens(path: str | os.PathLike, codes_NxL: np.ndarray) -> None:
  """Writes `new_tokens`, one a line; the file appears whole or not at all."""
  write_whole_text(path, "".join(f"{token}\n" for token in new_tokens(codes_NxL)))


def letters(level: int) -> str:
  """The name of a level, counted from 0: a, …, z, aa, ab, …"""
  name, rest = "", level + 1
  while rest:
    rest, digit = divmod(rest - 1, 26)
    name = chr(ord("a") + digit) + name
  return name


def _own_index(path: epath.Path) -> Index:
  manager = SemanticIDManager.load_from_file(path)
  keys = [str(item) for item in manager.item_ids.tolist()]
  return Index(keys, manager.codes, manager.codebook_size, by_row=True)


def _json_object(raw: bytes) -> dict[str, Any]:
  limit = len(raw)
  try:
    if raw[:2] == b"\x1f\x8b":
      limit = max(len(raw) * MAX_RATIO, MIN_LIMIT)
      with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        raw = file.read(limit + 1)
  except (OSError, EOFError, zlib.error, struct.error):
    raise ValueError("the gzip file is damaged; copy it again") from None
  if len(raw) > limit:
    raise ValueError(f"the gzip file holds more than {limit:,} bytes; give an index file")
  try:
    content = parse_json(raw, unique_object)
  except ValueError as error:
    raise ValueError(f"{error}; give an index file") from None
  if not isinstance(content, dict) or not content:
    raise ValueError('the file is not a JSON object of items, as {"0": ["<a_45>", "<b_128>"]}')
  return content


def _codes(content: dict[str, Any]) -> np.ndarray:
  """Tokens to codes: int64 [N, L]."""
  length = None
  for key, tokens in content.items():
    if not isinstance(tokens, list) or not tokens or not all(type(t) is str for t in tokens):
      raise ValueError(
        f'item {quoted(key)} has {reprlib.repr(tokens)}, not a list of tokens such as "<a_45>"'
      )
    length = length or len(tokens)
    if len(tokens) != length:
      raise ValueError(
        f"item {quoted(key)} has {len(tokens)} tokens, but the first item has {length}"
      )
  columns = []
  for level, column in enumerate(zip(*content.values(), strict=True)):
    code_of = {token: _code(token, level) for token in set(column)}
    codes = [code_of[token] for token in column]
    if None in codes:
      key, token = next((k, t[level]) for k, t in content.items() if code_of[t[level]] is None)
      raise ValueError(
        f"item {quoted(key)} has {reprlib.repr(token)} in place {level + 1}, where a token such as "
        f'"<{letters(level)}_45>" is expected'
      )
    columns.append(codes)
  return np.array(columns, np.int64).T


def _code(token: str, level: int) -> int | None:
  """The code of a token; None if it is malformed or belongs to another level."""
  match = TOKEN.fullmatch(token)
  if match is None or match[1] != letters(level):
    return None
  return int(match[2])
