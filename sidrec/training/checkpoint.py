"""Checkpoints on Orbax: a run's latest and best states, and one-off parameter trees.

Every function here is to be called by all processes alike: Orbax decides which of
them writes what, and the primary host process which checkpoints are sound. A checkpoint
appears under its name only when it is complete, its checksums included.
"""

import contextlib
import errno
import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sidrec.parallel.hosts import is_primary
from sidrec.parallel.mesh import make_mesh, replicated
from sidrec.training.checkpoint_recovery import Found, check_any_sound, find_newest, warn_of_damage
from sidrec.training.checksums import METADATA, write_checksums
from sidrec.training.tree_paths import arranged_like, check_fit

PyTree = Any
Progress = Mapping[str, Any]  # what JSON can hold; infinities and NaN included
Stored = ocp.training.CheckpointMetadata  # Orbax's description of a checkpoint

UNFINISHED = ".orbax-checkpoint-tmp"  # how Orbax ends the name of a folder that it is writing


class Checkpoints(NamedTuple):
  """The checkpoints of one run; made by `open_checkpoints`, closed by `with` or `close()`.

  Saves run in the background, one at a time: the state is copied before a call
  returns (its buffers may be donated at once), a save waits for the one before it,
  and an error of a background save is raised by the next call, as an OSError that
  says what is left. After every `save_best`, `save_latest` must record it:
  `restore_latest` takes the whole run back to the latest state, and forgets a best
  one that came after it.

  The last two latest states are there, and each best one that one of them needs, so
  that a run can go on from the one before when files of the last were damaged.
  """

  latest: ocp.training.Checkpointer
  best: ocp.training.Checkpointer

  def latest_step(self) -> int | None:
    """The step that `restore_latest` would restore, or None if there is none.

    Waits for a save in progress and reads files: not a call for every step.
    """
    self.wait()
    return find_newest(self.latest).step

  def best_step(self) -> int | None:
    """The step that `restore_best` would restore, or None if there is none; also waits."""
    self.wait()
    return find_newest(self.best).step

  def best_metric(self) -> float | None:
    """The metric saved with the state that `restore_best` would restore, or None; also waits."""
    step = self.best_step()
    return None if step is None else _note(self.best.metadata(step))["metric"]

  def save_latest(self, step: int, state: PyTree, progress: Progress) -> None:
    """Starts saving the state, and with it `progress`; the latest but one before it goes.

    Raises:
      ValueError: if a later step is already there.
      OSError: if a save failed, for want of space on the disk, say.
    """
    self.wait()
    self._start_save(self.latest, step, state, {"progress": dict(progress)})

  def save_best(self, step: int, tree: PyTree, metric: float) -> None:
    """Starts saving the best parameters (or state) so far, and beside them their metric.

    Raises: as `save_latest`.
    """
    self.wait()
    self._start_save(self.best, step, tree, {"metric": float(metric)})

  def restore_latest(self, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
    """Takes the run back to its latest sound state; whatever was saved after it is deleted.

    Says on stderr if files of a later one are damaged, or those of its best one, which
    then goes too.

    Args:
      abstract_state: a pytree like the state: arrays, or `jax.ShapeDtypeStruct`s
        whose shardings say where to put the arrays (replicated over all devices
        if they have none). The number of devices may differ from the saving run's;
        so may the classes of nodes, if the names of the leaves are the same.

    Returns:
      (state, progress), bit for bit as saved, or None if there is nothing to restore.

    Raises:
      ValueError: if the checkpoint does not fit `abstract_state`, or if there are
        checkpoints but none is sound.
      OSError: if files cannot be read for now. Then nothing is deleted.
    """
    self.wait()
    latest = find_newest(self.latest)
    check_any_sound(self.latest, latest)
    restored = None
    if latest.step is not None:
      stored = self.latest.metadata(latest.step)
      restored = _load(self.latest, stored, abstract_state), _note(stored)["progress"]
    best = find_newest(self.best, upto=-1 if latest.step is None else latest.step)
    for checkpointer, found in ((self.latest, latest), (self.best, best)):
      warn_of_damage(checkpointer, found)
      _forget_after(checkpointer, found)
    return restored

  def restore_best(self, abstract_tree: PyTree) -> PyTree | None:
    """The best parameters (or state) that are sound, or None if there are none; deletes nothing.

    Args:
      abstract_tree: as in `restore_latest`.

    Raises: as `restore_latest`.
    """
    self.wait()
    best = find_newest(self.best)
    check_any_sound(self.best, best)
    warn_of_damage(self.best, best)
    if best.step is None:
      return None
    return _load(self.best, self.best.metadata(best.step), abstract_tree)

  def wait(self) -> None:
    """Waits for the save in progress, if any; raises OSError if it failed."""
    with self._explain_failure():
      self.latest.wait()
      self.best.wait()

  def close(self) -> None:
    """Waits for the save in progress, if any, and releases Orbax's threads."""
    with self._explain_failure():
      try:
        self.latest.close()
      finally:
        self.best.close()

  def __enter__(self) -> Self:
    """Returns itself."""
    return self

  def __exit__(self, *_: object) -> None:
    """Closes."""
    self.close()

  def _start_save(
    self, checkpointer: ocp.training.Checkpointer, step: int, tree: PyTree, note: dict[str, Any]
  ) -> None:
    json.dumps(note)  # to fail here rather than in the background
    last = max((checkpoint.step for checkpoint in checkpointer.checkpoints), default=-1)
    if last > step:
      raise ValueError(
        f"{checkpointer.directory} holds step {last}, so step {step} cannot be saved;"
        " restore the run first, or use an empty folder"
      )
    if last == step:
      if checkpointer.metadata(step).custom_metadata == note:
        return
      _forget(checkpointer, step)
    add_checksums = functools.partial(_add_checksums, checkpointer.directory, step, note)
    with self._explain_failure(), _context(before_rename=add_checksums):
      checkpointer.save_async(step, tree, force=True, custom_metadata=note)

  @contextlib.contextmanager
  def _explain_failure(self) -> Iterator[None]:
    """Turns what Orbax and its libraries raise when a save fails into one OSError."""
    try:
      yield
    except (OSError, ValueError) as error:
      for checkpointer in self:
        checkpointer.reload()  # it counts the failed one, and has forgotten an older one
      # No call to other processes here: they may know of no failure.
      kept = max((checkpoint.step for checkpoint in self.latest.checkpoints), default=None)
      # TensorStore raises a ValueError with the system's words for it.
      full = any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
      reason = "the disk is full" if full else " ".join(str(error).split())
      folder = os.path.dirname(self.latest.directory)
      rest = "there is none yet" if kept is None else f"the one of step {kept} is kept"
      remedy = "make room there" if full else "remove the cause"
      raise OSError(
        f"a checkpoint could not be saved in {folder}: {reason}; {rest};"
        f" {remedy} and start again with the same command"
      ) from error


def open_checkpoints(folder: str | os.PathLike[str]) -> Checkpoints:
  """Opens, or starts, the checkpoints of a run: `folder/latest/<step>`, `folder/best/<step>`.

  Args:
    folder: a path that all processes share; may be a bucket (gs://…).
  """
  _hush_orbax()
  policies = ocp.training.preservation_policies
  # Either of the two latest states has the best one that came last before it, and
  # a third is saved before the latest state that follows it.
  latest, best = (
    ocp.training.Checkpointer(
      os.path.join(_absolute(folder), name),
      context=_context(),
      preservation_policy=policies.LatestN(count),  # pyrefly: ignore[bad-argument-type]
    )
    for name, count in [("latest", 2), ("best", 3)]
  )
  return Checkpoints(latest, best)


def save_params(path: str | os.PathLike[str], tree: PyTree) -> None:
  """Saves a pytree of arrays as the folder `path`, in place of what was there.

  Of arrays that each process has for itself, the first one's are saved.
  """
  _hush_orbax()
  with _context():
    ocp.save(_absolute(path), jax.tree.map(_of_all_processes, tree), overwrite=True)


def _of_all_processes(x: Any) -> Any:
  """As an array that all processes hold, which is what Orbax saves where there are several."""
  if jax.process_count() == 1 or not isinstance(x, jax.Array) or not x.is_fully_addressable:
    return x
  return jax.make_array_from_process_local_data(replicated(make_mesh()), jax.device_get(x))


def load_params(path: str | os.PathLike[str], abstract_tree: PyTree = None) -> PyTree:
  """Loads what `save_params` saved.

  Args:
    path: the folder.
    abstract_tree: as in `Checkpoints.restore_latest`; or None, to get the arrays
      replicated over all devices, in dicts and lists (also for NamedTuples and tuples).

  Raises:
    FileNotFoundError: if there is no complete folder `path`.
    ValueError: if it does not fit `abstract_tree`.
  """
  _hush_orbax()
  path = _absolute(path)
  with _context():
    try:
      stored = ocp.metadata(path).metadata
    except (FileNotFoundError, ocp.errors.InvalidLayoutError):
      stored = None
    if stored is None:
      raise FileNotFoundError(f"no complete parameters at {path}; save them first")
    if abstract_tree is None:
      abstract_tree = stored
    check_fit(path, stored, abstract_tree)
    loaded = ocp.load(path, arranged_like(stored, _abstract(abstract_tree)))
    return arranged_like(abstract_tree, loaded)


def _context(before_rename: Callable[[], None] | None = None) -> ocp.Context:
  context = ocp.Context()
  # Slicing replicated arrays over the devices that hold them makes the call that
  # starts a save three times as long, for files that are small here.
  context.array.saving.use_replica_parallel = False
  # Runs on the primary host, in the background, when all processes have written their files.
  context.async_options.post_finalization_callback = before_rename
  return context


def _add_checksums(directory: epath.Path, step: int, note: dict[str, Any]) -> None:
  unfinished = directory / f"{step}{UNFINISHED}"
  # Buckets do not rename folders; there Orbax marks the complete ones.
  write_checksums(unfinished if unfinished.exists() else directory / str(step), note)


def _forget_after(checkpointer: ocp.training.Checkpointer, found: Found) -> None:
  """Deletes what came after the state to go on from, and what no save has finished."""
  for step in found.after:
    _forget(checkpointer, step)
  if is_primary():
    for path in checkpointer.directory.iterdir():
      if path.name.endswith(UNFINISHED):
        path.rmtree()


def _forget(checkpointer: ocp.training.Checkpointer, step: int) -> None:
  if is_primary():
    # First, so that a deletion that is cut short leaves nothing that looks whole.
    (checkpointer.directory / str(step) / METADATA).unlink(missing_ok=True)
  checkpointer.delete(step, missing_ok=True)


def _note(stored: Stored) -> Any:
  return stored.custom_metadata


def _load(checkpointer: ocp.training.Checkpointer, stored: Stored, wanted: PyTree) -> PyTree:
  check_fit(stored.path, stored.metadata, wanted)
  try:
    # In the structure that was saved: Orbax minds nodes that have no leaves.
    loaded = checkpointer.load(stored.step, arranged_like(stored.metadata, _abstract(wanted)))
  except (OSError, ValueError, KeyError) as error:
    first = error
    while first.__context__ is not None:  # Orbax may end with a KeyError about handlers
      first = first.__context__
    reason = str(first).partition("\n")[0]
    raise OSError(
      f"cannot load checkpoint {stored.path}: {reason}; nothing was deleted: start again,"
      " or delete that folder to go on from the one before"
    ) from error
  return arranged_like(wanted, loaded)


def _abstract(tree: PyTree) -> PyTree:
  everywhere = replicated(make_mesh())

  def leaf(x: Any) -> Any:
    if not hasattr(type(x), "sharding"):
      return x  # NumPy arrays and Python scalars come back as such
    # Metadata names the devices of the run that saved, which need not be here.
    known = isinstance(x, (jax.Array, jax.ShapeDtypeStruct))
    sharding = (x.sharding if known else None) or everywhere
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(leaf, tree)


def _absolute(path: str | os.PathLike[str]) -> str:
  path = os.fspath(path)
  return path if "://" in path else os.path.abspath(path)


def _hush_orbax() -> None:
  """Drops Orbax's messages below WARNING, dozens a save, and tracebacks of what it raises too."""
  logging.getLogger("absl").addFilter(_is_not_orbax_chatter)


def _is_not_orbax_chatter(record: logging.LogRecord) -> bool:
  chatter = record.levelno < logging.WARNING or record.exc_info
  return not chatter or "/orbax/" not in record.pathname.replace("\\", "/")
