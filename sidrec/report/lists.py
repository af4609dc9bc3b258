"""Lists of single users: some at random, and the worst failures."""

from collections.abc import Sequence

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories, held_out_view
from sidrec.evaluation.details import KEPT, SPLIT
from sidrec.evaluation.intervals import REFERENCE
from sidrec.report.finished import WAY, FinishedRun, id_text, strongest, title_of
from sidrec.report.html import Html, join, paragraph, section, tag

RANDOM, WORST, HISTORY = 20, 10, 5
_SEED = 0


def lists(run: FinishedRun) -> Html:
  """Both parts."""
  users_R = drawn(run.protocol.num_users)
  histories = held_out_view(run.dataset.histories, SPLIT).histories
  hits = int(np.count_nonzero(ranks(run)[users_R] < KEPT))
  parts = [
    tag("h3", "Drawn at random"),
    paragraph(
      f"{len(users_R)} test user{'s' * (len(users_R) > 1)}, drawn at random with a fixed seed: "
      f"{hits} of these lists hold the item that came next. Each shows the latest {HISTORY} items "
      "of the history, oldest first, the target, and the ten best for sidrec with their semantic "
      "IDs, items of the history taken out."
    ),
    tag("div", *(_user(run, histories, user) for user in users_R.tolist()), class_="users"),
    tag("h3", "The worst failures"),
  ]
  worst_R, other = worst(run), strongest(run)
  if not len(worst_R):
    return section("Lists", *parts, paragraph("No list missed its target."))
  measure = (
    f"{len(worst_R)} of the users whose target is not among sidrec's ten. "
    + (
      f"They are those where {other}, the strongest other system, ranks it highest; " * bool(other)
    )
    + ("of equal ranks, t" if other else "T")
    + "he target that is most popular in training comes first. They should have been easy. "
    "Targets of the history, which these lists leave out on purpose, do not count."
  )
  cards = [_user(run, histories, user, other) for user in worst_R.tolist()]
  return section("Lists", *parts, paragraph(measure), tag("div", *cards, class_="users"))


def drawn(num_users: int) -> np.ndarray:
  """User rows at random, in order."""
  return np.sort(np.random.default_rng(_SEED).permutation(num_users)[:RANDOM])


def ranks(run: FinishedRun, system: str = REFERENCE) -> np.ndarray:
  """The rank of each user's target, from 0; a large number where it was not found."""
  rank_U = run.details.lists[system][WAY].rank_U.astype(np.int64)
  return np.where(rank_U < 0, np.iinfo(np.int64).max, rank_U)


def worst(run: FinishedRun) -> np.ndarray:
  """User rows of the worst failures, as the page describes them, the worst first."""
  users, other = run.details.users, strongest(run)
  other_rank_U = ranks(run, other) if other else np.zeros(run.protocol.num_users)
  order_U = np.lexsort([-users.target_popularity_U, other_rank_U])
  missed_U = (ranks(run) >= KEPT) & ~users.repeated_U
  return order_U[missed_U[order_U]][:WORST]


def _user(run: FinishedRun, histories: Histories, user: int, other: str | None = None) -> Html:
  history = histories.of(user)[-HISTORY:].tolist()
  target = int(run.details.users.target_U[user])
  item_K = run.details.lists[REFERENCE][WAY].item_UxK[user]
  shown = [_result(run, item, item == target) for item in item_K[item_K != NO_ITEM].tolist()]
  before = " → ".join(title_of(run, item) for item in history)
  return tag(
    "article",
    tag("h4", f"user {histories.user_ids_U.item(user)}"),
    tag("p", tag("span", "after ", class_="soft"), before or "nothing"),
    tag(
      "p", tag("span", "target ", class_="soft"), title_of(run, target), *_found(run, user, other)
    ),
    tag("ol", *shown) if shown else tag("p", "An empty list."),
  )


def _result(run: FinishedRun, item: int, hit: bool) -> Html:
  words = join([title_of(run, item), " ", tag("code", id_text(run, item))])
  mark = tag("span", "target", class_="tag good") if hit else None
  return tag("li", words, mark, class_="hit" if hit else None)


def _found(run: FinishedRun, user: int, other: str | None) -> Sequence[Html]:
  """Where the target stands."""
  found = run.details.lists[REFERENCE][WAY].rank_U[user]
  if 0 <= found < KEPT:
    marks = [tag("span", f"rank {found + 1}", class_="tag good")]
  elif found >= 0:
    marks = [tag("span", f"missed: rank {found + 1}", class_="tag bad")]
  else:
    marks = [tag("span", "missed: not found", class_="tag bad")]
  if other:
    rank = run.details.lists[other][WAY].rank_U[user]
    times = f"target met {run.details.users.target_popularity_U[user]:,} times in training"
    words = f"rank {rank + 1}" if rank >= 0 else "not ranked"
    marks.append(tag("span", f" {other}: {words}; {times}", class_="soft"))
  return marks
