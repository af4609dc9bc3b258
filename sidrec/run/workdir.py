"""Stages of a run: done once, and again only when their inputs change.

A stage writes `<workdir>/<stage>.stage.json` with its inputs when it starts, and
marks it done when it ends. So a stage that was interrupted goes on with its own
output, and output of other inputs is never mixed in.

Of several processes the primary host decides what there is to do; all take part in a stage's work.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sidrec.core.atomic import write_whole_text
from sidrec.core.settings import flatten
from sidrec.parallel.hosts import from_primary


def run_stage(
  workdir: Path, name: str, inputs: dict[str, Any], outputs: Sequence[str], build: Callable[[], Any]
) -> str:
  """Runs a stage unless it is done and unchanged.

  Args:
    workdir: the run's folder.
    name: of the stage.
    inputs: JSON-able settings, and the fingerprints of the stages before.
    outputs: names in workdir that the stage writes; deleted when the inputs changed.
    build: writes the outputs; may find those of an interrupted run with equal inputs. Of
      several processes each calls it, and it sees to it that the primary host alone writes.

  Returns:
    A fingerprint of the inputs, for the stages that follow.
  """
  record_path = workdir / f"{name}.stage.json"
  inputs = json.loads(json.dumps(inputs))  # as they will be read back
  fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]

  def start() -> tuple[str, bool]:
    """The primary host's fingerprint, and whether there is something to do."""
    record = read_record(record_path)
    if record is not None and record["inputs"] != inputs:
      print(f"{name}: done again, because {changes(record['inputs'], inputs)}")
      record = None
    if record is not None and record["done"] and all((workdir / path).exists() for path in outputs):
      print(f"{name}: unchanged, kept")
      return fingerprint, False
    if record is None:
      for path in outputs:
        delete(workdir / path)
      write_record(record_path, {"inputs": inputs, "done": False})
    return fingerprint, True

  fingerprint, to_do = from_primary(start)
  if to_do:
    build()
    from_primary(lambda: write_record(record_path, {"inputs": inputs, "done": True}))
  return fingerprint


def file_signature(path: str) -> dict[str, list[int]]:
  """For a stage's inputs: what changes when a file changes, its size and time; {} for no path.

  Raises:
    FileNotFoundError: if the file is not there.
  """
  if not path:
    return {}
  if not Path(path).is_file():
    raise FileNotFoundError(f"there is no file {path}, which the config names")
  stat = Path(path).stat()
  return {path: [stat.st_size, stat.st_mtime_ns]}


def require_done(workdir: Path, name: str, settings: dict[str, Any]) -> None:
  """Checks that a stage has been run to its end, with these settings.

  Raises:
    FileNotFoundError: if it has not.
    ValueError: if its settings were others.
  """
  record = read_record(workdir / f"{name}.stage.json")
  if record is None or not record["done"]:
    raise FileNotFoundError(
      f"stage '{name}' is not done in {workdir}; run --mode=all with this config and workdir first"
    )
  settings = json.loads(json.dumps(settings))
  used = {key: record["inputs"].get(key) for key in settings}
  if used != settings:
    raise ValueError(
      f"{workdir} holds the output of other settings: {changes(used, settings)}; "
      "give the config it was made with, or run --mode=all"
    )


def changes(before: dict[str, Any], after: dict[str, Any]) -> str:
  """In words, which settings differ: 'tokenizer.num_levels was 2 and is 3'."""
  old, new = flatten(before), flatten(after)
  differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
  settings = [key for key in differing if not key.endswith("fingerprint")]
  if not settings:
    return "an earlier stage changed"
  say = lambda value: "absent" if value is None else json.dumps(value, ensure_ascii=False)
  told = [f"{key} was {say(old.get(key))} and is {say(new.get(key))}" for key in settings[:4]]
  more = f" (and {len(settings) - 4} more settings)" if len(settings) > 4 else ""
  return "; ".join(told) + more


def read_record(path: Path) -> dict[str, Any] | None:
  """The record, or None if there is none that can be read."""
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except (FileNotFoundError, json.JSONDecodeError):
    return None


def write_record(path: Path, record: dict[str, Any]) -> None:
  """Writes the record; a reader sees the old one or the whole new one."""
  write_whole_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def delete(path: Path) -> None:
  """Deletes a file or a folder, if there is one."""
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)
