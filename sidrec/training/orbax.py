"""What checkpoints and parameters share of Orbax: its context, its errors, its silence."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sidrec.core.paths import is_local
from sidrec.parallel.mesh import make_mesh, replicated

PyTree = Any

UNFINISHED = ".orbax-checkpoint-tmp"  # how Orbax ends the name of a folder that it is writing


def context(before_rename: Callable[[], None] | None = None) -> ocp.Context:
  """How Orbax saves here; `before_rename` is called when a checkpoint's files are written."""
  made = ocp.Context()
  # Slicing replicated arrays over the devices that hold them makes the call that
  # starts a save three times as long, for files that are small here.
  made.array.saving.use_replica_parallel = False
  # Made in the background, a folder that cannot be made leaves threads that wait 20 minutes for
  # it, and the process with them.
  made.asynchronous.create_directories_asynchronously = False
  # Runs on the primary host, in the background, when all processes have written their files.
  made.async_options.post_finalization_callback = before_rename
  return made


def explain(error: Exception) -> tuple[str, str]:
  """Why a save failed, of what Orbax and its libraries raise, and what to do."""
  # TensorStore raises a ValueError with the system's words for it.
  full = any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
  if full:
    return "the disk is full", "make room there"
  return " ".join(str(error).split()), "remove the cause"


def leave_out_path(folder: epath.Path) -> None:
  """Rewrites Orbax's mark of success, which holds the folder's absolute path."""
  mark = folder / "commit_success.txt"
  if is_local(folder) and mark.exists() and os.fspath(folder.parent) in mark.read_text():
    with contextlib.suppress(OSError):  # such as a full disk; Orbax does not read the words
      mark.write_text(f"Checkpoint commit was successful to {folder.name}")


def of_all_processes(x: Any) -> Any:
  """As an array that all processes hold, which is what Orbax saves where there are several."""
  if jax.process_count() == 1 or not isinstance(x, jax.Array) or not x.is_fully_addressable:
    return x
  return jax.make_array_from_process_local_data(replicated(make_mesh()), jax.device_get(x))


def of_this_process(x: Any, wanted: Any) -> Any:
  """What Orbax loaded for all processes, on devices of this one if `wanted` has such a sharding."""
  if jax.process_count() == 1 or not isinstance(x, jax.Array) or not _is_here(wanted):
    return x
  return jax.device_put(jax.device_get(x), wanted.sharding)


def _is_here(x: Any) -> bool:
  sharding = getattr(x, "sharding", None)
  return isinstance(sharding, jax.sharding.Sharding) and sharding.is_fully_addressable


def abstract(tree: PyTree) -> PyTree:
  """The tree with `jax.ShapeDtypeStruct`s for arrays; replicated, if they have no sharding.

  Where there are several processes, so are those of one process alone.
  """
  everywhere = replicated(make_mesh())

  def abstract_leaf(x: Any) -> Any:
    if not hasattr(type(x), "sharding"):
      return x  # NumPy arrays and Python scalars come back as such
    # Orbax's metadata has the devices of the run that saved, which need not be here.
    known = isinstance(x, (jax.Array, jax.ShapeDtypeStruct))
    known = known and not (jax.process_count() > 1 and _is_here(x))
    sharding = (x.sharding if known else None) or everywhere
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return jax.tree.map(abstract_leaf, tree)


def silence_orbax() -> None:
  """Drops Orbax's messages below WARNING (dozens a save), and tracebacks of what it also raises."""
  logging.getLogger("absl").addFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
  from_orbax = "/orbax/" in record.pathname.replace("\\", "/")
  return not from_orbax or (record.levelno >= logging.WARNING and not record.exc_info)
