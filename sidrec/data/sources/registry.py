"""Readers by name: what the config's `data.source` may be."""

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from sidrec.core import copies
from sidrec.core.settings import to_dict
from sidrec.core.source_code import code_hashes
from sidrec.data import dataset, store
from sidrec.data.settings import DataConfig
from sidrec.data.sources import (
  amazon,
  amazon_reviews,
  dataset_file,
  demo,
  lcrec,
  movielens,
  own_readers,
  recbole,
  table,
)


class Reader(NamedTuple):
  """How to read a source, and how to tell whether its raw files changed."""

  read: Callable[..., dataset.Dataset]  # (path, min_interactions, **settings)
  # (path, **settings) → JSON-able; its entry 'files' holds what `core.content.stamps` returns.
  signature: Callable[..., dict[str, Any]]


def _named(names: Iterable[str], read: Callable, signature: Callable) -> dict[str, Reader]:
  """Sources that one reader reads, which takes the source's name first."""
  return {name: Reader(partial(read, name), partial(signature, name)) for name in names}


_REVIEWS = Reader(amazon_reviews.read_amazon_reviews, amazon_reviews.signature_amazon_reviews)
READERS = {
  "demo": Reader(demo.read_demo, demo.signature_demo),
  "dataset": Reader(dataset_file.read_dataset, dataset_file.signature_dataset),
  **_named(movielens.EDITIONS, movielens.read_movielens, movielens.signature_movielens),
  **_named(amazon.SEQUENCES, amazon.read_sequences, amazon.signature_sequences),
  "amazon-reviews": _REVIEWS,
  "lcrec": Reader(lcrec.read_lcrec, lcrec.signature_lcrec),
  "atomic": Reader(recbole.read_atomic, recbole.signature_atomic),
  "store": Reader(store.read_store, store.signature_store),
  "table": Reader(table.read_table, table.signature_table),
}


def register_source(name: str, reader: Reader) -> None:
  """Makes a source known by a name, which configs can then give; ValueError if it is taken.

  `register_reader` asks for less: it finds out by itself which files were read.
  """
  _check_free(name)
  READERS[name] = reader


def register_reader(
  name: str,
  function: Callable[..., dataset.Dataset] | None = None,
  settings: Any = None,
  *,
  files: Callable[..., Iterable[str]] | None = None,
) -> Any:
  """Makes a reader known by a name: `@register_reader("till")`, or with the function.

  Args:
    name: for `config.data.source`.
    function: (path, min_interactions) → Dataset; `path` is `config.data.path`, and users with
      fewer interactions than `min_interactions` are left out. `sidrec.data.sources.build.build`
      makes a Dataset of two Polars frames by the rules that all sources share. All files at the
      path, or below it, count as inputs.
    settings: a frozen dataclass of its own settings with their defaults, which the function gets
      as a third argument. Configs have them as `config.data.plugins.<name>`.
    files: settings (or nothing, where there are none) → files elsewhere that it reads.

  Raises:
    ValueError: if the name is taken or no Python name, or the function takes other arguments.
    TypeError: for settings that are no instance of a dataclass.
  """
  _check_free(name)
  if function is None:
    own_readers.OWN.check(name, settings)
    return lambda decorated: register_reader(name, decorated, settings, files=files)
  own_readers.OWN.add(name, function, settings, files)
  READERS[name] = Reader(
    partial(own_readers.read_own, name), partial(own_readers.signature_own, name)
  )
  return function


def _check_free(name: str) -> None:
  if name in READERS:
    raise ValueError(f"there is a source {name!r} already; choose another name")


@copies.kept()
def read(
  source: str, path: str = "", min_interactions: int = 3, **settings: Any
) -> dataset.Dataset:
  """Reads a source's raw files.

  Args:
    source: a name in READERS.
    path: where the files are; empty for the source's own ways to find them.
    min_interactions: users with fewer are dropped; at least 3.
    **settings: what else the source's reader takes.

  Raises:
    ValueError: for an unknown source or malformed files.
    FileNotFoundError: if the files are not there.
  """
  return _reader(source).read(path, min_interactions, **settings)


def signature(source: str, path: str = "", **settings: Any) -> dict[str, Any]:
  """The stamps of the raw files as 'files', and what else changes with them; JSON-able.

  Raises:
    ValueError: for an unknown source.
    FileNotFoundError: if the files are not there.
  """
  return {"source": source, **_reader(source).signature(path, **settings)}


def code_of(source: str) -> list[str]:
  """What changes with the code of a registered source; nothing for sidrec's own."""
  if source in own_readers.OWN.known:
    return code_hashes(own_readers.OWN.known[source].function)
  return code_hashes(*_reader(source))


def own_settings(data: DataConfig) -> dict[str, Any]:
  """The settings of a registered reader that a config's source is; nothing for others."""
  if data.source not in own_readers.OWN.known:
    return {}
  return own_readers.chosen_reader(data.source, data.plugins.get(data.source, {})).values


def _reader(source: str) -> Reader:
  if source in READERS:
    return READERS[source]
  nearest = difflib.get_close_matches(source, READERS, n=1)
  hint = f"did you mean {nearest[0]!r}? " if nearest else ""
  raise ValueError(f"unknown data source {source!r}; {hint}known sources: {', '.join(READERS)}")


def settings_of(data: DataConfig) -> dict[str, Any]:
  """What the reader of a config's source takes besides path and min_interactions."""
  match data.source:
    case "store":
      return to_dict(data.store)
    case "amazon-reviews":
      return {**to_dict(data.amazon), "repeats": data.repeats}
    case "atomic":
      return {"repeats": data.repeats}
    case "table":
      return {"settings": data.table, "repeats": data.repeats}
    case source if source in own_readers.OWN.known:
      return {"own": data.plugins.get(source, {})}
  return {}
