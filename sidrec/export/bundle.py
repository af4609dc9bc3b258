"""A bundle: a run's search as compiled programs and arrays, which needs no sidrec to run.

MANIFEST.json        size and SHA-256 of every file, versions, settings, metrics
README.md            the model card
run.py               recommends; imports jax and numpy alone
events.py            what run.py does with times, ratings, actions and users' attributes
programs/*.jaxexport the search for cpu, cuda and tpu
arrays.npz           parameters and trie
items.json           id, title and semantic ID of each item row
semantic_ids.json    the map of semantic IDs, with the tokenizer that encodes new items
"""

import datetime
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.core import checksums
from sidrec.core.atomic import PathLike, whole_folder
from sidrec.core.readers import parse_json
from sidrec.core.settings import to_dict
from sidrec.data.batches import user_tokens
from sidrec.data.dataset import Dataset
from sidrec.data.inputs import KnownInputs
from sidrec.data.user_attributes import as_json
from sidrec.export import consumer, consumer_events
from sidrec.export.agreement import check_agreement
from sidrec.export.card import card, licence_of
from sidrec.export.programs import (
  PLATFORMS,
  STATICS,
  Searched,
  arrays_of,
  digest,
  exported,
  statics_of,
  widths_of,
)
from sidrec.models.base import SemanticIDModel
from sidrec.run.ask import NOBODY
from sidrec.run.config_file import PATHS, without_paths
from sidrec.run.settings import RunConfig
from sidrec.search.buckets import CPU_BATCHES, OTHER_BATCHES

FORMAT = "sidrec bundle 1"
MANIFEST = "MANIFEST.json"
AGAIN = "python -m sidrec.main --config=CONFIG --workdir=RUN --mode=export --output=FOLDER"


class Finished(NamedTuple):
  """What a bundle is made of."""

  config: RunConfig
  dataset: Dataset
  ids: SemanticIDManager  # with its tokenizer, if new items shall be encoded
  searched: Searched
  evaluation: Mapping[str, Any] | None = None  # the content of evaluation.json, if there is one


def is_bundle(folder: Path) -> bool:
  """Whether a folder holds a bundle, of any version."""
  try:
    manifest = parse_json((folder / MANIFEST).read_bytes())
  except (OSError, ValueError):
    return False
  return isinstance(manifest, dict) and str(manifest.get("format", "")).startswith("sidrec bundle ")


def write_bundle(folder: PathLike, finished: Finished) -> dict[str, Any]:
  """Writes a bundle, whole or not at all, after a check that it finds what the run finds.

  Args:
    folder: local; takes the place of a bundle that is there, and of nothing else.
    finished: the run.

  Returns:
    The manifest.

  Raises:
    FileExistsError: if the folder holds anything else than a bundle.
    ModuleNotFoundError: without the package flatbuffers.
    ValueError: for parts that do not belong together, several processes, or a program that does not
      find the same items as the search of the run.
  """
  if importlib.util.find_spec("flatbuffers") is None:
    raise ModuleNotFoundError("a bundle needs flatbuffers: pip install sidrec[export]")
  if jax.process_count() > 1:
    raise ValueError("a bundle is written by one process; start --mode=export alone")
  with whole_folder(folder, is_bundle) as draft:
    manifest = _write_files(draft, finished)
    manifest["checked"] = check_agreement(draft, finished.searched, finished.dataset.histories)
    _write_text(draft / "README.md", card(manifest, finished.evaluation, finished.dataset.notes))
    _write_manifest(draft, manifest)
  return manifest


def _write_files(draft: Path, finished: Finished) -> dict[str, Any]:
  """All files but the card; a manifest of them."""
  searched, dataset = finished.searched, finished.dataset
  statics, arrays = statics_of(searched), arrays_of(searched)
  sha256 = digest(statics)
  (draft / "programs").mkdir()
  programs = []
  for widths in widths_of(searched):
    file = f"programs/{widths.name}.jaxexport"
    (draft / file).write_bytes(exported(searched, widths, sha256))
    programs.append({"file": file, **widths._asdict()})
  mark = np.frombuffer(bytes.fromhex(sha256), np.uint8)
  np.savez(draft / "arrays.npz", allow_pickle=False, **{STATICS: mark, **arrays})
  _write_text(draft / "items.json", json.dumps(_items(finished)))
  no_tokenizer = _save_ids(draft / "semantic_ids.json", finished.ids)
  for name, module in (("run.py", consumer), ("events.py", consumer_events)):
    (draft / name).write_bytes(Path(module.__file__).read_bytes())
  manifest = {
    "format": FORMAT,
    "name": dataset.name,
    "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "jax": jax.__version__,
    "sidrec": importlib.metadata.version("sidrec"),
    "platforms": PLATFORMS,
    "export": AGAIN,
    "history_length": searched.model.config.history_length,
    "beams": searched.config.beams,
    "temperature": searched.config.temperature,
    "reads": _reads(searched.model),
    "user_tokens": _token_of_nobody(searched.model),
    "batches": {"cpu": CPU_BATCHES, "other": OTHER_BATCHES},
    "programs": programs,
    "arrays": list(arrays),
    "statics": statics,
    "tokenizer": no_tokenizer or "in semantic_ids.json",
    "config": _settings(finished.config),
    "metrics": (finished.evaluation or {}).get("results", {}).get("sidrec"),
    "data_licence": licence_of(finished.config.data.source),
  }
  _write_manifest(draft, manifest)
  return manifest


def _items(finished: Finished) -> list[dict[str, Any]]:
  items = finished.dataset.items
  codes_NxL = np.asarray(finished.searched.trie.codes_NxL)[: items.num_items]
  if not np.array_equal(codes_NxL, finished.ids.codes):
    raise ValueError("the trie and the map of semantic IDs differ; export what belongs together")
  rows = zip(items.ids_N.tolist(), items.titles_N.tolist(), codes_NxL.tolist(), strict=True)
  return [{"id": item, "title": title, "semantic_id": codes} for item, title, codes in rows]


def _save_ids(path: Path, ids: SemanticIDManager) -> str:
  """Writes the map, with its tokenizer if a file can hold that; else says why not."""
  try:
    ids.save_to_file(path, with_tokenizer=True)
  except ValueError as error:
    ids.save_to_file(path)
    return f"none: {error}"
  return ""


def _settings(config: RunConfig) -> dict[str, Any]:
  """The settings of the run, without where its files were."""
  values = to_dict(config)
  return values | {section: without_paths(section, values[section]) for section in PATHS}


def _token_of_nobody(model: SemanticIDModel) -> list[int]:
  """The token of a user whom the model does not know; nothing where it has no such tokens."""
  count = model.config.user_tokens
  return user_tokens(np.array([NOBODY]), count).tolist() if count else []


def _reads(model: SemanticIDModel) -> dict[str, Any]:
  """What requests have to give beside items."""
  inputs = model.config.inputs
  return {
    "times": inputs.times,
    "request_time": inputs.asks,
    "ratings": inputs.rating,
    "rating_step": inputs.rating_step,
    "earlier": inputs.earlier,
    **({"actions": list(inputs.actions)} if inputs.actions else {}),
    **({"user_attributes": as_json(inputs.known)} if isinstance(inputs, KnownInputs) else {}),
  }


def _write_manifest(draft: Path, manifest: dict[str, Any]) -> None:
  """Writes the manifest of all other files that are there."""
  (draft / MANIFEST).unlink(missing_ok=True)
  manifest["files"] = checksums.of(draft)
  _write_text(draft / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
  path.write_text(text, encoding="utf-8")
