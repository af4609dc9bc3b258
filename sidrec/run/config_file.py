"""The settings that a run was built with, as every stage keeps them beside its output.

Local paths are relative to the run's folder, and left out of a run in a bucket, so that the file
says nothing about the host.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from etils import epath

from sidrec.core.checked_json import checked_text, parse_checked
from sidrec.core.paths import as_path, is_local
from sidrec.core.settings import from_dict, to_dict
from sidrec.run.generations import Generation, generations
from sidrec.run.settings import RunConfig

CONFIG = "config.json"

# Settings that name files. What they hold decides a stage's output, and not where they are.
PATHS = {
  "data": ("path", "amazon.metadata_path", "table.items_path", "table.users_path"),
  "features": ("text.path", "image.path", "audio.path"),
  "tokenizer": ("file.path",),
}


def config_text(config: RunConfig, workdir: epath.Path) -> str:
  """The content of `config.json`."""

  def relative(path: str) -> str:
    return os.path.relpath(as_path(path), workdir) if is_local(workdir) else ""

  return checked_text(_with_paths(to_dict(config), relative))


def load_config(workdir: epath.PathLike) -> RunConfig:
  """The settings that a run was built with: those of its newest trained recommender.

  The settings of search, evaluation and baselines are those that this recommender was evaluated
  with, if it was.

  Raises:
    FileNotFoundError: if no stage is done.
    ValueError: for a damaged file.
  """
  workdir = as_path(workdir)
  for stage in ("train", "tokenize", "prepare"):
    finished = [g for g in generations(workdir, stage) if g.is_finished]
    if finished:
      config = _read(finished[-1], workdir)
      identity = finished[-1].record.identity
      for evaluated in reversed(generations(workdir, "evaluate")):
        if evaluated.is_finished and evaluated.record.inputs.built_on.get(stage) == identity:
          asked = _read(evaluated, workdir)
          parts = ("search", "evaluation", "sasrec", "bsarec")
          return dataclasses.replace(config, **{part: getattr(asked, part) for part in parts})
      return config
  raise FileNotFoundError(f"there is no run in {workdir}: no stage is done there")


def without_paths(section: str, values: dict[str, Any]) -> dict[str, Any]:
  """The settings of a section that decide a stage's output, as nested dicts."""
  return _map_paths(section, values, lambda parent, name: parent.pop(name))


def _read(generation: Generation, workdir: epath.Path) -> RunConfig:
  values = parse_checked(generation.file(CONFIG).read_bytes())
  return from_dict(RunConfig, _with_paths(values, lambda path: os.path.abspath(workdir / path)))


def _with_paths(values: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
  def put(parent: dict[str, Any], name: str) -> None:
    if parent[name] and is_local(str(parent[name])):
      parent[name] = change(str(parent[name]))

  for section in PATHS:
    values = values | {section: _map_paths(section, values[section], put)}
  return values


def _map_paths(
  section: str, values: dict[str, Any], act: Callable[[dict[str, Any], str], Any]
) -> dict[str, Any]:
  """A copy of a section's settings, after `act` on the parent and name of each path."""
  values = _copied(values)
  for path in PATHS[section]:
    parent, names = values, path.split(".")
    for name in names[:-1]:
      parent = parent[name]
    if names[-1] in parent:  # runs of earlier versions lack some
      act(parent, names[-1])
  return values


def _copied(values: dict[str, Any]) -> dict[str, Any]:
  return {
    key: _copied(value) if isinstance(value, dict) else value for key, value in values.items()
  }
