"""Checkpoints on Orbax: a run's latest and best state, and one-off parameter trees.

Every function here is to be called by all processes alike: Orbax decides which of
them writes what. A checkpoint appears under its name only when it is complete.
"""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from sidrec.training.mesh import make_mesh, replicated

PyTree = Any
Progress = Mapping[str, Any]  # what JSON can hold; infinities and NaN included
Stored = ocp.training.CheckpointMetadata  # Orbax's description of a checkpoint


class Checkpoints(NamedTuple):
  """The checkpoints of one run; made by `open_checkpoints`, closed by `with` or `close()`.

  Saves run in the background, one at a time: the state is copied before a call
  returns (its buffers may be donated at once), a save waits for the one before it,
  and an error of a background save is raised by the next call. After every
  `save_best`, `save_latest` must record it: `restore_latest` takes the whole run
  back to the latest state, and forgets a best one that came after it.
  """

  latest: ocp.training.Checkpointer
  best: ocp.training.Checkpointer

  def latest_step(self) -> int | None:
    """The step that `restore_latest` would restore, or None if there is none.

    Waits for a save in progress and reads files: not a call for every step.
    """
    self.wait()
    newest = _newest(self.latest)
    return None if newest is None else newest.step

  def best_step(self) -> int | None:
    """The step that `restore_best` would restore, or None if there is none; also waits."""
    self.wait()
    newest = _newest(self.best)
    return None if newest is None else newest.step

  def save_latest(self, step: int, state: PyTree, progress: Progress) -> None:
    """Starts saving the state, and with it `progress`; the latest state before it goes.

    Raises:
      ValueError: if a later step is already there.
    """
    self.best.wait()
    _start_save(self.latest, step, state, {"progress": dict(progress)})

  def save_best(self, step: int, tree: PyTree, metric: float) -> None:
    """Starts saving the best parameters (or state) so far, and beside them their metric.

    Raises:
      ValueError: if a later step is already there.
    """
    self.latest.wait()
    _start_save(self.best, step, tree, {"metric": float(metric)})

  def restore_latest(self, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
    """Takes the run back to its latest state; whatever was saved after it is deleted.

    Args:
      abstract_state: a pytree like the state: arrays, or `jax.ShapeDtypeStruct`s
        whose shardings say where to put the arrays (replicated over all devices
        if they have none). The number of devices may differ from the saving run's.

    Returns:
      (state, progress), bit for bit as saved, or None if there is nothing to restore.

    Raises:
      ValueError: if the checkpoint does not fit `abstract_state`, or if there are
        checkpoints but none is complete.
    """
    self.wait()
    newest = _newest(self.latest)
    if newest is None and self.latest.checkpoints:
      # A fresh start would delete the run, which may only be unreadable for now.
      raise ValueError(
        f"no checkpoint in {self.latest.directory} is complete; delete that folder to start again"
      )
    state = None if newest is None else _restore(self.latest, newest, abstract_state)
    for checkpointer in self:
      for checkpoint in checkpointer.checkpoints:
        if newest is None or checkpoint.step > newest.step:
          checkpointer.delete(checkpoint.step)
    return None if newest is None else (state, _note(newest)["progress"])

  def restore_best(self, abstract_tree: PyTree) -> PyTree | None:
    """The best parameters (or state), or None if there are none; deletes nothing.

    Args:
      abstract_tree: as in `restore_latest`.

    Raises:
      ValueError: if the checkpoint does not fit `abstract_tree`.
    """
    self.wait()
    newest = _newest(self.best)
    return None if newest is None else _restore(self.best, newest, abstract_tree)

  def wait(self) -> None:
    """Waits for the save in progress, if any."""
    self.latest.wait()
    self.best.wait()

  def close(self) -> None:
    """Waits for the save in progress, if any, and releases Orbax's threads."""
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


def open_checkpoints(folder: str | os.PathLike[str]) -> Checkpoints:
  """Opens, or starts, the checkpoints of a run: `folder/latest/<step>`, `folder/best/<step>`.

  Args:
    folder: a path that all processes share; may be a bucket (gs://…).
  """
  _hush_orbax()
  policies = ocp.training.preservation_policies
  # The best before the last is kept until the latest state is known to follow the last.
  latest, best = (
    ocp.training.Checkpointer(
      os.path.join(_absolute(folder), name),
      context=_context(),
      preservation_policy=policies.LatestN(count),  # pyrefly: ignore[bad-argument-type]
    )
    for name, count in [("latest", 1), ("best", 2)]
  )
  return Checkpoints(latest, best)


def save_params(path: str | os.PathLike[str], tree: PyTree) -> None:
  """Saves a pytree of arrays as the folder `path`, in place of what was there."""
  _hush_orbax()
  with _context():
    ocp.save(_absolute(path), tree, overwrite=True)


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
    else:
      _check_fit(path, stored, abstract_tree)
    return ocp.load(path, _abstract(abstract_tree))


def _context() -> ocp.Context:
  context = ocp.Context()
  # Slicing replicated arrays over the devices that hold them makes the call that
  # starts a save three times as long, for files that are small here.
  context.array.saving.use_replica_parallel = False
  return context


def _start_save(
  checkpointer: ocp.training.Checkpointer, step: int, tree: PyTree, note: dict[str, Any]
) -> None:
  json.dumps(note)  # to fail here rather than in the background
  checkpointer.wait()
  last = max((checkpoint.step for checkpoint in checkpointer.checkpoints), default=-1)
  if last > step:
    raise ValueError(
      f"{checkpointer.directory} holds step {last}, so step {step} cannot be saved;"
      " restore the run first, or use an empty folder"
    )
  if last == step and checkpointer.metadata(step).custom_metadata == note:
    return
  checkpointer.save_async(step, tree, force=True, overwrite=last == step, custom_metadata=note)


def _newest(checkpointer: ocp.training.Checkpointer) -> Stored | None:
  # Orbax counts every folder with a number for its name. One that a copy or a
  # file system without atomic renames left incomplete lacks some of its metadata.
  for checkpoint in reversed(checkpointer.checkpoints):
    try:
      stored = checkpointer.metadata(checkpoint.step)
    except (FileNotFoundError, ocp.errors.InvalidLayoutError):
      continue
    if stored.metadata is not None and _note(stored):
      return stored
  return None


def _note(stored: Stored) -> Any:
  return stored.custom_metadata


def _restore(
  checkpointer: ocp.training.Checkpointer, stored: Stored, abstract_tree: PyTree
) -> PyTree:
  _check_fit(stored.path, stored.metadata, abstract_tree)
  return checkpointer.load(stored.step, _abstract(abstract_tree))


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


def _check_fit(path: Any, stored_tree: PyTree, wanted_tree: PyTree) -> None:
  """Raises ValueError naming the first leaf that differs; Orbax would cast silently."""
  stored, wanted = _leaves(stored_tree), _leaves(wanted_tree)
  for name in wanted | stored:
    there, here = stored.get(name, "absent"), wanted.get(name, "absent")
    if there != here:
      raise ValueError(
        f"checkpoint {path} does not fit: {name} is {there} in it, but {here} here;"
        " was the configuration changed since it was saved?"
      )


def _leaves(tree: PyTree) -> dict[str, str]:
  """Leaf path → 'dtype[shape]'; the same for a tree and for Orbax's metadata of it."""

  def describe(x: Any) -> str:
    if not hasattr(x, "dtype"):
      return type(x).__name__
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      x = jax.eval_shape(jax.random.key_data, x)
    return f"{np.dtype(x.dtype).name}[{','.join(map(str, x.shape))}]"

  leaves, _ = jax.tree.flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): describe(x) for path, x in leaves}


def _absolute(path: str | os.PathLike[str]) -> str:
  path = os.fspath(path)
  return path if "://" in path else os.path.abspath(path)


def _hush_orbax() -> None:
  """Drops Orbax's messages below WARNING, of which a save makes dozens."""
  logging.getLogger("absl").addFilter(_is_not_orbax_chatter)


def _is_not_orbax_chatter(record: logging.LogRecord) -> bool:
  return record.levelno >= logging.WARNING or "/orbax/" not in record.pathname.replace("\\", "/")
