"""Checkpoints by Orbax: a run's latest and best states.

All processes must call every function here. Orbax decides which of them writes what, and
the primary host decides which checkpoints are sound. A checkpoint gets its name only when it
is complete, with its checksums.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sidrec.core.paths import absolute, as_path, is_local
from sidrec.parallel.hosts import is_primary
from sidrec.training import checkpoint_recovery as recovery
from sidrec.training.checksums import write_checksums
from sidrec.training.orbax import (
  UNFINISHED,
  abstract,
  context,
  explain,
  leave_out_path,
  of_all_processes,
  of_this_process,
  silence_orbax,
)
from sidrec.training.params import load_params as load_params
from sidrec.training.params import save_params as save_params
from sidrec.training.tree_paths import arranged_like, check_fit

PyTree = Any
Progress = Mapping[str, Any]  # what JSON can hold; infinities and NaN included


class Checkpoints(NamedTuple):
  """The checkpoints of one run; made by `open_checkpoints`, closed by `with` or `close()`.

  Saves run in the background, one at a time: a call waits for the save before it, and copies
  the state before it returns, so that its buffers may be donated. The next call raises the
  error of a background save, as an OSError that says what is left. After every `save_best`,
  `save_latest` must record it: `restore_latest` takes the whole run back to the latest state,
  and deletes a best one that came after it.

  Orbax keeps the last two latest states and the best states that they need, so that a run
  can continue from the one before if files of the last are damaged.
  """

  latest: ocp.training.Checkpointer
  best: ocp.training.Checkpointer
  saving: list[Any]  # the response of the save in progress

  def latest_step(self) -> int | None:
    """The step that `restore_latest` would restore, if any; waits, and reads files."""
    self.wait()
    return recovery.find_newest(self.latest).step

  def best_step(self) -> int | None:
    """The step that `restore_best` would restore, if any; waits, and reads files."""
    self.wait()
    return recovery.find_newest(self.best).step

  def best_metric(self) -> float | None:
    """The metric saved with the state that `restore_best` would restore, if any; also waits."""
    step = self.best_step()
    return None if step is None else _note(self.best.metadata(step))["metric"]

  def save_latest(self, step: int, state: PyTree, progress: Progress) -> None:
    """Starts to save the state and its progress; deletes the latest states but the last two.

    Raises:
      ValueError: if a later step is already there.
      OSError: if a save failed, such as on a full disk.
    """
    self._start_save(self.latest, step, state, {"progress": dict(progress)})

  def save_best(self, step: int, tree: PyTree, metric: float) -> None:
    """Starts to save the best parameters (or state) so far and their metric; see `save_latest`."""
    self._start_save(self.best, step, tree, {"metric": float(metric)})

  def restore_latest(self, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
    """Takes the run back to its latest sound state; deletes whatever was saved after it.

    Names damaged files on stderr, of later states or of their best ones, which are deleted too.

    Args:
      abstract_state: a pytree like the state: arrays, or `jax.ShapeDtypeStruct`s
        whose shardings say where to put the arrays (replicated over all devices
        if they have none). The number of devices may differ from the saving run's;
        so may the classes of nodes, if the leaves have the same paths.

    Returns:
      (state, progress), bit for bit as saved, or None if there is nothing to restore.

    Raises:
      ValueError: if the checkpoint does not fit `abstract_state`, or if there are
        checkpoints but none is sound.
      OSError: if files cannot be read for now. Then nothing is deleted.
    """
    self.wait()
    latest = recovery.find_newest(self.latest)
    restored = None
    if latest.step is not None:
      state, note = _load(self.latest, latest.step, abstract_state)
      restored = state, note["progress"]
    else:
      recovery.check_none_damaged(self.latest, latest)
    best = recovery.find_newest(self.best, upto=-1 if latest.step is None else latest.step)
    for checkpointer, found in ((self.latest, latest), (self.best, best)):
      recovery.warn_of_damage(checkpointer, found)
      for step in found.after:
        recovery.delete_step(checkpointer, step)
    return restored

  def restore_best(self, abstract_tree: PyTree) -> PyTree | None:
    """The best sound parameters (or state), or None; as `restore_latest`, but deletes nothing."""
    self.wait()
    best = recovery.find_newest(self.best)
    if best.step is None:
      return recovery.check_none_damaged(self.best, best)
    recovery.warn_of_damage(self.best, best)
    return _load(self.best, best.step, abstract_tree)[0]

  def wait(self) -> None:
    """Waits for the save in progress, if any; raises OSError if it failed."""
    with self._explain_failure():
      while self.saving:
        self.saving.pop().result()  # ends its thread, too
      self.latest.wait()
      self.best.wait()
    if is_primary():
      for checkpointer in (self.latest, self.best):
        if checkpointer.latest is not None:
          leave_out_path(checkpointer.directory / str(checkpointer.latest.step))

  def close(self) -> None:
    """Waits for the save in progress, if any, and releases Orbax's threads."""
    try:
      self.wait()
    finally:
      with self._explain_failure(), contextlib.closing(self.best):
        self.latest.close()

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
    self.wait()
    last = -1 if checkpointer.latest is None else checkpointer.latest.step
    if last > step:
      raise ValueError(
        f"{checkpointer.directory} holds step {last}, so step {step} cannot be saved;"
        " restore the run first, or use an empty folder"
      )
    if last == step:
      if _note(checkpointer.metadata(step)) == note:
        return
      recovery.delete_step(checkpointer, step)
    add_checksums = functools.partial(_add_checksums, checkpointer.directory, step, note)
    with self._explain_failure(), context(before_rename=add_checksums):
      saved = jax.tree.map(of_all_processes, tree)
      self.saving.append(checkpointer.save_async(step, saved, force=True, custom_metadata=note))

  @contextlib.contextmanager
  def _explain_failure(self) -> Iterator[None]:
    """Turns what Orbax and its libraries raise when a save fails into one OSError."""
    try:
      yield
    except (OSError, ValueError) as error:
      for checkpointer in (self.latest, self.best):
        checkpointer.reload()  # it counts the failed one, and has forgotten an older one
      # No call to other processes here: they may know of no failure.
      kept = self.latest.latest
      reason, remedy = explain(error)
      rest = "there is none yet" if kept is None else f"the one of step {kept.step} is kept"
      raise OSError(
        f"a checkpoint could not be saved in {self.latest.directory.parent}: {reason}; {rest};"
        f" {remedy} and start again with the same command"
      ) from error


def open_checkpoints(folder: str | os.PathLike[str]) -> Checkpoints:
  """Opens a run's checkpoints, `folder/latest/<step>` and `folder/best/<step>`, old or new.

  It deletes what no save has finished.

  Args:
    folder: a path that all processes share; may be a bucket (gs://…).

  Raises:
    ValueError: for s3://; see `check_can_save`.
  """
  check_can_save(folder)
  silence_orbax()
  # Each of the two latest states needs the last best one before it, and a third best one is
  # saved before the latest state that records it.
  latest, best = (
    ocp.training.Checkpointer(
      os.fspath(absolute(folder) / name),
      context=context(),
      preservation_policy=ocp.training.preservation_policies.LatestN(count),  # pyrefly: ignore[bad-argument-type]
      cleanup_tmp_directories=True,
    )
    for name, count in [("latest", 2), ("best", 3)]
  )
  return Checkpoints(latest, best, [])


def check_can_save(folder: str | os.PathLike[str]) -> None:
  """Raises ValueError if checkpoints cannot be saved below a folder; to be asked before training.

  Orbax and TensorStore write to local folders and to gs://, not to s3://.
  """
  path = as_path(folder)
  if not is_local(path) and not os.fspath(path).startswith("gs://"):
    raise ValueError(
      f"{path}: a training cannot save its checkpoints there; train in a local folder or in gs://"
      " and copy the run to s3:// then, from where it can recommend and evaluate"
    )


def _add_checksums(directory: epath.Path, step: int, note: dict[str, Any]) -> None:
  unfinished = directory / f"{step}{UNFINISHED}"
  # In buckets, where folders cannot be renamed, Orbax writes to the final folder.
  folder = unfinished if unfinished.exists() else directory / str(step)
  leave_out_path(folder / "state")
  write_checksums(folder, note)


def _note(stored: ocp.training.CheckpointMetadata) -> Any:
  return stored.custom_metadata


def _load(
  checkpointer: ocp.training.Checkpointer, step: int, wanted: PyTree
) -> tuple[PyTree, dict[str, Any]]:
  """The tree and the note of a step."""
  stored = checkpointer.metadata(step)
  check_fit(stored.path, stored.metadata, wanted)
  try:
    # In the structure that was saved: to Orbax, nodes without leaves make a difference.
    loaded = checkpointer.load(step, arranged_like(stored.metadata, abstract(wanted)))
  except (OSError, ValueError, KeyError) as error:
    first = error
    while first.__context__ is not None:  # Orbax may end with a KeyError about handlers
      first = first.__context__
    reason = str(first).partition("\n")[0]
    raise OSError(
      f"cannot load checkpoint {stored.path}: {reason}; nothing was deleted: start again,"
      " or delete that folder to go on from the one before"
    ) from error
  arranged = arranged_like(wanted, loaded)
  return jax.tree.map(of_this_process, arranged, wanted), _note(stored)
