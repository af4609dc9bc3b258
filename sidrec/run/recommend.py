"""Recommendations for a person to read, and for a program to read."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from sidrec.catalogue.titles import find_titles
from sidrec.core.atomic import write_whole
from sidrec.core.paths import as_path
from sidrec.data.dataset import Histories, held_out_view
from sidrec.data.seen import seen_items
from sidrec.parallel.hosts import from_primary
from sidrec.run.load import Recommender, load_recommender
from sidrec.run.settings import RunConfig, run_config
from sidrec.search.results import Recommendations

SPLITS = ("next", "valid", "test")
SHOWN_HISTORY = 5


class Request(NamedTuple):
  """What to recommend for: exactly one of user, users, history and items is given."""

  user: str | None = None  # original id
  users: str | None = None  # 'all', or original ids with commas between
  history: str | None = None  # titles with commas between, oldest first
  items: str | None = None  # original item ids with commas between, oldest first
  split: str = "next"  # of user and users: the history before what
  exclude_seen: bool = True
  count: int | None = None  # results a user; None for 10, or all there are to a file
  output: str | None = None  # a file for JSON lines; None prints


def answer(config: RunConfig | ConfigDict, workdir: epath.Path, request: Request) -> None:
  """Prints or writes what is recommended.

  Raises:
    ValueError: if the request names nothing, or something that is not there.
    FileNotFoundError: if the recommender is not trained yet.
  """
  config = run_config(config)
  asked = (request.user, request.users, request.history, request.items)
  if sum(x is not None for x in asked) != 1:
    raise ValueError("--mode=recommend needs one of --user, --users, --history and --items")
  count = request.count or (config.search.results if request.output else 10)
  if count > config.search.beams:
    raise ValueError(f"--k={count} needs as many beams: add --config.search.beams={count}")
  recommender = load_recommender(config, workdir)
  dataset = recommender.dataset
  if request.history is not None:
    histories = history_of_items(rows_of_titles(request.history, recommender))
  elif request.items is not None:
    histories = history_of_items(rows_of_ids(request.items, dataset.items.ids_N, "item"))
  else:
    histories = histories_before(dataset.histories, request.split)
  users_R = np.arange(histories.num_users)
  names = request.user or request.users
  if names is not None and request.users != "all":
    users_R = np.array(rows_of_ids(names, histories.user_ids_U, "user"))
  if request.output is None:
    print_lists(recommender, histories, users_R, count, request.exclude_seen)
  else:
    path = as_path(request.output)
    write_lists(recommender, histories, users_R, count, request.exclude_seen, path)


def show_first_users(
  config: RunConfig | ConfigDict, workdir: epath.Path, users: int = 3, count: int = 5
) -> None:
  """Prints what a finished run recommends to its first users."""
  recommender = load_recommender(config, workdir)
  print_lists(recommender, recommender.dataset.histories, np.arange(users), count)


def histories_before(histories: Histories, split: str) -> Histories:
  """Each user's history before the split's target; all of it for 'next'."""
  if split not in SPLITS:
    raise ValueError(f"--split must be one of {', '.join(SPLITS)}, not {split!r}")
  return histories if split == "next" else held_out_view(histories, split).histories


def history_of_items(item_rows: Sequence[int]) -> Histories:
  """One made-up user with these items, oldest first."""
  count = len(item_rows)
  return Histories(
    offsets_Up1=np.array([0, count]),
    item_T=np.asarray(item_rows, np.int32),
    time_T=np.zeros(count, np.int64),
    rating_T=np.full(count, np.nan, np.float32),
    user_ids_U=np.array(["you"]),
  )


def rows_of_ids(text: str, ids_N: np.ndarray, what: str) -> list[int]:
  """Rows of original ids, given with commas between them.

  Raises:
    ValueError: naming the first id that is not there.
  """
  row_of = {str(original): row for row, original in enumerate(ids_N.tolist())}
  names = [name.strip() for name in text.split(",")]
  for name in names:
    if name not in row_of:
      raise ValueError(f"{what} {name!r} is not in the data set; {what} ids look like {ids_N[0]!s}")
  return [row_of[name] for name in names]


def rows_of_titles(text: str, recommender: Recommender) -> list[int]:
  """Item rows of comma-separated titles; prints which were not found, with near matches.

  Raises:
    ValueError: if none was found.
  """
  found = find_titles(text, recommender.dataset.items.titles_N.tolist())
  for title, near in found.missing.items():
    hint = f"; near: {', '.join(near)}" if near else ""
    print(f"not in the catalogue: {title!r}{hint}")
  if not found.items:
    raise ValueError("none of the titles in --history is in the catalogue")
  return found.items


def recommend(
  recommender: Recommender, histories: Histories, users_R: np.ndarray, exclude_seen: bool
) -> Recommendations:
  """The search for some users of some histories."""
  seen = seen_items(histories) if exclude_seen else None
  return recommender.recommend_users(recommender.params, histories, users_R, seen)


def print_lists(
  recommender: Recommender,
  histories: Histories,
  users_R: np.ndarray,
  count: int,
  exclude_seen: bool = True,
) -> None:
  """Prints each user's latest items and the `count` best items for them."""
  items, ids = recommender.dataset.items, recommender.ids

  def name(row: int) -> str:
    return items.titles_N[row] or f"item {items.ids_N[row]}"

  result = recommend(recommender, histories, users_R, exclude_seen)
  for at, user in enumerate(users_R):
    latest = [name(row) for row in histories.of(user)[-SHOWN_HISTORY:]]
    print(f"\nuser {histories.user_ids_U[user]}, after: {' · '.join(latest) or 'nothing yet'}")
    for place in range(min(count, int(result.valid_BxK[at].sum()))):
      row = int(result.item_BxK[at, place])
      code = ids.get_semantic_id(row)
      print(f"  {place + 1:2d}. {name(row)}  {code}  {result.score_BxK[at, place]:.2f}")


def write_lists(
  recommender: Recommender,
  histories: Histories,
  users_R: np.ndarray,
  count: int,
  exclude_seen: bool,
  path: epath.Path,
) -> None:
  """Writes a line per user: {"user": …, "items": [best first], "scores": […]}, original ids."""
  result = recommend(recommender, histories, users_R, exclude_seen)
  item_ids, user_ids = recommender.dataset.items.ids_N, histories.user_ids_U

  def lines() -> Iterator[bytes]:
    for user, item_K, score_K, valid_K in zip(users_R, *result, strict=True):
      kept = np.flatnonzero(valid_K)[:count]
      line = {
        "user": user_ids.item(user),
        "items": item_ids[item_K[kept]].tolist(),
        "scores": [round(float(score), 5) for score in score_K[kept]],
      }
      yield json.dumps(line, ensure_ascii=False).encode() + b"\n"

  from_primary(lambda: write_whole(path, lambda file: file.writelines(lines())))
  print(f"recommend: {len(users_R):,} users in {path}")
