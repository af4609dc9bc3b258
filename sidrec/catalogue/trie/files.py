"""Tries on disk: one .npy file per array, mapped into memory when read, and a header."""

import json
from typing import Any

import jax
from etils import epath

from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.atomic import PathLike, load_array, save_array, write_whole_text
from sidrec.core.checksums import digest
from sidrec.core.paths import as_path

FORMAT = "sidrec trie 2"
_HEADER = "trie.json"
_ARRAYS = ("token_E", "child_E", "row_E", "item_N", "used", "numbering")
_CODE_ARRAYS = ("word_NxW", "row_of_N")


def save_trie(folder: PathLike, trie: Trie) -> None:
  """Writes a trie into a folder; the header last, with each file's checksum."""
  folder, codes = as_path(folder), trie.codes_NxL
  arrays = {name: getattr(trie, name) for name in _ARRAYS}
  arrays |= {name: getattr(codes, name) for name in _CODE_ARRAYS}
  checksums = {}
  for name, array in arrays.items():
    path = folder / f"{name}.npy"
    save_array(path, array)
    checksums[name] = digest(path)
  header = {
    "format": FORMAT,
    "bits": codes.bits,
    "num_levels": codes.num_levels,
    "fan_outs": trie.fan_outs,
    "kinds": trie.kinds,
    "every_prefix": trie.every_prefix,
    "origin": trie.origin,
    "sha256": checksums,
  }
  write_whole_text(folder / _HEADER, json.dumps(header, indent=2) + "\n")


def load_trie(folder: PathLike, verify: bool = True) -> Trie:
  """Reads what `save_trie` wrote.

  Args:
    folder: of the trie.
    verify: whether to read all of the files once and compare their checksums.

  Returns:
    A trie of arrays, memory-mapped if the folder is local; `jax.device_put` brings it to a device.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if the folder holds no trie, or a file is not as it was written.
  """
  folder = as_path(folder)
  header = _read_header(folder / _HEADER)
  arrays: dict[str, Any] = {}
  for name in (*_ARRAYS, *_CODE_ARRAYS):
    path = folder / f"{name}.npy"
    if verify and digest(path) != header["sha256"][name]:
      raise ValueError(f"{path} is not as it was written; save the trie again")
    arrays[name] = load_array(path)
  word_NxW, row_of_N = (arrays.pop(name) for name in _CODE_ARRAYS)
  return Trie(
    codes_NxL=PackedCodes(word_NxW, row_of_N, header["bits"], header["num_levels"]),
    **arrays,
    fan_outs=tuple(header["fan_outs"]),
    kinds=tuple(tuple(kind) for kind in header["kinds"]),
    every_prefix=header["every_prefix"],
    origin=tuple(header["origin"]),
  )


def load_trie_on_device(folder: PathLike, verify: bool = True) -> Trie:
  """`load_trie`, and the arrays on the default device."""
  return jax.device_put(load_trie(folder, verify))


def _read_header(path: epath.Path) -> dict[str, Any]:
  try:
    header = json.loads(path.read_bytes())
  except json.JSONDecodeError as error:
    raise ValueError(f"{path} is not JSON; save the trie again") from error
  if not isinstance(header, dict) or header.get("format") != FORMAT:
    raise ValueError(f"{path} does not say {FORMAT!r}; save the trie again with this version")
  return header
