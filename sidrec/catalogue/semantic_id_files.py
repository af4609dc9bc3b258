"""Files of semantic IDs: readable JSON, or a compact `.npz` twin.

A JSON file looks like this:

  {"item_to_semantic": {"0": [0,0,0,0], "520": [8,2,0,0]},
   "semantic_to_item": {"[0, 0, 0, 0]": 0, "[8, 2, 0, 0]": 520},
   "metadata": {"id_length": 4, "codebook_size": 256, "num_items": 2,
                "generation_method": "simple_mapping"}}
"""

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from sidrec.core.atomic import write_whole

METADATA_KEYS = {
  "id_length": int,
  "codebook_size": int,
  "num_items": int,
  "generation_method": str,
}
ROWS_PER_WRITE = 65536  # bounds the memory that writing a large JSON file takes


def write(path: Path, codes_NxL: np.ndarray, ids_N: np.ndarray, metadata: dict[str, Any]) -> None:
  """Writes JSON, or `.npz` if the name ends so; the file appears whole or not at all."""
  if path.suffix == ".npz":
    write_whole(path, lambda file: _write_npz(file, codes_NxL, ids_N, metadata))
  else:
    lines = _json_text(codes_NxL, ids_N, metadata)
    write_whole(path, lambda file: file.writelines(text.encode() for text in lines))


def read(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
  """Codes, item ids and metadata of a file.

  Raises:
    ValueError: if the file is damaged or contradicts itself.
  """
  codes_NxL, ids_N, metadata = (_read_npz if path.suffix == ".npz" else _read_json)(path)
  _check_metadata(metadata, *codes_NxL.shape)
  return codes_NxL, ids_N, metadata


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """An `object_pairs_hook` that refuses repeated keys, which `json` would drop silently."""
  made = dict(pairs)
  if len(made) != len(pairs):
    seen: set[str] = set()
    for key, _ in pairs:
      if key in seen:
        raise ValueError(f"the key {json.dumps(key)} stands twice; keep one")
      seen.add(key)
  return made


def _write_npz(
  file: IO[bytes], codes_NxL: np.ndarray, ids_N: np.ndarray, metadata: dict[str, Any]
) -> None:
  smallest_code = np.min_scalar_type(metadata["codebook_size"] - 1)
  np.savez_compressed(
    file,
    codes_NxL=codes_NxL.astype(smallest_code),
    item_ids_N=ids_N.astype(np.min_scalar_type(ids_N.max())),
    metadata=np.array(json.dumps(metadata)),
  )


def _json_text(codes_NxL: np.ndarray, ids_N: np.ndarray, metadata: dict[str, Any]) -> Iterator[str]:
  def entries(entry: Callable[[int, list[int]], str]) -> Iterator[str]:
    for start in range(0, len(ids_N), ROWS_PER_WRITE):
      rows = slice(start, start + ROWS_PER_WRITE)
      pairs = zip(ids_N[rows].tolist(), codes_NxL[rows].tolist(), strict=True)
      yield (", " if start else "") + ", ".join(entry(item, tokens) for item, tokens in pairs)

  yield '{"item_to_semantic": {'
  yield from entries(lambda item, tokens: f'"{item}": [{",".join(map(str, tokens))}]')
  yield '},\n "semantic_to_item": {'
  yield from entries(lambda item, tokens: f'"{tokens}": {item}')
  yield f'}},\n "metadata": {json.dumps(metadata)}}}\n'


def _check_metadata(metadata: Any, num_items: int, id_length: int) -> None:
  if not isinstance(metadata, dict):
    raise ValueError('"metadata" is not an object; write the file again')
  for key, kind in METADATA_KEYS.items():
    if key not in metadata:
      raise ValueError(f'"metadata" has no "{key}"; write the file again')
    if type(metadata[key]) is not kind:
      raise ValueError(f'"{key}" in "metadata" is {metadata[key]!r}, not {kind.__name__}')
  for key, found in (("num_items", num_items), ("id_length", id_length)):
    if metadata[key] != found:
      raise ValueError(f'"metadata" says {key} {metadata[key]}, but the file has {found}')


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      if missing := {"codes_NxL", "item_ids_N", "metadata"} - set(arrays.files):
        raise KeyError(min(missing))
      codes_NxL, ids_N = arrays["codes_NxL"], arrays["item_ids_N"]
      metadata = json.loads(str(arrays["metadata"]))
  except KeyError as error:
    raise ValueError(f"no array {error} in the file; write it again") from None
  except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError, AttributeError):
    raise ValueError("not a readable .npz file; write it again") from None
  if codes_NxL.ndim != 2:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, levels]")
  return codes_NxL, ids_N, metadata


def _read_json(path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
  try:
    content = json.loads(path.read_bytes(), object_pairs_hook=unique_object)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"not JSON ({error}); write the file again") from None
  if not isinstance(content, dict):
    raise ValueError('the file is not a JSON object; it needs "item_to_semantic"')
  for key in ("item_to_semantic", "semantic_to_item", "metadata"):
    if not isinstance(content.get(key), dict):
      raise ValueError(f'no object "{key}" in the file; write it again')
  forward, backward = content["item_to_semantic"], content["semantic_to_item"]
  _check_forward(forward)
  _check_backward(forward, backward)
  try:
    ids_N = np.array([int(item) for item in forward], np.int64)
    codes_NxL = np.array(list(forward.values()), np.int64)
  except (OverflowError, ValueError):  # too large for int64, or for int() itself
    raise ValueError("a number in the file is larger than 64 bits hold; check it") from None
  return codes_NxL, ids_N, content["metadata"]


def _check_forward(forward: dict[str, Any]) -> None:
  """Requires whole-number items, and for each a list of whole numbers of one length."""
  if not forward:
    raise ValueError('"item_to_semantic" is empty; give at least one item')
  length = None
  for item, tokens in forward.items():
    if not re.fullmatch("0|[1-9][0-9]*", item):
      raise ValueError(f'"item_to_semantic" has the key "{item}", which is no item number')
    if not isinstance(tokens, list) or not tokens:
      raise ValueError(f"item {item} has {tokens!r}, not a list of tokens")
    length = length or len(tokens)
    if len(tokens) != length:
      raise ValueError(f"item {item} has {len(tokens)} tokens, but the first item has {length}")
  # One pass in C finds whether anything is wrong; only then is it looked for.
  if set(map(type, chain.from_iterable(forward.values()))) != {int}:
    for item, tokens in forward.items():
      for token in tokens:
        if type(token) is not int:
          raise ValueError(f"item {item} has the token {token!r}, which is not an integer")


def _check_backward(forward: dict[str, Any], backward: dict[str, Any]) -> None:
  """Requires "semantic_to_item" to be the inverse of "item_to_semantic"."""
  owners: dict[str, str] = {}
  for item, tokens in forward.items():
    text = str(tokens)
    other = owners.setdefault(text, item)
    if other != item:
      raise ValueError(
        f"items {other} and {item} have the same semantic ID {text}; give each its own"
      )
  for text, item in owners.items():
    found = backward.get(text)
    if type(found) is not int or str(found) != item:
      says = f"gives it to {found!r}" if text in backward else "lacks it"
      raise ValueError(
        f'the two maps disagree: item {item} has {text}, but "semantic_to_item" {says}; '
        "write the file again"
      )
  if len(backward) != len(forward):
    extra = next(text for text in backward if text not in owners)
    raise ValueError(
      f'the two maps disagree: "semantic_to_item" has {extra}, which no item of '
      '"item_to_semantic" has; write the file again'
    )
