"""One version of the catalogue with all that answers a request, which never changes.

A request reads one snapshot from its first id to its last title, so that an answer is of one
version, whatever is swapped meanwhile.

Here R counts rows with room.
"""

import dataclasses
import functools

import jax
import numpy as np

from sidrec.api import TrainedRun
from sidrec.catalogue.trie.resize import rebuilt, with_room, with_room_apart
from sidrec.catalogue.trie.trie import Trie
from sidrec.cold_start.known_and_new import Catalogue, Known, Parts, known_and_new
from sidrec.cold_start.new_vectors import NewVectors
from sidrec.data.parts import take_items
from sidrec.models.base import SemanticIDModel
from sidrec.models.own_models import check_grows
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import MOVED_TABLES, UNKNOWN, transfer
from sidrec.run.ask import Asker
from sidrec.search.buckets import BucketSearch
from sidrec.serving.state import State

# Rows for items that come while others go, beside the room; for ten million items, as many more
# would take gigabytes.
MOST_SPARE = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
  """A version of the catalogue, ready to answer."""

  state: State
  asker: Asker  # ids and titles → item rows, and back
  search: BucketSearch  # trie, parameters and compiled programs, as one thing

  @property
  def version(self) -> str:
    """Its name: equal catalogues of one run have equal names."""
    return self.state.version

  @functools.cached_property
  def num_items(self) -> int:
    """Items of the catalogue, without those that were removed."""
    return int(self.state.among_N.sum())

  def has(self, row: int) -> bool:
    """Whether an item row is in the catalogue, and was not removed."""
    return bool(self.state.among_N[row])

  def row(self, name: str) -> int | None:
    """The row of an item of the catalogue by its original id; None for any other."""
    row = self.asker.row_of.get(name)
    return row if row is not None and self.has(row) else None


def rows_for(trained: int, new: int, room: int) -> int:
  """Item rows for a catalogue in which all items may make way for new ones, up to MOST_SPARE.

  Trained items that went keep their rows, for histories are made of them.
  """
  return trained + max(min(trained, MOST_SPARE), new) + room


class SnapshotMaker:
  """Makes snapshots of one run: parameters as trained, moved to each catalogue's trie or tries."""

  def __init__(
    self,
    run: TrainedRun,
    newest: State,
    room: int,
    vectors: NewVectors | None = None,
    share: float = 0.0,
  ):
    """Takes the run, its newest catalogue, and for how many more items there is to be room.

    With `vectors`, new items are ranked by similarity and have the share; see `search.new_items`.
    """
    self._run, self._vectors, self._share = run, vectors, share
    new = int(newest.among_N[newest.trained :].sum())
    rows = max(rows_for(newest.trained, new, room), newest.items.num_items)
    # Tables that are moved stay on the host, what they share with the model on the device.
    self._params = {
      name: jax.tree.map(np.asarray if name in MOVED_TABLES else jax.device_put, leaf)
      for name, leaf in run.params.items()
    }
    if vectors is None:
      self._roomy = with_room(run.trie, new + room, rows)
      return
    unit_NxF = jax.device_put(vectors.unit_NxF, jax.local_devices()[0])
    self._known = Known(run.model, self._params, run.trie, unit_NxF)
    self._apart = with_room_apart(run.trie, new + room, rows)

  def first(self, state: State) -> Snapshot:
    """The first snapshot, of which nothing is compiled yet.

    Raises:
      ValueError: if vectors of its new items cannot be made.
    """
    run, config = self._run, self._run.search.uncertified
    if self._vectors is not None:
      model, params, trie, new = self._parted(state, self._apart, self._vectors)
      return Snapshot(state, self._asker(state), BucketSearch(model, params, trie, config, new))
    trie = self._roomy
    if state.items.num_items > run.trie.num_items or not state.among_N.all():
      trie = rebuilt(trie, state.ids.codes, state.among_N)
    model, params = self._moved(trie)
    return Snapshot(state, self._asker(state), BucketSearch(model, params, trie, config))

  def next(self, state: State, before: Snapshot) -> Snapshot:
    """A snapshot that runs the programs of the one before, if it fits their shapes.

    Raises:
      ValueError: if two items share an ID, or parts do not belong together; or if vectors of its
        new items cannot be made.
    """
    if self._vectors is not None and before.search.new is not None:
      parts = self._parted(state, (before.search.trie, before.search.new.trie), self._vectors)
      return Snapshot(state, self._asker(state), before.search.over(*parts))
    trie = rebuilt(before.search.trie, state.ids.codes, state.among_N)
    model, params = self._moved(trie)
    return Snapshot(state, self._asker(state), before.search.over(model, params, trie))

  def _parted(self, state: State, tries: tuple[Trie, Trie], vectors: NewVectors) -> Parts:
    """The parts of a search that ranks new items by similarity."""
    items = take_items(state.items, np.arange(state.trained, state.items.num_items))
    of_new = vectors.searched(items, head=self._run.model.config.item_head)
    catalogue = Catalogue(state.ids.codes, state.among_N, *of_new)
    return known_and_new(self._known, tries, catalogue, self._share)

  def _moved(self, trie: Trie) -> tuple[SemanticIDModel, dict]:
    """The model and the parameters for a trie."""
    trained = self._run.trie
    row_R = np.full(trie.num_items, UNKNOWN)
    row_R[: trained.num_items] = np.arange(trained.num_items)
    model = self._run.model
    check_grows(model)
    sizes = CatalogueSizes.of(trie, model.sizes.codebook_size)
    return model.clone(sizes=sizes), transfer(self._params, trained, trie, row_R)

  def _asker(self, state: State) -> Asker:
    asker = self._run.asker
    if state.items.num_items == asker.dataset.items.num_items:
      return asker
    return asker.with_items(state.items, state.ids)
