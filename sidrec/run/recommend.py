"""Recommendations for a person to read, and for a program to read."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import write_whole
from sidrec.core.paths import as_path
from sidrec.core.printable import printable
from sidrec.data.dataset import Histories, held_out_view
from sidrec.data.inputs import InputsConfig
from sidrec.data.seen import seen_items
from sidrec.parallel.hosts import from_primary
from sidrec.run.ask import rows_by_id
from sidrec.run.load import Recommender, load_recommender
from sidrec.run.named_categories import rows_allowed, rows_of_categories
from sidrec.run.named_rows import row_of, rows_of_ids, rows_of_titles
from sidrec.run.one_history import (
  check_said,
  history_of_items,
  now_after,
  said_of,
  with_user,
)
from sidrec.run.settings import RunConfig, run_config
from sidrec.search.batched import NOTHING_SHARED, Shared
from sidrec.search.results import Recommendations

SPLITS = ("next", "valid", "test")
SHOWN_HISTORY = 5  # items of a history


class Request(NamedTuple):
  """What to recommend for: exactly one of user, users, history and items is given.

  Lists hold original ids or titles with commas between; what holds commas itself is found as the
  longest run of pieces that is an id or a title. Several texts add up. A text `@FILE` stands for
  the lines of a file, an id each, unless it is an id itself.
  """

  user: Sequence[str] | None = None  # original ids, each whole
  users: Sequence[str] | None = None  # 'all', or lists of original ids
  history: Sequence[str] | None = None  # lists of titles, oldest first
  items: Sequence[str] | None = None  # lists of original item ids, oldest first
  split: str = "next"  # of user and users: the history before what
  exclude_seen: bool = True
  count: int | None = None  # results a user; None for 10, or all there are to a file
  output: str | None = None  # a file for JSON lines; None prints
  allow: Sequence[str] | None = None  # lists of the only items to return
  deny: Sequence[str] | None = None  # lists of items not to return
  categories: Sequence[str] | None = None  # lists of categories; only items of these are returned
  forbidden_categories: Sequence[str] | None = None  # lists of categories not to return
  # Of history and items, one for each, if the model reads them; see `one_history.said_of`.
  times: Sequence[str] | None = None
  ratings: Sequence[str] | None = None
  actions: Sequence[str] | None = None
  attributes: Sequence[str] | None = None  # of the user of history or items: lists of NAME=VALUE
  draw: int | None = None  # a seed, to draw items at random instead of the best
  # Seconds since 1970 at which users ask for what is next; None for now. Only for a model that
  # reads the request's time; for the splits 'valid' and 'test' it is the target's.
  request_time: int | None = None


def answer(config: RunConfig | ConfigDict, workdir: epath.Path, request: Request) -> None:
  """Prints or writes what is recommended.

  Raises:
    ValueError: if the request names nothing, or something that is not there.
    FileNotFoundError: if the recommender is not trained yet, or a file is not there.
  """
  config = run_config(config)
  asked = {name: getattr(request, name) for name in ("user", "users", "history", "items")}
  if sum(texts is not None for texts in asked.values()) != 1:
    raise ValueError("--mode=recommend needs one of --user, --users, --history and --items")
  filters = ("allow", "deny", "categories", "forbidden_categories")
  for name in (*asked, *filters, "times", "ratings", "actions", "attributes"):
    texts = getattr(request, name)
    if texts is not None and not (texts and all(text.strip() for text in texts)):
      raise ValueError(f"--{name} is empty; give what it stands for, or leave it out")
  names_items = request.history is not None or request.items is not None
  given = request.times, request.ratings, request.actions, request.attributes
  check_said(*given, config.model.inputs, names_items=names_items)
  usual = config.search.results if request.output else 10
  count = usual if request.count is None else request.count
  if count < 1:
    raise ValueError(f"--k={count} asks for no results; give 1 or more")
  if count > config.search.beams:
    raise ValueError(f"--k={count} needs as many beams: add --config.search.beams={count}")
  recommender = load_recommender(config, workdir)
  histories, users_R = _whom(request, recommender, config.model.inputs)
  histories = _asked_at(histories, request, config.model.inputs)
  shared = _shared(request, recommender)
  if request.output is None:
    print_lists(recommender, histories, users_R, count, request.exclude_seen, shared)
  else:
    path = as_path(request.output)
    write_lists(recommender, histories, users_R, count, request.exclude_seen, path, shared)


def _whom(
  request: Request, recommender: Recommender, inputs: InputsConfig
) -> tuple[Histories, np.ndarray]:
  """Histories, and which of their users to recommend for."""
  dataset = recommender.dataset
  if request.history is not None or request.items is not None:
    if request.items is not None:
      rows = rows_of_ids(request.items, dataset.items.ids_N, "item")
    else:
      needs_all = (request.times, request.ratings, request.actions) != (None, None, None)
      rows = rows_of_titles(request.history or (), dataset.items, needs_all=needs_all)
    known = {*inputs.actions, *(dataset.histories.actions or ())}
    said = said_of(request.times, request.ratings, len(rows), request.actions, known)
    histories = history_of_items(rows, said)
    if inputs.user_attributes:
      histories = with_user(histories, request.attributes or (), inputs, dataset)
    return histories, np.array([0])
  histories = histories_before(dataset.histories, request.split)
  if request.users in ("all", ["all"], ("all",)):
    return histories, np.arange(histories.num_users)
  if request.user is not None:
    known = rows_by_id(histories.user_ids_U)
    rows = [row_of(user, known, "user") for user in request.user]
  else:
    rows = rows_of_ids(request.users or (), histories.user_ids_U, "user")
  return histories, np.array(rows)


def _asked_at(histories: Histories, request: Request, inputs: InputsConfig) -> Histories:
  """The histories with the time of the request, where the model reads it; says which it is."""
  asked = request.request_time
  if not inputs.asks or request.split != "next":
    if asked is not None:
      why = f"--split={request.split} asks at the target's" if inputs.asks else "the model reads no"
      raise ValueError(f"--request_time is given, but {why} time; leave it out")
    return histories
  if request.items is not None or request.history is not None:
    return at_time(histories, now_after(histories) if asked is None else asked, "the history")
  if asked is None:
    asked = int(time.time())
  return at_time(histories, asked)


def at_time(histories: Histories, request_time: int, of: str = "the data set") -> Histories:
  """The histories, all asked at this time, which it prints with the time of the last event."""
  last = int(histories.time_T.max(initial=0))
  print(f"asked at {_date(request_time)}; the last event of {of} is of {_date(last)}")
  return histories._replace(request_time_U=np.full(histories.num_users, request_time))


def _date(seconds: int) -> str:
  return str(np.datetime64(seconds, "s"))


def _shared(request: Request, recommender: Recommender) -> Shared:
  """The lists and the draw that all users of a request share."""

  def rows(texts: Sequence[str] | None) -> np.ndarray | None:
    if texts is None:
      return None
    return np.array(rows_of_ids(texts, recommender.dataset.items.ids_N, "item"), np.int32)

  key = None if request.draw is None else jax.random.key(request.draw)
  items = recommender.dataset.items
  allowed_J = rows_allowed(rows(request.allow), request.categories, items)
  forbidden_J = rows(request.deny)
  if request.forbidden_categories is not None:
    having_J = rows_of_categories("forbidden_categories", request.forbidden_categories, items)
    forbidden_J = having_J if forbidden_J is None else np.union1d(forbidden_J, having_J)
  if allowed_J is None and forbidden_J is None and key is None:
    return NOTHING_SHARED
  return Shared(allowed_J, forbidden_J, key)


def show_first_users(
  config: RunConfig | ConfigDict, workdir: epath.Path, users: int = 3, count: int = 5
) -> None:
  """Prints what a finished run recommends to its first users, asked when its data set ends."""
  config, recommender = run_config(config), load_recommender(config, workdir)
  histories = recommender.dataset.histories
  if config.model.inputs.asks:
    histories = at_time(histories, int(histories.time_T.max()))
  print_lists(recommender, histories, np.arange(users), count)


def histories_before(histories: Histories, split: str) -> Histories:
  """Each user's history before the split's target; all of it for 'next'."""
  if split not in SPLITS:
    raise ValueError(f"--split must be one of {', '.join(SPLITS)}, not {split!r}")
  return histories if split == "next" else held_out_view(histories, split).histories


def recommend(
  recommender: Recommender,
  histories: Histories,
  users_R: np.ndarray,
  exclude_seen: bool,
  shared: Shared = NOTHING_SHARED,
) -> Recommendations:
  """The search for some users of some histories."""
  seen = seen_items(histories) if exclude_seen else None
  # Searches that merge several, such as those with new items, share nothing.
  options = () if shared is NOTHING_SHARED else (shared,)
  return recommender.recommend_users(recommender.params, histories, users_R, seen, *options)


def print_lists(
  recommender: Recommender,
  histories: Histories,
  users_R: np.ndarray,
  count: int,
  exclude_seen: bool = True,
  shared: Shared = NOTHING_SHARED,
) -> None:
  """Prints each user's latest items and the `count` best items for them."""
  items, ids = recommender.dataset.items, recommender.ids

  def name(row: int) -> str:
    return printable(items.titles_N[row] or f"item {items.ids_N[row]}")

  result = recommend(recommender, histories, users_R, exclude_seen, shared)
  certified_R = _certified(result, count)
  for at, user in enumerate(users_R):
    latest = [name(row) for row in histories.of(user)[-SHOWN_HISTORY:]]
    user_id = printable(histories.user_ids_U[user])
    print(f"\nuser {user_id}, after: {' · '.join(latest) or 'nothing yet'}")
    if certified_R is not None:
      print("  certified: no item is better" if certified_R[at] else "  not certified as exact")
    for place in range(min(count, int(result.valid_BxK[at].sum()))):
      row = int(result.item_BxK[at, place])
      code = ids.get_semantic_id(row)
      print(f"  {place + 1:2d}. {name(row)}  {code}  {result.score_BxK[at, place]:.2f}")


def _certified(result: Recommendations, count: int) -> np.ndarray | None:
  """Which lists of so many results are certified; None if that was not asked for."""
  return None if result.bound_B is None else np.asarray(result.certified_B(count))


def write_lists(
  recommender: Recommender,
  histories: Histories,
  users_R: np.ndarray,
  count: int,
  exclude_seen: bool,
  path: epath.Path,
  shared: Shared = NOTHING_SHARED,
) -> None:
  """Writes a line per user: {"user": …, "items": [best first], "scores": […]}, original ids.

  With `search.certify`, "certified" says of each list whether it is exact.
  """
  result = recommend(recommender, histories, users_R, exclude_seen, shared)
  certified_R = _certified(result, count)
  item_ids, user_ids = recommender.dataset.items.ids_N, histories.user_ids_U

  def lines() -> Iterator[bytes]:
    for at, (user, item_K, score_K, valid_K) in enumerate(zip(users_R, *result, strict=True)):
      kept = np.flatnonzero(valid_K)[:count]
      line = {
        "user": user_ids.item(user),
        "items": item_ids[item_K[kept]].tolist(),
        "scores": [round(float(score), 5) for score in score_K[kept]],
      }
      if certified_R is not None:
        line["certified"] = bool(certified_R[at])
      yield json.dumps(line, ensure_ascii=False).encode() + b"\n"

  from_primary(lambda: write_whole(path, lambda file: file.writelines(lines())))
  print(f"recommend: {len(users_R):,} users in {path}")
