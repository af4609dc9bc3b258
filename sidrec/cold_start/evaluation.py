"""How well new items are recommended, and what the others lose by it.

Letters: U users, N items of a catalogue in which new items follow the known ones, K results.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.core.tables import aligned_table
from sidrec.data.dataset import HeldOut, Histories, held_out_view
from sidrec.evaluation.metrics import per_user_metrics, rank_in_list, summarise
from sidrec.search.results import Recommendations

AT = 10  # of recall, NDCG and the share of new items


class Candidate(NamedTuple):
  """What a share of new items gives on validation."""

  share: float
  cold_recall: float  # of users whose target is new
  warm_recall: float  # of all others


def cold_task(histories: Histories, row_N: np.ndarray, num_known: int, split: str) -> HeldOut:
  """The task of a split, as it is when some items are new: they are targets, but in no history.

  Users with nothing left in their history are left out.

  Args:
    histories: whole ones, with items by their rows in another catalogue.
    row_N: the row of each of those in the catalogue in hand.
    num_known: how many rows of this are known; those from there on are new.
    split: 'valid' or 'test', of the whole histories.
  """
  before, target_U = held_out_view(histories, split)
  row_T = row_N[before.item_T].astype(np.int32)
  user_T = np.repeat(np.arange(before.num_users), before.lengths_U)
  keep_T = row_T < num_known
  length_U = np.bincount(user_T[keep_T], minlength=before.num_users)
  left_U = length_U > 0
  left = Histories(
    offsets_Up1=np.concatenate([[0], np.cumsum(length_U[left_U])]).astype(np.int64),
    item_T=row_T[keep_T],
    time_T=before.time_T[keep_T],
    rating_T=before.rating_T[keep_T],
    user_ids_U=before.user_ids_U[left_U],
  )
  return HeldOut(left, row_N[target_U[left_U]].astype(np.int32))


def cold_metrics(
  results: Recommendations, target_U: np.ndarray, num_known: int
) -> dict[str, dict[str, float]]:
  """Metrics of the users whose target is new, of the others, and of all.

  Args:
    results: a list for each user.
    target_U: what each user took.
    num_known: items from this row on are new.

  Returns:
    'cold' | 'warm' | 'all' → 'recall@10', 'ndcg@10', 'new@10' (the share of new items among the
    first ten results) and 'users'. A kind without users is left out.
  """
  item_UxK, valid_UxK = (np.asarray(x)[:, :AT] for x in (results.item_BxK, results.valid_BxK))
  ranks_U = rank_in_list(item_UxK, valid_UxK, target_U)
  metrics = per_user_metrics(ranks_U, AT, (AT,), (AT,))
  new_U = (valid_UxK & (item_UxK >= num_known)).sum(axis=1) / np.maximum(valid_UxK.sum(axis=1), 1)
  wanted = {f"recall@{AT}": metrics[f"recall@{AT}"], f"ndcg@{AT}": metrics[f"ndcg@{AT}"]}
  wanted[f"new@{AT}"] = new_U
  cold_U = target_U >= num_known
  found = {}
  for name, of_U in (("cold", cold_U), ("warm", ~cold_U), ("all", np.ones_like(cold_U))):
    if of_U.any():
      means = summarise({metric: value_U[of_U] for metric, value_U in wanted.items()})
      found[name] = {**means, "users": int(of_U.sum())}
  return found


def choose_share(candidates: Sequence[Candidate], largest_loss: float) -> Candidate:
  """The candidate that finds most new items without losing too much of the others.

  Args:
    candidates: the first is a share of 0, which the loss is measured from.
    largest_loss: of the warm recall, relative to a share of 0.

  Returns:
    The best among those with no larger loss; of equal ones the smallest share.
  """
  least = (1 - largest_loss) * candidates[0].warm_recall
  allowed = [candidate for candidate in candidates if candidate.warm_recall >= least]
  return max(allowed, key=lambda candidate: (candidate.cold_recall, -candidate.share))


def cold_report(measured: Mapping[str, Any]) -> str:
  """What was measured, as text.

  Args:
    measured: 'dataset'; 'items' → 'known' and 'new', how many; 'users_left_out' → split → how many;
      'largest_loss'; 'share', which was chosen; 'valid' → share → as `cold_metrics` returns it;
      'test' → system → the same.
  """
  rows = [("split", "lists", "target", "users", f"recall@{AT}", f"ndcg@{AT}", f"new in top {AT}")]
  for split in ("valid", "test"):
    for name, kinds in measured[split].items():
      label = f"share {name}" if split == "valid" else name
      for kind in ("cold", "warm"):
        if kind in kinds:
          m = kinds[kind]
          values = (f"{m[f'recall@{AT}']:.4f}", f"{m[f'ndcg@{AT}']:.4f}", f"{m[f'new@{AT}']:.1%}")
          rows.append((split, label, kind, f"{m['users']:,}", *values))
  left_out = measured["users_left_out"]
  items, share = measured["items"], measured["share"]
  facts = [
    f"{measured['dataset']}: {items['new']:,} items were held out of the catalogue, all histories, "
    f"features, tokenizer and training; {items['known']:,} were trained on. They got IDs from "
    "their vectors, and nothing was trained again.",
    "share: how likely the next item is a new one, before anything is known of the user. Chosen on "
    f"validation: {share:g}, which finds most new items while users of a known one lose at most "
    f"{measured['largest_loss']:.1%} of their recall@{AT}.",
    "Training sees each user's interactions without the last two of the whole history, and "
    "without held-out items; where one of the last two is held out, fewer. Histories are asked "
    f"about without held-out items; users with none left ({left_out['valid']:,} in valid, "
    f"{left_out['test']:,} in test) are left out. Targets are of the whole histories: the last "
    "item tests, the last but one validates, by a sample of the users of known ones. Full "
    "ranking, seen items masked.",
  ]
  wrapped = [textwrap.fill(fact, 100) for fact in facts]
  return "\n".join([aligned_table(rows, names=3, underline=False), "", *wrapped]) + "\n"
