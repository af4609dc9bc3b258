"""The catalogue under traffic: one reference to what answers, and changes that replace it whole.

A change is made next to what answers, in the thread that asks for it: new items get IDs by the
run's tokenizer, parameters move to the new trie, and the result is checked. Then it is written to
the journal, and then it takes the place of the one before. What fails on the way leaves the
version before in place; a process that is killed comes back with one of the two.

Several servers may share a journal. Each makes the changes of the others again, from what is
written there, IDs included, and writes only behind a journal that it has taken over whole.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.api import TrainedRun
from sidrec.catalogue.trie.resize import room_left
from sidrec.cold_start.new_vectors import NewVectors
from sidrec.core.printable import printable
from sidrec.run.settings import ServingConfig
from sidrec.serving.bodies import RequestError, Wished
from sidrec.serving.engine import compile_all
from sidrec.serving.placement import NewIDs, Placement, or_refused
from sidrec.serving.snapshot import Snapshot, SnapshotMaker
from sidrec.serving.state import (
  Change,
  State,
  after,
  compacted,
  fingerprint,
  first_state,
  net,
  replayed,
  unused_rows,
)
from sidrec.serving.store import Changed, MovedError, Store
from sidrec.serving.validation import InvalidCatalogueError, Validator

KEPT = 3  # versions before the one that answers, which it can be rolled back to
_MOST_CHANGES = 100  # that a start makes one by one; it makes one change of more


class Now(NamedTuple):
  """All that a request reads."""

  snapshot: Snapshot
  withdrawn: frozenset[int]  # item rows of the snapshot that nobody gets


class Catalogue:
  """What answers now, the versions before, and how it changes."""

  def __init__(
    self,
    run: TrainedRun,
    store: Store,
    new_ids: NewIDs | None,
    room: int,
    serving: ServingConfig | None = None,
  ):
    """Takes the run, where changes are kept, what gives IDs, and room for how many new items.

    New items are ranked as `serving` says, that of the run by default; by the model where they
    have no vectors.

    Raises:
      ValueError: if the store's changes do not lead to the versions that they name, or vectors of
        items that were added cannot be made.
    """
    serving = serving or run.config.serving
    self._vectors: NewVectors | None = None
    if serving.new_items == "similarity" and new_ids and new_ids.vectors_NxF is not None:
      self._vectors = NewVectors(new_ids, new_ids.vectors_NxF)
    self._store, self._new_ids = store, new_ids
    self._placement = Placement(new_ids, self._vectors)
    self._run = fingerprint(run.params, run.ids.codes)
    ids = run.ids if new_ids is None else new_ids.ids
    if not np.array_equal(ids.codes, run.ids.codes):
      raise ValueError("the tokenizer's IDs are not those of the run; load the run again")
    self._first = first_state(run.dataset.items, ids, self._run)
    self._changes_turn = self._withdrawn_turn = 0  # of what was read last
    self._passed_turn: int | None = None  # of changes that could not be taken over
    states = self._first_states()
    self._before = tuple(states[:-1][-KEPT:])
    self._maker = SnapshotMaker(run, states[-1], room, self._vectors, serving.new_share)
    self._validator = Validator()
    self._swapping = threading.Lock()  # held while a change is made
    self._lock = threading.Lock()  # held for the moment in which `now` is replaced
    snapshot = self._maker.first(states[-1])
    if serving.largest_batch:
      snapshot.search.limit_batches(serving.largest_batch)
    self.now = self._as_now(snapshot)

  def start(self) -> None:
    """Compiles everything, and checks what answers."""
    asker = self.now.snapshot.asker
    _ = asker.titles, asker.user_of, asker.categories
    compile_all(self.now.snapshot.search)
    self._validator.compile(self.now.snapshot)
    if self._new_ids is not None:
      self._new_ids.warm_up()
    self._validator.check(self.now.snapshot)

  def described(self) -> dict[str, Any]:
    """What answers now."""
    now, before = self.now, [state.version for state in reversed(self._before)]
    items, state = now.snapshot.num_items, now.snapshot.state
    return {
      "version": now.snapshot.version,
      "previous": before,
      "items": items,
      "new": int(state.among_N[state.trained :].sum()),
      "new_items": "model" if self._vectors is None else "similarity",
      "removed": state.items.num_items - items,
      "withdrawn": len(now.withdrawn),
      "room": self._room_of(now.snapshot),
    }

  @property
  def room(self) -> int:
    """New items that fit before other programs have to be compiled."""
    return self._room_of(self.now.snapshot)

  def _room_of(self, snapshot: Snapshot) -> int:
    search = snapshot.search
    trie = search.trie if search.new is None else search.new.trie
    return room_left(trie, len(self._unused(snapshot.state)))

  def _unused(self, state: State) -> list[int]:
    """Rows of removed items that the next change may use again."""
    return unused_rows(state, (*self._before, state)[-KEPT:])

  # Items out of stock.

  def withdraw(self, name: str) -> None:
    """Takes an item out of all answers that begin later."""
    with self._lock:
      self._store.withdraw(name)
      self.now = self._as_now(self.now.snapshot)

  def bring_back(self, name: str) -> None:
    """Puts a withdrawn item back."""
    with self._lock:
      self._store.bring_back(name)
      self.now = self._as_now(self.now.snapshot)

  def _as_now(self, snapshot: Snapshot) -> Now:
    self._withdrawn_turn = self._store.turns.withdrawn
    rows, _ = snapshot.asker.rows_of("withdrawn", self._store.withdrawn)
    return Now(snapshot, frozenset(rows))

  # Changes.

  def change(self, wished: Wished) -> dict[str, Any]:
    """Adds and removes items.

    Returns:
      What answers now, and how many programs had to be compiled for it.

    Raises:
      RequestError: 409 if another version answers than the change starts from, or another change is
        being made; 422 for what cannot be added or removed. The catalogue stays as it was.
    """

    def make(before: Snapshot) -> tuple[State, Callable[[State], None]]:
      change = self._placement.change(wished, before, self._unused(before.state))
      state = or_refused(lambda: after(before.state, [change], self._run))

      def keep(state: State) -> None:
        changed = Changed(self._run, state.version, change.as_text())
        self._changes_turn = self._store.add_change(changed, self._changes_turn)
        self._before = (*self._before, before.state)[-KEPT:]

      return state, keep

    return self._swapped(wished.base, make)

  def roll_back(self, base: str) -> dict[str, Any]:
    """Goes back to the version before; raises as `change` does."""

    def make(before: Snapshot) -> tuple[State, Callable[[State], None]]:
      del before
      if not self._before:
        raise RequestError(409, "there is no version before this one")

      def keep(state: State) -> None:
        del state
        self._changes_turn = self._store.drop_change(self._changes_turn)
        self._before = self._before[:-1]

      return self._before[-1], keep

    return self._swapped(base, make)

  def _swapped(
    self, base: str, make: Callable[[Snapshot], tuple[State, Callable[[State], None]]]
  ) -> dict[str, Any]:
    if not self._swapping.acquire(blocking=False):
      raise RequestError(409, "another change of the catalogue is being made; ask again after it")
    try:
      before = self.now.snapshot
      if base != before.version:
        raise RequestError(
          409, f"the catalogue is version {before.version} and no longer the base; look again"
        )
      state, keep = make(before)
      snapshot, compiled = self._checked(state, before)
      with self._lock:
        now = self._as_now(snapshot)
        keep(state)  # on the disk: from here on, a new start has this version
        self.now = now
      return {**self.described(), "compiled": compiled}
    except MovedError:
      if self.behind:
        raise RequestError(
          409, "another server made changes that this one cannot take over; its log says why"
        ) from None
      raise RequestError(409, "another server changed the catalogue; look again") from None
    finally:
      self._swapping.release()

  def _checked(self, state: State, before: Snapshot) -> tuple[Snapshot, int]:
    """The snapshot of a state, ready to answer, and how many programs were compiled for it."""
    try:
      snapshot = self._maker.next(state, before)
      compiled = compile_all(snapshot.search)
      self._validator.compile(snapshot)
      self._validator.check(snapshot, before)
    except InvalidCatalogueError as error:
      raise RequestError(422, f"the new version is not sound: {error}") from None
    except ValueError as error:
      print(f"catalogue: {printable(error, 2000)}", file=sys.stderr)
      raise RequestError(422, "the new version cannot be made; the server's log says why") from None
    return snapshot, compiled

  # Changes of earlier times, and of other servers.

  @property
  def behind(self) -> bool:
    """Whether another server made changes that this one could not take over."""
    return self._passed_turn is not None

  def follow(self) -> None:
    """Takes over what other servers wrote to the store.

    Raises:
      StoreError: if it cannot be reached.
    """
    turns = self._store.turns
    if turns.withdrawn != self._withdrawn_turn:
      with self._lock:
        self.now = self._as_now(self.now.snapshot)
    if turns.changes in (self._changes_turn, self._passed_turn):
      return
    if self._swapping.acquire(blocking=False):  # else a change is being made here; look later
      try:
        self._take_over(self._store.turns.changes)
      finally:
        self._swapping.release()

  def _take_over(self, turn: int) -> None:
    kept, before = self._store.changes, self.now.snapshot
    try:
      if any(changed.run != self._run for changed in kept):
        raise ValueError("a server with another run has written its changes there")
      states = replayed(self._first, kept, self._run, KEPT)
      if states[-1].version != before.version:
        snapshot, _ = self._checked(states[-1], before)
        with self._lock:
          self.now = self._as_now(snapshot)
    except (ValueError, RequestError) as error:
      self._passed_turn = turn
      print(
        f"store: catalogue {before.version} stays, for the changes in the store cannot be made "
        f"here: {printable(error, 2000)}",
        file=sys.stderr,
        flush=True,
      )
      return
    self._before = tuple(states[:-1][-KEPT:])
    self._changes_turn, self._passed_turn = turn, None

  def _first_states(self) -> list[State]:
    """The run's catalogue, the versions that can be rolled back to, and the newest one."""
    while True:
      self._changes_turn = self._store.turns.changes
      kept = self._store.changes
      try:
        if all(changed.run == self._run for changed in kept):
          states = replayed(self._first, kept, self._run, KEPT)
          self._compact(kept)
          return states
        return self._carried_over([Change.of_text(changed.change) for changed in kept])
      except MovedError:  # another server that starts now was faster
        continue

  def _compact(self, kept: Sequence[Changed]) -> None:
    """Has one change in the store instead of many that cannot be rolled back."""
    first = max(len(kept) - KEPT, 0)
    if first <= _MOST_CHANGES:
      return
    one = compacted(self._first, [Change.of_text(changed.change) for changed in kept[:first]])
    if after(self._first, [one], self._run).version == kept[first - 1].version:
      before = Changed(self._run, kept[first - 1].version, one.as_text())
      self._replace_changes([before, *kept[first:]])

  def _carried_over(self, changes: list[Change]) -> list[State]:
    """The changes of another run's catalogue, made on this one's."""
    known = {str(name) for name in self._first.items.ids_N.tolist()}
    new, gone = net(changes, known)
    if not new and not gone:
      self._replace_changes([])
      return [self._first]
    try:
      change = Change((*new,), self._placement.codes(new, self._first), (), (*gone,))
      state = after(self._first, [change], self._run)
    except (RequestError, ValueError) as error:
      raise ValueError(
        f"the store has changes of another run's catalogue, which this one cannot take: {error}; "
        "give another --store"
      ) from None
    self._replace_changes([Changed(self._run, state.version, change.as_text())])
    return [self._first, state]

  def _replace_changes(self, changes: list[Changed]) -> None:
    self._changes_turn = self._store.replace_changes(changes, self._changes_turn)
