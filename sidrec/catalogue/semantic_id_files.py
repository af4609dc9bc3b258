"""Files of semantic IDs: readable JSON, or a compact `.npz` twin.

A JSON file looks like this:

  {"item_to_semantic": {"0": [0,0,0,0], "520": [8,2,0,0]},
   "semantic_to_item": {"[0, 0, 0, 0]": 0, "[8, 2, 0, 0]": 520},
   "metadata": {"id_length": 4, "codebook_size": 256, "num_items": 2,
                "generation_method": "simple_mapping", "checksum": "9c5a31a0"}}

`num_items` is the size of the catalogue: at least the number of items in the file. The checksum
may be absent, as in files of other programs. A tokenizer that travels with the map is the object
"tokenizer", see `tokenizer_content.py`.
"""

import json
import re
import reprlib
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any, NamedTuple

import numpy as np
from etils import epath

from sidrec.catalogue.row_text import row_text
from sidrec.catalogue.tokenizer_content import Packed, packed_from_json, packed_to_json
from sidrec.core.atomic import write_whole
from sidrec.core.readers import parse_json, read_npz

METADATA_KEYS = {
  "id_length": int,
  "codebook_size": int,
  "num_items": int,
  "generation_method": str,
}
TOKENIZER = "tokenizer"
PARAMS = "tokenizer/params/"  # before the names of a tokenizer's arrays in `.npz`


class Content(NamedTuple):
  """What a file holds."""

  codes_NxL: np.ndarray
  ids_N: np.ndarray
  metadata: dict[str, Any]  # METADATA_KEYS, and in a file the checksum
  tokenizer: Packed | None = None


def write(path: epath.Path, content: Content) -> None:
  """Writes JSON, or `.npz` if the name ends so; the file appears whole or not at all."""
  metadata = {**content.metadata, "checksum": checksum(content)}
  content = content._replace(metadata=metadata)
  if path.suffix == ".npz":
    write_whole(path, lambda file: _write_npz(file, content))
  else:
    lines = _json_text(content)
    write_whole(path, lambda file: file.writelines(text.encode() for text in lines))


def read(path: epath.Path) -> Content:
  """The content of a file.

  Raises:
    ValueError: if the file is damaged or contradicts itself.
  """
  content = (_read_npz if path.suffix == ".npz" else _read_json)(path)
  _check_metadata(content.metadata, *content.codes_NxL.shape)
  stated = content.metadata.get("checksum")
  if stated is not None and stated != checksum(content):
    raise ValueError("the file is not as it was written (its checksum differs); write it again")
  return content


def checksum(content: Content) -> str:
  """CRC-32 of everything that a file says, in hexadecimal, however it is written."""
  metadata = {key: content.metadata[key] for key in METADATA_KEYS}
  parts = [content.codes_NxL.astype("<i8"), content.ids_N.astype("<i8"), json.dumps(metadata)]
  if content.tokenizer is not None:
    settings, arrays = content.tokenizer
    parts.append(json.dumps(settings, sort_keys=True))
    for name in sorted(arrays):
      parts += [f"{name} {arrays[name].dtype.str} {arrays[name].shape}", arrays[name]]
  crc = 0
  for part in parts:
    raw = part.encode() if isinstance(part, str) else np.ascontiguousarray(part).data
    crc = zlib.crc32(raw, crc)
  return f"{crc:08x}"


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """An `object_pairs_hook` that refuses repeated keys, which `json` would drop silently."""
  made = dict(pairs)
  if len(made) != len(pairs):
    seen: set[str] = set()
    for key, _ in pairs:
      if key in seen:
        raise ValueError(f"the key {quoted(key)} stands twice; keep one")
      seen.add(key)
  return made


def quoted(key: str) -> str:
  """A key as JSON writes it, the middle of a long one left out."""
  return json.dumps(key) if len(key) <= 60 else f'"{key[:28]}…{key[-28:]}"'


def _write_npz(file: IO[bytes], content: Content) -> None:
  codes_NxL, ids_N, metadata, tokenizer = content
  smallest_code = np.min_scalar_type(metadata["codebook_size"] - 1)
  arrays = {
    "codes_NxL": codes_NxL.astype(smallest_code),
    "item_ids_N": ids_N.astype(np.min_scalar_type(ids_N.max())),
    "metadata": np.array(json.dumps(metadata)),
  }
  if tokenizer is not None:
    arrays[TOKENIZER] = np.array(json.dumps(tokenizer.settings))
    arrays |= {PARAMS + name: array for name, array in tokenizer.arrays.items()}
  np.savez_compressed(file, allow_pickle=False, **arrays)


def _json_text(content: Content) -> Iterator[str]:
  codes_NxL, ids_N, metadata, tokenizer = content

  token_L = ["%d"] * codes_NxL.shape[1]
  yield '{"item_to_semantic": {'
  yield from row_text(f'"%d": [{",".join(token_L)}]', [ids_N, *codes_NxL.T])
  yield '},\n "semantic_to_item": {'
  yield from row_text(f'"[{", ".join(token_L)}]": %d', [*codes_NxL.T, ids_N])
  yield f'}},\n "metadata": {json.dumps(metadata)}'
  if tokenizer is not None:
    yield f',\n "{TOKENIZER}": {json.dumps(packed_to_json(tokenizer))}'
  yield "}\n"


def _check_metadata(metadata: Any, num_rows: int, id_length: int) -> None:
  if not isinstance(metadata, dict):
    raise ValueError('"metadata" is not an object; write the file again')
  for key, kind in METADATA_KEYS.items():
    if key not in metadata:
      raise ValueError(f'"metadata" has no "{key}"; write the file again')
    if type(metadata[key]) is not kind:
      raise ValueError(
        f'"{key}" in "metadata" is {reprlib.repr(metadata[key])}, not {kind.__name__}'
      )
  if metadata["id_length"] != id_length:
    raise ValueError(
      f'"metadata" says id_length {metadata["id_length"]}, but the file has {id_length}'
    )
  num_items = metadata["num_items"]
  if num_items < num_rows or num_items >= 2**63:
    raise ValueError(
      f'"metadata" says num_items {num_items}, but the file has {num_rows} items; give the size '
      "of the catalogue"
    )


def _read_npz(path: epath.Path) -> Content:
  try:
    arrays = read_npz(path)
    for name in ("codes_NxL", "item_ids_N", "metadata"):
      if name not in arrays:
        raise ValueError(f"no array {name!r} in the file")
    metadata = _json_in(arrays["metadata"])
    tokenizer = None
    if TOKENIZER in arrays:
      params = {
        name.removeprefix(PARAMS): array
        for name, array in arrays.items()
        if name.startswith(PARAMS)
      }
      tokenizer = Packed(_json_in(arrays[TOKENIZER]), params)
  except ValueError as error:
    raise ValueError(f"{error}; write it again") from None
  codes_NxL = arrays["codes_NxL"]
  if codes_NxL.ndim != 2:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, levels]")
  return Content(codes_NxL, arrays["item_ids_N"], metadata, tokenizer)


def _json_in(array: np.ndarray) -> Any:
  """The value of a JSON text that an array without axes holds."""
  if array.ndim or array.dtype.kind != "U":
    raise ValueError("not a readable .npz file")
  try:
    return parse_json(array.item())
  except ValueError:
    raise ValueError("not a readable .npz file") from None


def _read_json(path: epath.Path) -> Content:
  try:
    content = parse_json(path.read_bytes(), unique_object)
  except ValueError as error:
    hint = "" if "stands twice" in str(error) else "; write the file again"
    raise ValueError(f"{error}{hint}") from None
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
  tokenizer = packed_from_json(content[TOKENIZER]) if TOKENIZER in content else None
  return Content(codes_NxL, ids_N, content["metadata"], tokenizer)


def _check_forward(forward: dict[str, Any]) -> None:
  """Requires whole-number items, and for each a list of whole numbers of one length."""
  if not forward:
    raise ValueError('"item_to_semantic" is empty; give at least one item')
  length = None
  for item, tokens in forward.items():
    if not re.fullmatch("0|[1-9][0-9]*", item):
      raise ValueError(f'"item_to_semantic" has the key {quoted(item)}, which is no item number')
    if not isinstance(tokens, list) or not tokens:
      raise ValueError(f"item {item} has {reprlib.repr(tokens)}, not a list of tokens")
    length = length or len(tokens)
    if len(tokens) != length:
      raise ValueError(f"item {item} has {len(tokens)} tokens, but the first item has {length}")
  # One pass in C finds whether anything is wrong; only then is it looked for.
  if set(map(type, chain.from_iterable(forward.values()))) != {int}:
    for item, tokens in forward.items():
      for token in tokens:
        if type(token) is not int:
          raise ValueError(
            f"item {item} has the token {reprlib.repr(token)}, which is not an integer"
          )


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
      says = f"gives it to {reprlib.repr(found)}" if text in backward else "lacks it"
      raise ValueError(
        f'the two maps disagree: item {item} has {text}, but "semantic_to_item" {says}; '
        "write the file again"
      )
  if len(backward) != len(forward):
    extra = next(text for text in backward if text not in owners)
    raise ValueError(
      f'the two maps disagree: "semantic_to_item" has {quoted(extra)[1:-1]}, which no item of '
      '"item_to_semantic" has; write the file again'
    )
