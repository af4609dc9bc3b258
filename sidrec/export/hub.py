"""Runs on the Hugging Face hub; needs the package huggingface_hub.

A repository holds a bundle. A run that shall be loaded by sidrec again has its stages beside it,
and with them the histories of its users.
"""

import importlib.util
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.export.bundle import Finished, is_bundle, write_bundle
from sidrec.export.finished import chain_of
from sidrec.run.generations import STAGES, Generation
from sidrec.run.record import RECORD

SCHEME = "hf://"
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def push(
  repo: str, finished: Finished, workdir: PathLike | None = None, *, private: bool = True
) -> str:
  """Uploads a run as a bundle, in place of all that the repository holds.

  Args:
    repo: owner/name; made if it is not there.
    finished: the run.
    workdir: its folder, to upload what `fetched` needs, too: its stages, which hold the histories
      and ids of all its users, and paths of its raw files relative to the folder. None for none.
    private: whether a repository that is made now can be seen by its owner alone.

  Returns:
    The address of the commit.

  Raises:
    ModuleNotFoundError: without the package huggingface_hub.
    ValueError: for a name that is none, or as `write_bundle` does.
    OSError: if the hub cannot be reached, or refuses.
  """
  if not _NAME.fullmatch(repo):
    raise ValueError(f"{repo!r} is no name of a repository; write owner/name")
  api = _hub().HfApi()
  with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary) / "bundle"
    write_bundle(folder, finished)
    if workdir is not None:
      _copy_stages(chain_of(finished.config, workdir), folder)
    api.create_repo(repo, private=private, exist_ok=True)
    commit = api.upload_folder(
      repo_id=repo,
      folder_path=folder,
      commit_message="A run of sidrec",
      delete_patterns="*",  # of an older run
    )
  return str(commit.commit_url)


def fetched(address: str) -> Path:
  """A run's folder, downloaded from where `push` put it unless it is here already.

  Args:
    address: hf://owner/name, or hf://owner/name@revision.

  Raises:
    ModuleNotFoundError: without the package huggingface_hub.
    ValueError: for another address, or a repository without stages.
    OSError: if the hub cannot be reached, or has no such repository.
  """
  repo, at, revision = address.removeprefix(SCHEME).partition("@")
  if not _NAME.fullmatch(repo) or bool(at) != bool(revision):
    raise ValueError(f"{address}: write hf://owner/name, or hf://owner/name@revision")
  folder = Path(_hub().snapshot_download(repo, revision=revision or None))
  if (folder / STAGES).is_dir():
    return folder
  if is_bundle(folder):
    raise ValueError(
      f"{address} is a bundle, which runs without sidrec: python {folder}/run.py ID …; runs that "
      "sidrec.load takes are pushed with with_users=True"
    )
  raise ValueError(f"{address} holds no run of sidrec")


def _copy_stages(chain: Mapping[str, Generation], folder: Path) -> None:
  """Copies what the stages wrote and recorded, and no drafts, checkpoints or logs of theirs."""
  for generation in chain.values():
    for name in (RECORD, *generation.record.outputs):
      copy = folder / STAGES / generation.folder.name / name
      copy.parent.mkdir(parents=True, exist_ok=True)
      copy.write_bytes(as_path(generation.folder / name).read_bytes())


def _hub() -> ModuleType:
  if importlib.util.find_spec("huggingface_hub") is None:
    raise ModuleNotFoundError("the hub needs huggingface_hub: pip install sidrec[hub]")
  return importlib.import_module("huggingface_hub")
