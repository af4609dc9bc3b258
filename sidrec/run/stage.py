"""What a stage is, and how a chain of stages is run and checked."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sidrec.parallel.hosts import from_primary
from sidrec.run import workdir as folder
from sidrec.run.settings import RunConfig


def _nothing(config: RunConfig) -> dict[str, Any]:
  del config
  return {}


class Stage(NamedTuple):
  """One step of a run, from the files of the stages before to its own.

  Attributes:
    name: also of its record in the work directory.
    after: config → the stages whose output it reads.
    settings: config → the JSON-able settings that its output depends on.
    files: config → a JSON-able value that changes with the files it reads from elsewhere.
    outputs: config → the names of the files and folders that it writes.
    build: (config, workdir) → None; writes them. All processes call it.
    shows: an output whose text is printed at the end, also where it was kept.
  """

  name: str
  after: Callable[[RunConfig], Sequence["Stage"]]
  settings: Callable[[RunConfig], Mapping[str, Any]]
  outputs: Callable[[RunConfig], Sequence[str]]
  build: Callable[[RunConfig, Path], None]
  files: Callable[[RunConfig], Mapping[str, Any]] = _nothing
  shows: str | None = None


def run(stage: Stage, config: RunConfig, workdir: Path) -> str:
  """Runs a stage and all that it builds on; what is done and unchanged is kept.

  Returns:
    The stage's fingerprint.

  Raises:
    ValueError: for settings, files or a work directory that make no sense.
    FileNotFoundError: for files that are not there.
  """
  fingerprints = {before.name: run(before, config, workdir) for before in stage.after(config)}

  def inputs() -> dict[str, Any]:
    files = stage.files(config)
    return {
      **_expected(stage, config, fingerprints),
      **({"files": files} if files else {}),
    }

  # Only the primary host looks at files: others may not see them yet.
  done = folder.run_stage(
    workdir,
    stage.name,
    from_primary(inputs),
    stage.outputs(config),
    lambda: stage.build(config, workdir),
  )
  if stage.shows:
    print((workdir / stage.shows).read_text(encoding="utf-8"))
  return done


def check(stage: Stage, config: RunConfig, workdir: Path) -> str:
  """Checks that a stage is done, and the whole chain that it was built from with it.

  Returns:
    The stage's fingerprint.

  Raises:
    FileNotFoundError: if a stage of the chain is not done.
    ValueError: if one was built with other settings, or before an earlier one was done again.
  """
  fingerprints = {before.name: check(before, config, workdir) for before in stage.after(config)}
  return folder.check_done(workdir, stage.name, _expected(stage, config, fingerprints))


def _expected(stage: Stage, config: RunConfig, fingerprints: Mapping[str, str]) -> dict[str, Any]:
  return {"fingerprints": dict(fingerprints), **stage.settings(config)}
