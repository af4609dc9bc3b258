"""Recommendations for many users, through a few compiled shapes.

Here G counts batches whose results travel together.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.item_rows import check_dtype
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import user_tokens, with_user_tokens
from sidrec.data.columns import earlier_items, gather, last_events, users_of
from sidrec.data.dataset import Histories
from sidrec.data.events import Events
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig
from sidrec.data.seen import SeenItems
from sidrec.models.base import SemanticIDModel
from sidrec.models.histories import check_histories
from sidrec.parallel import mesh as mesh_lib
from sidrec.search import beam
from sidrec.search.checks import check_fit
from sidrec.search.filters import Filters, list_width
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig

_SHORTEST = 32  # history width; below it another compilation costs more than padding
_TOGETHER = 64  # batches whose results wait on the devices for one transfer to the host

# (params, histories, user rows [R], seen items to exclude or None) → results [R, K] on the host.
# Searches of `in_batches` also take a `Shared`.
RecommendUsers = Callable[..., Recommendations]
Found = TypeVar("Found")  # results of a batch: a tree of arrays [B, …]


class Shared(NamedTuple):
  """What all users of a call have in common: lists of item rows, in any order, and a draw."""

  allowed_J: np.ndarray | None = None  # the only items returned
  forbidden_J: np.ndarray | None = None  # never returned
  key: jax.Array | None = None  # for a random draw of items instead of the best


NOTHING_SHARED = Shared()


def check_nothing_shared(shared: Shared, ranking: str) -> None:
  """Raises ValueError for lists that users share, or a draw, where a ranking takes neither."""
  if any(x is not None for x in shared):
    raise ValueError(f"{ranking} takes no lists that users share, and draws nothing")


def make_recommend_users(
  model: SemanticIDModel, trie: Trie, config: SearchConfig, mesh: jax.sharding.Mesh
) -> RecommendUsers:
  """Compiles the search for batches of users, spread over the mesh's devices.

  Args:
    model: the recommender.
    trie: the catalogue.
    config: how to search; a list has as many results as there are beams. `batch_size` is
      rounded up to what the devices share evenly.
    mesh: the devices.
  """

  compiled = _compiled(model, config, mesh)  # pyrefly: ignore[bad-argument-type]

  def rank(params, history_BxS, seen_BxJ, shared):
    check_fit(model, params, trie)
    return compiled((params, trie, shared), (history_BxS, seen_BxJ))

  return in_batches_of(model, trie, config.batch_size, mesh, rank)


def in_batches_of(
  model: SemanticIDModel,
  trie: Trie,
  batch_size: int,
  mesh: jax.sharding.Mesh,
  rank: Callable[..., Found],
) -> Callable[..., Found]:
  """`in_batches` for a recommender, whose histories may hold the items of the trie's catalogue."""
  c = model.config
  return in_batches(
    rank, int(trie.used), c.history_length, batch_size, mesh, c.user_tokens, c.inputs
  )


@functools.lru_cache(maxsize=8)
def _compiled(
  model: SemanticIDModel, config: SearchConfig, mesh: jax.sharding.Mesh
) -> Callable[..., Recommendations]:
  """The search of a batch; one function for equal arguments, so that its programs are found."""

  def search(same, batch) -> Recommendations:
    params, trie, shared = same
    history_BxS, seen_BxJ = batch
    filters = _with_shared(seen_BxJ, shared, history_BxS.shape[0])
    key = None if shared.key is None else mesh_lib.own_key(mesh, shared.key)
    return beam.search(model, params, trie, history_BxS, config, filters, key)

  return mesh_lib.on_own_rows(mesh, search)


def _with_shared(seen_BxJ: jax.Array | None, shared: Shared, batch: int) -> Filters:
  """The filters of a batch: what its users have seen, and what all of them share."""

  def for_each(item_J: np.ndarray | None) -> jax.Array | None:
    return None if item_J is None else jnp.broadcast_to(jnp.asarray(item_J), (batch, len(item_J)))

  lists = [x for x in (seen_BxJ, for_each(shared.forbidden_J)) if x is not None]
  return Filters(jnp.concatenate(lists, axis=1) if lists else None, for_each(shared.allowed_J))


def in_batches(
  rank: Callable[[dict, Events, jax.Array | None, Shared], Found],
  num_items: int,
  history_length: int,
  batch_size: int,
  mesh: jax.sharding.Mesh,
  num_user_tokens: int = 0,
  inputs: InputsConfig = ITEMS_ALONE,
) -> Callable[..., Found]:
  """Recommends to many users by a compiled function of a batch of them.

  Args:
    rank: (params, histories, seen_BxJ or None, shared) → results [B, K], the same on every
      device; item rows are int32, filled up with NO_ITEM.
    num_items: N, item rows that histories may hold.
    history_length: S, the latest items of a user that are read.
    batch_size: B, users per call, rounded up to what the devices share evenly; 0 for what suits
      them.
    mesh: the devices.
    num_user_tokens: if above 0, histories start with one of so many tokens: [B, 1 + S].
    inputs: what is read beside items.

  Returns:
    (params, histories, users_R, seen, shared) → results. It raises ValueError for user rows and
    histories that are not there, or that lack what is read; see `last_events`. A draw depends on
    which users are asked for together, and on how many devices share them.
  """
  batch_size = mesh_lib.rows_for(mesh, batch_size or _users_at_once(mesh))

  def recommend_users(params, histories, users_R, seen=None, shared=NOTHING_SHARED):
    users_R = _checked_users(users_R, histories.num_users)
    events = last_events(histories, history_length, users_R, inputs)
    check_histories(events.item_BxS, num_items)
    length_R = (events.item_BxS != NO_ITEM).sum(axis=1)
    order_R, chunks = _chunks(length_R, users_R, seen, batch_size)
    if not chunks:
      events = with_other_inputs(
        events, histories, users_R, history_length, inputs, num_user_tokens
      )
      return jax.device_get(rank(params, events, None, shared))
    together = min(_TOGETHER, 1 << (len(chunks) - 1).bit_length())
    table, results = None, []
    for number, at_B in enumerate(chunks):
      padded_B = np.resize(at_B, batch_size)  # repeats users; the repeats are cut off again
      width = history_width(length_R[at_B].max(), history_length)
      history = jax.tree.map(lambda x, at=padded_B, end=width: x[at, :end], events)
      users_B = users_R[padded_B]
      history = with_other_inputs(
        history, histories, users_B, history_length, inputs, num_user_tokens
      )
      if history.earlier_BxX is not None:
        check_histories(history.earlier_BxX, num_items)
      seen_BxJ = None if seen is None else _seen_rows(seen, users_B)
      batch = _spread(mesh, {"history": history, "seen": seen_BxJ})
      key = None if shared.key is None else jax.random.fold_in(shared.key, number)
      found = rank(params, batch["history"], batch["seen"], shared._replace(key=key))
      slot = number % together
      if table is None:
        table = _empty_table(found, together)
      table = _put(table, found, slot)
      if slot == together - 1 or number == len(chunks) - 1:
        results.append(jax.device_get(table))  # what the host has stays as it is
    inverse_R = np.argsort(order_R)

    def in_order(*tables: np.ndarray) -> np.ndarray:
      all_GxBxK = np.concatenate(tables)  # [G, B] of what is one number a list
      return all_GxBxK.reshape(-1, *all_GxBxK.shape[2:])[inverse_R]

    return jax.tree.map(in_order, *results)

  return recommend_users


def with_other_inputs(
  events: Events,
  histories: Histories,
  users_R: np.ndarray,
  history_length: int,
  inputs: InputsConfig,
  num_user_tokens: int = 0,
) -> Events:
  """The last events of some users with all else that a model reads of them.

  Args:
    events: of `last_events`, of any number of columns that holds them.
    histories: of all users.
    users_R: int, user rows.
    history_length: S, the latest items of a user that are read.
    inputs: what is read beside items.
    num_user_tokens: if above 0, items start with one of so many tokens: [R, 1 + columns].

  Raises:
    ValueError: if the histories do not say what is known of their users.
  """
  if inputs.earlier:
    earlier_BxX = earlier_items(histories, history_length, users_R, inputs.earlier)
    events = events._replace(earlier_BxX=earlier_BxX)
  if inputs.user_attributes:
    events = events._replace(user_BxX=users_of(histories, users_R, inputs))
  if num_user_tokens:
    token_R = user_tokens(histories.user_ids_U[users_R], num_user_tokens)
    events = events._replace(item_BxS=with_user_tokens(token_R, events.item_BxS))
  return events


def _checked_users(users_R: np.ndarray, num_users: int) -> np.ndarray:
  """User rows; an error unless they are there."""
  users_R = np.asarray(users_R)
  if not len(users_R):
    return np.zeros(0, np.int64)
  check_dtype("user rows", users_R)
  if users_R.min() < 0 or users_R.max() >= num_users:
    raise ValueError(
      f"user rows go from {users_R.min()} to {users_R.max()}; there are 0 to {num_users - 1}"
    )
  return users_R


def _empty_table(found: Found, together: int) -> Found:
  """Room for the results of so many batches, where those of a batch are."""

  def room(x_BxK: jax.Array) -> jax.Array:
    return jnp.zeros((together, *x_BxK.shape), x_BxK.dtype, device=x_BxK.sharding)

  return jax.tree.map(room, found)


@functools.partial(jax.jit, donate_argnums=0)
def _put(table: Found, found: Found, slot: int) -> Found:
  """The table with a batch's results in this slot, written in place: the old table is donated."""

  def put(x_GxBxK: jax.Array, x_BxK: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(x_GxBxK, x_BxK, slot, 0)

  return jax.tree.map(put, table, found)


def _spread(mesh: jax.sharding.Mesh, batch: dict) -> dict:
  """Global arrays of a batch that every process holds whole; each gives what its devices need."""
  sharding = mesh_lib.batch_sharding(mesh)

  def give(x_BxX: np.ndarray) -> jax.Array:
    return jax.make_array_from_callback(x_BxX.shape, sharding, x_BxX.__getitem__)

  return jax.tree.map(give, batch)


def _users_at_once(mesh: jax.sharding.Mesh) -> int:
  """A CPU is fastest while a batch stays in its caches; others want more to do at once."""
  one = mesh.devices.flat[0]
  return mesh.devices.size * (16 if one.platform == "cpu" else 128)


def _chunks(length_R, users_R, seen, batch_size):
  """Users in order of what they have seen and read, so that few batches need the widest shapes."""
  seen_R = length_R if seen is None else np.diff(seen.offsets_Up1)[users_R]
  order_R = np.lexsort([length_R, seen_R])
  return order_R, [order_R[i : i + batch_size] for i in range(0, len(order_R), batch_size)]


def history_width(longest: int, history_length: int) -> int:
  """The whole length, a half or a quarter of it, …, down to 32: a few shapes to compile."""
  width = history_length
  while width // 2 >= max(longest, _SHORTEST):
    width //= 2
  return width


def _seen_rows(seen: SeenItems, users_B: np.ndarray) -> np.ndarray:
  """Seen items of each user, filled up to one of a few widths: int32 [B, 64 · 4^n]."""
  start_B, stop_B = seen.offsets_Up1[users_B], seen.offsets_Up1[users_B + 1]
  return gather(seen.item_X, start_B, stop_B, list_width(int((stop_B - start_B).max()), 64))
