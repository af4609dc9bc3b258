"""What a stage is, and how a chain of stages is run, and found again."""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.core.content import contents
from sidrec.core.peak_memory import forget_peak, peak_memory
from sidrec.parallel.hosts import from_primary
from sidrec.run import generations as folders
from sidrec.run.config_file import CONFIG, config_text
from sidrec.run.generations import Chain, Generation
from sidrec.run.lock import locked
from sidrec.run.record import Inputs, Record, as_json, changes, how_kept, write_record
from sidrec.run.settings import RunConfig


def _nothing(config: RunConfig) -> dict[str, Any]:
  del config
  return {}


class Stage(NamedTuple):
  """One step of a run, from the files of the stages before to its own.

  Attributes:
    name: also of the folders that hold its output.
    after: config → the stages whose output it reads.
    settings: config → the JSON-able settings that its output depends on.
    outputs: config → the names of the files and folders that it writes.
    build: (config, folder, before) → None; writes them into the folder. It may find files of an
      interrupted run with equal inputs there. All processes call it; only the primary host writes.
    files: config → JSON-able: what it reads from elsewhere. The entry 'files' holds stamps of
      files, see `core.content`, and counts by their contents; the others count as they are.
    shows: the finished generation → text that is printed at the end, also where it was kept.
  """

  name: str
  after: Callable[[RunConfig], Sequence["Stage"]]
  settings: Callable[[RunConfig], Mapping[str, Any]]
  outputs: Callable[[RunConfig], Sequence[str]]
  build: Callable[[RunConfig, epath.Path, Chain], None]
  files: Callable[[RunConfig], Mapping[str, Any]] = _nothing
  shows: Callable[[Generation], str] | None = None


class Manner(NamedTuple):
  """How stages are run."""

  redo: str = ""  # a stage to do again though nothing changed
  wait: bool = False  # for another process in the same folder; it is refused otherwise


AS_NEEDED = Manner()


class Step(NamedTuple):
  """What there is to do for a stage."""

  generation: Generation | None  # the finished one that is kept, or a begun one to go on with
  why: str = ""  # it is done, in words; empty where the finished one is kept
  inputs: Inputs | None = None  # only the primary host knows them


def run(last: Stage, config: RunConfig, workdir: epath.Path, manner: Manner = AS_NEEDED) -> Chain:
  """Runs a stage and all that it builds on; what is done and unchanged is kept.

  No output is deleted before its replacement is whole, and then the generation before it stays.
  Nothing is written where there is nothing to do.

  Returns:
    The generations of the stage and of all that it was built on.

  Raises:
    ValueError: for settings, files or a work directory that make no sense.
    FileNotFoundError: for files that are not there.
    BlockingIOError: if another process is at work in the folder.
  """
  order = stages_to(last, config)
  if manner.redo and manner.redo not in order:
    raise ValueError(f"--redo={manner.redo} is none of this run's stages: {', '.join(order)}")
  chain: dict[str, Generation] = {}
  with contextlib.ExitStack() as stack:
    is_locked = False
    for stage in order.values():
      step = _shared_plan(stage, config, workdir, chain, manner.redo == stage.name)
      if step.why and not is_locked:
        stack.enter_context(_locked_by_primary(workdir, manner.wait))
        is_locked = True
        # Another process may have done it, or changed what it builds on, in the meantime.
        step = _shared_plan(stage, config, workdir, chain, manner.redo == stage.name, step)
      if step.why:
        chain[stage.name] = _build(stage, config, workdir, chain, step)
      else:
        chain[stage.name] = _kept(step)
        print(f"{stage.name}: {how_kept(chain[stage.name].record)}")
    from_primary(lambda: _tidy(order, config, workdir, chain, is_locked))
  if last.shows:
    print(last.shows(chain[last.name]))
  return chain


def find(last: Stage, config: RunConfig, workdir: epath.Path) -> Chain:
  """The newest finished output of a stage with these settings, and what it was built on.

  Warns if an earlier stage was done again since, for then there are newer data or parameters than
  those found. Those found belong together in any case.

  Raises:
    FileNotFoundError: if a stage is not done.
    ValueError: if all were built with other settings, or a record is damaged.
  """
  order = stages_to(last, config)
  finished = {
    name: [g for g in folders.generations(workdir, name) if g.is_finished] for name in order
  }
  for name, there in finished.items():
    if not there:
      raise FileNotFoundError(
        f"stage '{name}' is not done in {workdir}; run --mode=all with this config and workdir "
        "first"
      )
  refusals = []
  for generation in reversed(finished[last.name]):
    found = _belonging(generation, order, config, finished)
    if isinstance(found, str):
      refusals.append(found)
      continue
    _warn_of_newer(found, finished, workdir)
    return found
  raise ValueError(
    f"{workdir} holds output of {refusals[0]}; give the config it was made with, or run --mode=all"
  )


def status(last: Stage, config: RunConfig, workdir: epath.Path) -> list[tuple[str, str, str]]:
  """What `run` would do: for each stage its name, its newest finished folder, and what and why."""
  chain: dict[str, Generation] = {}
  rows = []
  for stage in stages_to(last, config).values():
    finished = [g for g in folders.generations(workdir, stage.name) if g.is_finished]
    newest = finished[-1].folder.name if finished else "-"
    missing = [before.name for before in stage.after(config) if before.name not in chain]
    if missing:
      rows.append((stage.name, newest, f"to do, after {' and '.join(missing)}"))
      continue
    step = _plan(stage, config, workdir, chain)
    if step.why:
      rows.append((stage.name, newest, f"to do: {step.why}"))
    else:
      chain[stage.name] = _kept(step)
      how = how_kept(chain[stage.name].record).replace("unchanged", "done", 1)
      rows.append((stage.name, chain[stage.name].folder.name, how))
  return rows


def stages_to(last: Stage, config: RunConfig) -> dict[str, Stage]:
  """A stage and all that it builds on, in the order of work, by name."""
  order: dict[str, Stage] = {}
  for before in last.after(config):
    order |= stages_to(before, config)
  return order | {last.name: last}


# One stage.


def _shared_plan(
  stage: Stage,
  config: RunConfig,
  workdir: epath.Path,
  chain: Chain,
  redo: bool,
  before: Step | None = None,
) -> Step:
  """The primary host's plan, in all processes; others may not see the files yet."""
  made: list[Step] = []

  def plan() -> list[str]:
    step = _plan(stage, config, workdir, chain, redo, before)
    made.append(step)
    return [step.generation.folder.name if step.generation else "", step.why]

  folder, why = from_primary(plan)
  if made:
    return made[0]
  return Step(folders.open_generation(workdir, folder) if folder else None, why)


def _plan(
  stage: Stage,
  config: RunConfig,
  workdir: epath.Path,
  chain: Chain,
  redo: bool = False,
  before: Step | None = None,
) -> Step:
  """What there is to do; `before`, an earlier plan, has read files that need not be read again."""
  there = folders.generations(workdir, stage.name)
  seen = before.inputs.files if before is not None and before.inputs is not None else {}
  inputs = inputs_of(stage, config, chain, there, seen)
  equal = [g for g in there if g.record.inputs.equal(inputs)]
  begun = next((g for g in reversed(equal) if not g.is_finished), None)
  # What an update made in place of this output counts for it, and says so: see `how_kept`.
  finished = [g for g in there if g.is_finished and g.record.inputs.without_update().equal(inputs)]
  if redo:
    return Step(begun, "asked for by --redo", inputs)
  if finished:
    lost = finished[-1].lost()
    return Step(begun, f"{lost} is missing", inputs) if lost else Step(finished[-1])
  others = [g for g in there if g.is_finished]
  why = changes(others[-1].record.inputs, inputs) if others else "not done yet"
  return Step(begun, why, inputs)


def inputs_of(
  stage: Stage,
  config: RunConfig,
  chain: Chain,
  there: Sequence[Generation] = (),
  seen: Mapping[str, Any] = MappingProxyType({}),
) -> Inputs:
  """What the stage's output would be made of now.

  Args:
    stage: the stage.
    config: the settings of the run.
    chain: the outputs that it would be built on.
    there: outputs of the stage, whose files need not be read again where they are the same.
    seen: contents of files that were read already.
  """
  known = {name: kept for g in there for name, kept in g.record.inputs.files.items()}
  from_elsewhere = dict(stage.files(config))
  return Inputs(
    as_json(stage.settings(config)),
    {before.name: chain[before.name].record.identity for before in stage.after(config)},
    contents(from_elsewhere.pop("files", []), known | dict(seen)),
    as_json(from_elsewhere),
  )


def _build(
  stage: Stage, config: RunConfig, workdir: epath.Path, chain: Chain, step: Step
) -> Generation:
  """Builds a stage in a folder of its own, which counts when its record says it is finished."""
  if step.why != "not done yet":
    print(f"{stage.name}: done again, because {step.why}")
  began = time.monotonic()
  forget_peak()

  def start() -> str:
    assert step.inputs is not None
    folder = step.generation.folder if step.generation else folders.new_folder(workdir, stage.name)
    write_record(folder, Record(stage.name, step.inputs))
    return folder.name

  folder = workdir / folders.STAGES / from_primary(start)
  stage.build(config, folder, dict(chain))

  def finish() -> None:
    assert step.inputs is not None
    write_whole_text(folder / CONFIG, config_text(config, workdir))
    outputs = folders.checksums_of(folder, [*stage.outputs(config), CONFIG])
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_record(folder, Record(stage.name, step.inputs, outputs, now))

  from_primary(finish)
  print(f"{stage.name}: done in {time.monotonic() - began:.0f} s{_memory()}")
  return folders.open_generation(workdir, folder.name)


def _memory() -> str:
  """What this process has held at most during the stage, in words; "" where that is unknown."""
  peak = peak_memory()
  return "" if peak is None else f", with {peak / 2**30:.1f} GiB of memory at most"


def _kept(step: Step) -> Generation:
  assert step.generation is not None
  return step.generation


def _tidy(
  order: Mapping[str, Stage], config: RunConfig, workdir: epath.Path, chain: Chain, is_locked: bool
) -> None:
  """Links to the chain's outputs, and deletes old generations after new ones were made."""
  outputs = {
    name: chain[stage.name]
    for stage in order.values()
    for name in (*stage.outputs(config), CONFIG)  # the last stage's config is the run's
  }
  if is_locked:
    folders.link(workdir, outputs)
    folders.prune(workdir)
  elif not folders.is_linked(workdir, outputs):
    with contextlib.suppress(OSError), locked(workdir):  # it may be read-only
      folders.link(workdir, outputs)


@contextlib.contextmanager
def _locked_by_primary(workdir: epath.Path, wait: bool) -> Iterator[None]:
  with contextlib.ExitStack() as stack:
    from_primary(lambda: stack.enter_context(locked(workdir, wait)))
    yield


# A whole chain.


def _belonging(
  generation: Generation,
  order: Mapping[str, Stage],
  config: RunConfig,
  finished: Mapping[str, Sequence[Generation]],
) -> Chain | str:
  """What a generation was built on, itself last, or in words why it is not what is looked for."""
  chain = {generation.record.stage: generation}
  for name in reversed(list(order)):  # a stage comes after all that were built on it
    settings, record = as_json(order[name].settings(config)), chain[name].record
    if record.inputs.settings != settings:
      wanted = dataclasses.replace(record.inputs, settings=settings)
      differing = changes(record.inputs, wanted)
      return f"stage '{name}' that was made from something else: {differing}"
    for before in order[name].after(config):
      identity = record.inputs.built_on.get(before.name)
      match = [g for g in finished[before.name] if g.record.identity == identity]
      if not match or chain.setdefault(before.name, match[-1]) != match[-1]:
        return f"stage '{name}' that was made from another '{before.name}' than is there"
  return {name: chain[name] for name in order}


def _warn_of_newer(
  chain: Chain, finished: Mapping[str, Sequence[Generation]], workdir: epath.Path
) -> None:
  for name, used in chain.items():
    newer = finished[name][-1]
    same_settings = newer.record.inputs.settings == used.record.inputs.settings
    if same_settings and newer.record.identity != used.record.identity:
      what = changes(used.record.inputs, newer.record.inputs) or "on request"
      warnings.warn(
        f"stage '{name}' in {workdir} was done again since ({what}), but nothing was built on it "
        "yet; the complete run before it answers; run --mode=all to bring everything up to date",
        stacklevel=3,
      )
      return
