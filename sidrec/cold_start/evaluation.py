"""How well new items are recommended, and what known items lose by it.

The N items are those of a catalogue in which new items follow the known ones.

Users whose target is new are called 'cold', all others 'warm'.
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


def task_with_new_items(
  histories: Histories, row_N: np.ndarray, num_known: int, split: str
) -> HeldOut:
  """The task of a split when some items are new: these are targets, but in no history.

  Users whose history becomes empty are left out.

  Args:
    histories: whole ones, with items by their rows in another catalogue.
    row_N: int, the row of each of its items in the grown catalogue.
    num_known: how many rows of the grown catalogue are known; new ones follow.
    split: 'valid' or 'test', of the whole histories.
  """
  before, target_U = held_out_view(histories, split)
  row_T = row_N[before.item_T].astype(np.int32)
  user_T = np.repeat(np.arange(before.num_users), before.lengths_U)
  keep_T = row_T < num_known
  length_U = np.bincount(user_T[keep_T], minlength=before.num_users)
  left_U = length_U > 0
  offsets_Up1 = np.concatenate([[0], np.cumsum(length_U[left_U])]).astype(np.int64)
  left = before._replace(item_T=row_T).taken(offsets_Up1, keep_T)
  left = left._replace(
    user_ids_U=before.user_ids_U[left_U],
    request_time_U=None if before.request_time_U is None else before.request_time_U[left_U],
    users=before.users_at(left_U),
  )
  return HeldOut(left, row_N[target_U[left_U]].astype(np.int32))


def metrics_by_target(
  results: Recommendations, target_U: np.ndarray, num_known: int
) -> dict[str, dict[str, float]]:
  """Metrics of the users whose target is new, of the others, and of all.

  Args:
    results: a list for each user.
    target_U: int item rows.
    num_known: items from this row on are new.

  Returns:
    'cold' | 'warm' | 'all' → 'recall@10', 'ndcg@10', 'new@10' (the share of new items among the
    first ten results) and 'users'. A kind without users is left out.
  """
  item_UxK = np.asarray(results.item_BxK)[:, :AT]
  valid_UxK = np.asarray(results.valid_BxK)[:, :AT]
  metrics = per_user_metrics(rank_in_list(item_UxK, valid_UxK, target_U), AT, (AT,), (AT,))
  new_U = (valid_UxK & (item_UxK >= num_known)).sum(axis=1) / np.maximum(valid_UxK.sum(axis=1), 1)
  wanted = {name: metrics[name] for name in (f"recall@{AT}", f"ndcg@{AT}")}
  wanted[f"new@{AT}"] = new_U
  cold_U = target_U >= num_known
  found = {}
  for name, kind_U in {"cold": cold_U, "warm": ~cold_U, "all": np.ones_like(cold_U)}.items():
    if kind_U.any():
      means = summarise({metric: value_U[kind_U] for metric, value_U in wanted.items()})
      found[name] = {**means, "users": int(kind_U.sum())}
  return found


def choose_share(candidates: Sequence[Candidate], largest_loss: float) -> Candidate:
  """The candidate that finds most new items without losing too much of the others.

  Args:
    candidates: the first has a share of 0; losses are relative to it.
    largest_loss: of the warm recall, relative.

  Returns:
    The best among those with no larger loss; of equal ones the smallest share.
  """
  least = (1 - largest_loss) * candidates[0].warm_recall
  allowed = [candidate for candidate in candidates if candidate.warm_recall >= least]
  return max(allowed, key=lambda candidate: (candidate.cold_recall, -candidate.share))


def report_text(measured: Mapping[str, Any]) -> str:
  """What was measured, as text.

  Args:
    measured: 'dataset'; 'items' → 'known' and 'new', how many; 'users_left_out' → split → how many;
      'largest_loss'; 'share', which was chosen; perhaps 'request_time', what models know of it;
      'valid' → share → what `metrics_by_target` returns; 'test' → system → the same.
  """
  rows = [["split", "lists", "target", "users", f"recall@{AT}", f"ndcg@{AT}", f"new in top {AT}"]]
  for split in ("valid", "test"):
    for name, kinds in measured[split].items():
      label = f"share {name}" if split == "valid" else name
      rows += [
        [split, label, kind, *_cells(kinds[kind])] for kind in ("cold", "warm") if kind in kinds
      ]
  facts = [textwrap.fill(fact, 100) for fact in _facts(measured)]
  return "\n".join([aligned_table(rows, names=3, underline=False), "", *facts]) + "\n"


def _cells(means: Mapping[str, float]) -> list[str]:
  ranked = [f"{means[f'{name}@{AT}']:.4f}" for name in ("recall", "ndcg")]
  return [f"{means['users']:,}", *ranked, f"{means[f'new@{AT}']:.1%}"]


def _facts(measured: Mapping[str, Any]) -> list[str]:
  items, left_out = measured["items"], measured["users_left_out"]
  return [
    f"{measured['dataset']}: {items['new']:,} items were held out of the catalogue, all histories, "
    f"features, tokenizer and training; {items['known']:,} were trained on. The held-out items "
    "got IDs from their vectors, and nothing was trained again.",
    "share: the probability that the next item is a new one, before anything is known of the user. "
    f"{measured['share']:g} was chosen on validation: it finds most new items while users of a "
    f"known one lose at most {measured['largest_loss']:.1%} of their recall@{AT}.",
    "Training sees each user's interactions without the last two of the whole history and without "
    "held-out items; if one of the last two is held out, it sees fewer. Histories in the "
    f"evaluation have no held-out items; users with an empty history ({left_out['valid']:,} in "
    f"valid, {left_out['test']:,} in test) are left out. Targets come from the whole histories: "
    "the last item tests, the last but one validates, where users of known items are sampled. "
    "Full ranking, seen items masked.",
    *([f"Times: {measured['request_time']}."] if measured.get("request_time") else []),
  ]
