"""What a trained run is made of, and how it is handed over; `api.TrainedRun` answers requests."""

import dataclasses

from etils import epath

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.atomic import PathLike
from sidrec.data.dataset import Dataset
from sidrec.export.bundle import Finished, write_bundle
from sidrec.export.finished import load_same
from sidrec.export.hub import push
from sidrec.export.programs import Searched
from sidrec.models.base import SemanticIDModel
from sidrec.run.generations import Chain
from sidrec.run.settings import RunConfig
from sidrec.search.new_items import NewItems


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class HandOver:
  """The parts of a finished run, and how they are handed over."""

  config: RunConfig
  dataset: Dataset
  ids: SemanticIDManager  # item row ↔ semantic ID
  model: SemanticIDModel
  params: dict
  trie: Trie
  workdir: epath.Path | None = None  # the folder that it was loaded from
  chain: Chain | None = None  # the stages that it was loaded from
  # Items that the model was not trained on; `trie` and `params` are then those of the others.
  new: NewItems | None = None

  def export(self, folder: PathLike) -> None:
    """Writes a bundle: the search for cpu, cuda and tpu, which runs without sidrec.

    Args:
      folder: local; takes the place of a bundle that is there, and of nothing else.

    Raises:
      FileExistsError, ValueError: as `export.bundle.write_bundle` does; or if the run's folder has
        changed since it was loaded, or the run has items that it was not trained on.
    """
    write_bundle(folder, self._finished())

  def push_to_hub(self, repo: str, *, with_users: bool = False, private: bool = True) -> str:
    """Uploads the run to the Hugging Face hub as a bundle, in place of what is there.

    Args:
      repo: owner/name; made if it is not there.
      with_users: uploads the run's stages, too, so that `load("hf://owner/name")` finds them. They
        hold the histories and ids of all users.
      private: whether a repository that is made now can be seen by its owner alone.

    Returns:
      The address of the commit.

    Raises:
      ModuleNotFoundError, ValueError, OSError: as `export.hub.push` does.
    """
    if with_users and self.workdir is None:
      raise ValueError("this run was not loaded from a folder; push what sidrec.load returns")
    return push(repo, self._finished(), self.workdir if with_users else None, private=private)

  def _finished(self) -> Finished:
    """The run, with its tokenizer and its evaluation where it was loaded from a folder."""
    if self.new is not None:
      raise ValueError(
        "a bundle has no search for items that the model was not trained on; hand over the run "
        "without them, or update it first"
      )
    searched = Searched(self.model, self.params, self.trie, self.config.search)
    in_memory = Finished(self.config, self.dataset, self.ids, searched)
    return in_memory if self.workdir is None else load_same(in_memory, self.workdir)
