"""Readers by name: what the config's `data.source` may be."""

import difflib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from sidrec.data import amazon, dataset
from sidrec.data.demo import read_demo, signature_demo
from sidrec.data.movielens import read_movielens_1m, signature_movielens_1m


class Reader(NamedTuple):
  """How to read a source, and how to tell whether its raw files changed."""

  read: Callable[[str, int], dataset.Dataset]  # (path, min_interactions)
  signature: Callable[[str], dict[str, Any]]  # (path); reads no data, JSON-able


READERS = {
  "movielens-1m": Reader(read_movielens_1m, signature_movielens_1m),
  "demo": Reader(read_demo, signature_demo),
  **{
    source: Reader(
      functools.partial(amazon.read_amazon_sequences, source),
      functools.partial(amazon.signature_amazon_sequences, source),
    )
    for source in amazon.SEQUENCES
  },
}


def read(source: str, path: str = "", min_interactions: int = 3) -> dataset.Dataset:
  """Reads a source's raw files.

  Args:
    source: a name in READERS.
    path: where the files are; empty for the source's own ways to find them.
    min_interactions: users with fewer are dropped; at least 3.

  Raises:
    ValueError: for an unknown source or malformed files.
    FileNotFoundError: if the files are not there.
  """
  return _reader(source).read(path, min_interactions)


def signature(source: str, path: str = "") -> dict[str, Any]:
  """A JSON-able value that changes when the raw files change: their place, sizes and times.

  Raises:
    ValueError: for an unknown source.
    FileNotFoundError: if the files are not there.
  """
  return {"source": source, **_reader(source).signature(path)}


def _reader(source: str) -> Reader:
  if source in READERS:
    return READERS[source]
  nearest = difflib.get_close_matches(source, READERS, n=1)
  hint = f"did you mean {nearest[0]!r}? " if nearest else ""
  raise ValueError(f"unknown data source {source!r}; {hint}known sources: {', '.join(READERS)}")
