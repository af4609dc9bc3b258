"""A run's folder: which stages are done, what they were built from, and what changed since.

A stage writes `<workdir>/<stage>.stage.json` with its inputs when it starts, and marks it done
when it ends. So an interrupted stage continues with its own output, and never with output that
was made from other inputs. The inputs hold the fingerprints of the stages before.

Of several processes the primary host decides what there is to do; all take part in the work.
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

FORMAT = 2  # of everything that a run's folder holds


def run_stage(
  workdir: Path, name: str, inputs: dict[str, Any], outputs: Sequence[str], build: Callable[[], Any]
) -> str:
  """Runs a stage unless it is done and unchanged.

  Args:
    workdir: the run's folder.
    name: of the stage.
    inputs: JSON-able settings, and the fingerprints of the stages before.
    outputs: names in workdir that the stage writes; deleted when the inputs changed.
    build: writes the outputs; may find those of an interrupted run with equal inputs. Each of
      several processes calls it, and only the primary host writes.

  Returns:
    The fingerprint of the inputs, for the stages that follow.

  Raises:
    ValueError: if another version of sidrec wrote the folder.
  """
  inputs = as_json(inputs)
  record_path = _record_path(workdir, name)

  def start() -> tuple[str, bool]:
    """The primary host's fingerprint, and whether there is something to do."""
    record = read_record(workdir, name)
    if record is not None and record["inputs"] != inputs:
      print(f"{name}: done again, because {changes(record['inputs'], inputs)}")
      record = None
    if record is not None and record["done"] and all((workdir / path).exists() for path in outputs):
      print(f"{name}: unchanged, kept")
      return fingerprint(inputs), False
    if record is None:
      for path in outputs:
        delete(workdir / path)
      write_record(record_path, inputs, done=False)
    return fingerprint(inputs), True

  shared_fingerprint, to_do = from_primary(start)
  if to_do:
    build()
    from_primary(lambda: write_record(record_path, inputs, done=True))
  return shared_fingerprint


def check_done(workdir: Path, name: str, expected: dict[str, Any]) -> str:
  """Checks that a stage is done and was built from these settings and earlier stages.

  Args:
    workdir: the run's folder.
    name: of the stage.
    expected: some of its inputs: settings, and the fingerprints of the stages before.

  Returns:
    The fingerprint of all its inputs, for the check of the stages that follow.

  Raises:
    FileNotFoundError: if the stage is not done.
    ValueError: if its inputs were others, or another version of sidrec wrote the folder.
  """
  record = read_record(workdir, name)
  if record is None or not record["done"]:
    raise FileNotFoundError(
      f"stage '{name}' is not done in {workdir}; run --mode=all with this config and workdir first"
    )
  expected = as_json(expected)
  used = {key: record["inputs"].get(key) for key in expected}
  if used != expected:
    raise ValueError(
      f"{workdir} holds output of stage '{name}' that was made from something else: "
      f"{changes(used, expected)}; give the config it was made with, or run --mode=all"
    )
  return fingerprint(record["inputs"])


def fingerprint(inputs: dict[str, Any]) -> str:
  """Of a stage's inputs: 16 hexadecimal digits."""
  return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def as_json(inputs: dict[str, Any]) -> dict[str, Any]:
  """The inputs as JSON gives them back: tuples become lists."""
  return json.loads(json.dumps(inputs))


def file_signature(path: str) -> dict[str, list[int]]:
  """For a stage's inputs: the size and time of a file, which change with it; {} for no path.

  Raises:
    FileNotFoundError: if the file is not there.
  """
  if not path:
    return {}
  if not Path(path).is_file():
    raise FileNotFoundError(f"there is no file {path}, which the config names")
  stat = Path(path).stat()
  return {path: [stat.st_size, stat.st_mtime_ns]}


def changes(before: dict[str, Any], after: dict[str, Any]) -> str:
  """In words, which settings differ: 'tokenizer.num_levels was 2 and is 3'."""
  old, new = flatten(before), flatten(after)
  differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
  settings = [key for key in differing if not key.startswith("fingerprint")]
  if not settings:
    return "an earlier stage changed"

  def shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)

  sentences = [f"{key} was {shown(old.get(key))} and is {shown(new.get(key))}" for key in settings]
  more = f" (and {len(settings) - 4} more settings)" if len(settings) > 4 else ""
  return "; ".join(sentences[:4]) + more


def read_record(workdir: Path, name: str) -> dict[str, Any] | None:
  """The record of a stage, or None if there is none that can be read.

  Raises:
    ValueError: if another version of sidrec wrote it.
  """
  try:
    record = json.loads(_record_path(workdir, name).read_text(encoding="utf-8"))
  except (FileNotFoundError, json.JSONDecodeError):
    return None
  if record.get("format") != FORMAT:
    raise ValueError(
      f"{workdir} was made by another version of sidrec, which this one cannot continue; "
      "give another --workdir"
    )
  return record


def write_record(path: Path, inputs: dict[str, Any], *, done: bool) -> None:
  """Writes a stage's record; a reader sees the old one or the whole new one."""
  record = {"format": FORMAT, "inputs": inputs, "done": done}
  write_whole_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def delete(path: Path) -> None:
  """Deletes a file or a folder, if there is one."""
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink(missing_ok=True)


def _record_path(workdir: Path, name: str) -> Path:
  return workdir / f"{name}.stage.json"
