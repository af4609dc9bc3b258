"""Saved parameters: a pytree of arrays in a folder, with checksums. All processes call these."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from sidrec.core.paths import absolute, file_system, files_under, is_local
from sidrec.parallel.hosts import from_primary
from sidrec.training.checksums import CHECKSUMS, find_damage_of_params, seal_params
from sidrec.training.orbax import (
  abstract,
  context,
  explain,
  leave_out_path,
  of_all_processes,
  silence_orbax,
)
from sidrec.training.tree_paths import arranged_like, check_fit

PyTree = Any

REMEDY = (
  "bring back a copy, or make it again: --redo=tokenize for a tokenizer, --redo=train for a"
  " recommender, --redo=sasrec or --redo=bsarec for these baselines"
)


def save_params(path: str | os.PathLike[str], tree: PyTree) -> None:
  """Saves a pytree of arrays as the folder `path`, replacing what was there.

  Of arrays that each process has for itself, those of the primary host are saved.

  Raises:
    OSError: if they cannot be saved, such as on a full disk; what was there stays.
    ValueError: for several processes and s3://.
  """
  silence_orbax()
  path = absolute(path)
  tree = jax.tree.map(of_all_processes, tree)
  try:
    if os.fspath(path).startswith("s3://"):
      _save_by_upload(path, tree)
    elif not is_local(path):
      _save(path, tree)
      from_primary(lambda: seal_params(path))
    else:
      draft = path.with_name(f".{path.name}.draft")
      _save(draft, tree)
      from_primary(lambda: _finish(draft, path))
  except (OSError, ValueError) as error:
    reason, remedy = explain(error)
    raise OSError(f"parameters could not be saved in {path}: {reason}; {remedy}") from error


def _save(path: epath.Path, tree: PyTree) -> None:
  with context():
    ocp.save(os.fspath(path), tree, overwrite=True)


def _finish(draft: epath.Path, path: epath.Path) -> None:
  leave_out_path(draft)
  seal_params(draft)
  old = path.with_name(f".{path.name}.old")
  old.rmtree(missing_ok=True)
  if path.exists():
    path.rename(old)
  draft.rename(path)
  old.rmtree(missing_ok=True)


def _save_by_upload(path: epath.Path, tree: PyTree) -> None:
  """Orbax does not write to s3://."""
  if jax.process_count() > 1:
    raise ValueError("several processes cannot save to s3:// together")
  with tempfile.TemporaryDirectory() as folder:
    local = epath.Path(folder) / "params"
    _save(local, tree)
    leave_out_path(local)
    seal_params(local)
    files = [file.relative_to(local) for file in files_under(local) if file.name != CHECKSUMS]
    path.rmtree(missing_ok=True)
    for name in [*files, CHECKSUMS]:  # the last one makes them complete
      file_system(path).put_file(os.fspath(local / name), os.fspath(path / name))


def load_params(
  path: str | os.PathLike[str], abstract_tree: PyTree = None, remedy: str = REMEDY
) -> PyTree:
  """Loads what `save_params` saved, after a check of all files' checksums.

  Args:
    path: the folder.
    abstract_tree: as in `Checkpoints.restore_latest`; or None, to get the arrays
      replicated over all devices, in dicts and lists (also for NamedTuples and tuples). Types
      that JAX lacks, such as int64, stay NumPy's.
    remedy: what the user can do if a file is damaged, for the end of the sentence.

  Raises:
    FileNotFoundError: if there is no complete folder `path`.
    ValueError: if a file is damaged, or if they do not fit `abstract_tree`.
    OSError: if a file cannot be read.
  """
  silence_orbax()
  path = absolute(path)

  def search() -> list[str | None]:
    try:
      return ["damage", find_damage_of_params(path)]
    except (FileNotFoundError, NotADirectoryError):
      return ["missing", None]
    except OSError as error:
      return ["unreadable", str(error)]

  kind, words = from_primary(search)
  if kind == "missing":
    raise FileNotFoundError(f"no complete parameters at {path}; save them first")
  if kind == "unreadable":
    raise OSError(f"cannot read the parameters at {path}: {words}")
  if words is not None:
    raise ValueError(f"{words}; {remedy}")
  with _for_orbax(path) as folder, context():
    stored = ocp.metadata(os.fspath(folder)).metadata
    wanted = _on_devices(stored) if abstract_tree is None else abstract_tree
    check_fit(path, stored, wanted)
    loaded = ocp.load(os.fspath(folder), arranged_like(stored, abstract(wanted)))
    return arranged_like(wanted, loaded)


def _on_devices(stored: PyTree) -> PyTree:
  """The tree with NumPy's arrays as those of a device, where JAX has their type.

  A compiled function copies what it is given of NumPy in each call: tables by item, whole.
  """

  def leaf(x: Any) -> Any:
    is_numpy = hasattr(x, "shape") and hasattr(x, "dtype") and not hasattr(type(x), "sharding")
    if not is_numpy or jax.dtypes.canonicalize_dtype(x.dtype) != x.dtype:
      return x
    return jax.ShapeDtypeStruct(x.shape, x.dtype)

  return jax.tree.map(leaf, stored)


@contextlib.contextmanager
def _for_orbax(path: epath.Path) -> Iterator[epath.Path]:
  """The folder, or a local copy of it: Orbax does not read from s3://."""
  if not os.fspath(path).startswith("s3://"):
    yield path
    return
  with tempfile.TemporaryDirectory() as folder:
    for file in files_under(path):
      copy = epath.Path(folder) / file.relative_to(path)
      copy.parent.mkdir(parents=True, exist_ok=True)
      file_system(path).get_file(os.fspath(file), os.fspath(copy))
    yield epath.Path(folder)
