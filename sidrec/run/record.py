"""What a stage was built from and what it wrote: a JSON file in the folder of its output."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.core.checked_json import checked_text, parse_checked
from sidrec.core.checksums import Checksums
from sidrec.core.content import Contents, same_contents
from sidrec.core.settings import flatten

FORMAT = 3  # of everything that a run's folder holds
RECORD = "stage.json"
UPDATE = "update"  # in `Inputs.origin` of what an update made: of what, and how


@dataclasses.dataclass(frozen=True)
class Inputs:
  """All that decides a stage's output."""

  settings: dict[str, Any]  # JSON-able
  built_on: dict[str, str]  # earlier stage → identity of its output
  files: Contents  # that it reads from outside of the run
  origin: dict[str, Any]  # what else changes with these files, such as a version; JSON-able

  def equal(self, other: "Inputs") -> bool:
    """Whether the output would be the same."""
    return self._decisive() == other._decisive() and same_contents(self.files, other.files)

  @property
  def update(self) -> dict[str, Any] | None:
    """Of what, and how, an update made the output; None where the stage itself made it."""
    return self.origin.get(UPDATE)

  def without_update(self) -> "Inputs":
    """What the stage itself would have made an output of, in place of the update."""
    origin = {name: value for name, value in self.origin.items() if name != UPDATE}
    return dataclasses.replace(self, origin=origin)

  def _decisive(self) -> tuple[Any, ...]:
    return self.settings, self.built_on, self.origin


@dataclasses.dataclass(frozen=True)
class Record:
  """Of one generation of a stage's output."""

  stage: str
  inputs: Inputs
  outputs: Checksums = dataclasses.field(default_factory=dict)
  finished: str = ""  # when, in UTC; empty while it is not

  @property
  def identity(self) -> str:
    """Of the output: 16 hexadecimal digits that change with the inputs and with any output."""
    hashes = {name: kept[2] for name, kept in self.inputs.files.items()}
    parts = [dataclasses.asdict(self.inputs) | {"files": hashes}, self.outputs]
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()[:16]


def write_record(folder: epath.Path, record: Record) -> None:
  """Writes the record; a reader sees the old one or the whole new one."""
  content = {"format": FORMAT, **dataclasses.asdict(record)}
  write_whole_text(folder / RECORD, checked_text(content))


def read_record(folder: epath.Path) -> Record:
  """The record of a stage's folder.

  Raises:
    ValueError: if it is damaged, or another version of sidrec wrote it.
  """
  path = folder / RECORD
  try:
    content = parse_checked(path.read_bytes())
  except (ValueError, FileNotFoundError, IsADirectoryError):
    raise ValueError(
      f"{path} is damaged or missing, so nothing is known of the files there; restore it from a "
      f"copy, or delete the folder {folder.name} and run the same command again"
    ) from None
  if content.get("format") != FORMAT:
    raise another_version(folder)
  inputs = Inputs(**content["inputs"])
  return Record(content["stage"], inputs, content["outputs"], content["finished"])


def another_version(folder: epath.Path) -> ValueError:
  """The error for a folder that this version does not understand."""
  return ValueError(
    f"{folder} was made by another version of sidrec, which this one cannot continue; "
    "give another --workdir"
  )


def how_kept(record: Record) -> str:
  """What a stage's kept output is, in words."""
  update = record.inputs.update
  if update is None:
    return "unchanged, kept"
  return (
    f"kept as --mode=update made it (update {update['number']} of what was made from zero on "
    f"{update['from_zero'][:10]}); --redo={record.stage} makes it from zero"
  )


def as_json(value: Any) -> Any:
  """A value as JSON gives it back: tuples become lists."""
  return json.loads(json.dumps(value))


def changes(before: Inputs, after: Inputs) -> str:
  """In words, why an output is not the same: 'tokenizer.num_levels was 2 and is 3'."""
  old, new = flatten(before.settings), flatten(after.settings)
  settings = [key for key in {**old, **new} if old.get(key) != new.get(key)]
  sentences = [f"{key} was {_shown(old, key)} and is {_shown(new, key)}" for key in settings]
  sentences += [_file_change(name, before, after) for name in _changed_files(before, after)]
  if before.without_update().origin != after.without_update().origin:
    sentences.append("its data is from elsewhere")
  sentences += [f"{name} was done again" for name in _differing(before.built_on, after.built_on)]
  more = f" (and {len(sentences) - 4} more changes)" if len(sentences) > 4 else ""
  return "; ".join(sentences[:4]) + more


def _changed_files(before: Inputs, after: Inputs) -> list[str]:
  hashes = [{name: kept[2] for name, kept in x.files.items()} for x in (before, after)]
  return _differing(*hashes)


def _file_change(name: str, before: Inputs, after: Inputs) -> str:
  if name not in before.files:
    return f"{name} is new"
  return f"{name} has other content" if name in after.files else f"{name} is gone"


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
  return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def _shown(flat: Mapping[str, Any], key: str) -> str:
  return json.dumps(flat[key], ensure_ascii=False) if flat.get(key) is not None else "absent"


def _canonical(value: Any) -> str:
  return json.dumps(value, sort_keys=True, ensure_ascii=False)
