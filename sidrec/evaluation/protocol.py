"""What exactly is measured: the facts that one needs to read a result."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.data.dataset import Dataset, HeldOut, Histories, held_out_view
from sidrec.data.targets import TARGETS, seen_share
from sidrec.data.tie_breaking import tied_share

SPLITS = ("valid", "test")
WAYS = ("masked", "unmasked")  # seen items
METRICS = {"recall@10": "Recall@10", "ndcg@10": "NDCG@10"}  # kept of each user: name → title


class Protocol(NamedTuple):
  """How a data set was split, ranked, masked and counted."""

  dataset: str
  num_users: int  # each counts once in every mean
  num_items: int  # every one is a candidate
  num_results: int  # length of each ranked list
  num_beams: int  # width of sidrec's search over semantic IDs
  cold_targets: dict[str, int]  # split → targets without a training interaction
  tied_targets: dict[str, float]  # split → share that another order of equal times would replace
  split: str = (
    "leave-last-out: each user's last interaction tests, the last but one validates, the rest "
    "trains; the test history includes the validation interaction"
  )
  candidates: str = "the whole catalogue, no sampled negatives"
  masking: str = (
    "both ways are reported: 'masked' never returns an item of the user's history, so a target "
    "seen before (a repeat) counts as a miss; 'unmasked' may return any item"
  )
  time_ties: str = "interactions at the same time keep the order of the file"
  exact: str = "baselines: every item is scored"
  scores: str = "sidrec: log p(semantic ID | history)"
  score_ties: str = (
    "search: the item whose semantic ID sorts first wins; baselines: a target ranks below every "
    "item of equal score"
  )
  cold: str = "cold targets stay in the means; a baseline misses all of them"
  calibration: str = (
    "ece@1 in evaluation.json is the expected calibration error of the probability of each list's "
    "first result, in 15 bins of as many users each; baselines have none, their scores are no "
    "probabilities"
  )
  targets: str = ""  # which events are targets; empty if all are
  request_time: str = ""  # whether models know when a target was met; empty if none reads times
  # Of plugins: name → its 'meaning' in words and the version of its 'code'.
  own_metrics: Mapping[str, Mapping[str, str]] = {}
  own_baselines: Mapping[str, Mapping[str, str]] = {}


# What models add that score all items, such as SASRec: they are neither a search nor one of the
# counting baselines.
EXACT = {
  "exact": "{names}: every item is scored",
  "score_ties": "{names}: the item with the lowest row wins",
  "cold": "{names} may find them, but {have} learnt no more of them than that they never came next",
}


REQUEST_TIMES = {
  "known": "request_time=known (the target's time, as in serving)",
  "unknown": "request_time=unknown (the history's own times)",
}


NO_PROBABILITIES = "sidrec has none either, because its scores are weighted sums that only rank"


def are_probabilities(level_weights: Sequence[float]) -> bool:
  """Whether a search with these weights scores items by log p(item | history)."""
  return all(weight == 1 for weight in level_weights)


def request_times(of_system: Mapping[str, str]) -> str:
  """The fact on request times, from 'known', 'unknown' or '' (reads no times) of each system."""
  return "; ".join(f"{name}: {REQUEST_TIMES[kind]}" for name, kind in of_system.items() if kind)


def protocol_of(
  dataset: Dataset,
  training: Histories,
  num_results: int,
  num_beams: int,
  tie_seed: int = -1,
  item_weight: float = 0.0,
  follower_weight: float = 0.0,
  similarity_weight: float = 0.0,
  *,
  level_weights: Sequence[float] = (),
  exact: Sequence[str] = (),
) -> Protocol:
  """The protocol of an evaluation on a data set, with its cold and its tied targets counted.

  Args:
    dataset: what is evaluated on.
    training: what was learnt from, see `dataset.training_view`.
    num_results: length of each list.
    num_beams: width of the search.
    tie_seed: of the order of equal times, see `shuffle_ties`; -1 for the order of the file.
    item_weight: of the item head's log p, see `search.evidence`.
    follower_weight: of the log p by what followed in other histories, see there.
    similarity_weight: of the log similarity to the latest items, see there.
    level_weights: of the levels' log p in scores; empty for 1 each.
    exact: the systems that are models which score all items, such as 'sasrec'.

  Raises:
    ValueError: if num_results is below 1 or above num_beams, or a user has fewer than 3
      interactions.
  """
  if not 1 <= num_results <= num_beams:
    raise ValueError(
      f"num_results must lie between 1 and the number of beams ({num_beams}), not {num_results}"
    )
  known_N = np.zeros(dataset.items.num_items, bool)
  known_N[training.item_T] = True
  tasks = {split: held_out_view(dataset.histories, split) for split in SPLITS}
  cold_targets = {split: int((~known_N[task.target_U]).sum()) for split, task in tasks.items()}
  defaults = Protocol._field_defaults
  words = {"names": " and ".join(exact), "have": "have" if len(exact) > 1 else "has"}
  facts: dict[str, Any] = {
    field: f"{defaults[field]}; {text.format(**words)}" for field, text in EXACT.items() if exact
  }
  if tie_seed >= 0:
    facts["time_ties"] = f"interactions at the same time stand in random order (seed {tie_seed})"
  evidence = {
    "the item head's log p": item_weight,
    "the log p by what followed the latest items in other histories": follower_weight,
    "the log similarity to the latest items": similarity_weight,
  }
  if more := [f"{weight:.3g} × {name}" for name, weight in evidence.items() if weight]:
    of_beams = f"{' + '.join(more)} of each item that the search found"
    facts["scores"] = f"{defaults['scores']} + {of_beams}"
    if are_probabilities(level_weights):
      facts["scores"] += ", as their geometric mean"
  if not are_probabilities(level_weights):
    facts["calibration"] = f"{defaults['calibration']}; {NO_PROBABILITIES}"
  if dataset.histories.target_T is not None:
    facts |= _of_targets(dataset, tasks)
  return Protocol(
    dataset.name,
    tasks["test"].histories.num_users,
    dataset.items.num_items,
    num_results,
    num_beams,
    cold_targets,
    tied_targets={split: tied_share(dataset.histories, split) for split in SPLITS},
    **facts,
  )


def _of_targets(dataset: Dataset, tasks: Mapping[str, HeldOut]) -> dict[str, str]:
  """The facts that differ where some events alone are targets."""
  defaults, seen = Protocol._field_defaults, []
  for split, task in tasks.items():
    seen.append(f"{seen_share(task.histories, task.target_U):.1%} in {split}")
  left_out = dataset.histories.num_users - tasks["test"].histories.num_users
  return {
    "split": (
      "leave-last-out of targets alone: each user's last target tests, the last but one validates, "
      "what comes before it trains; histories hold all events before a target; "
      f"{left_out:,} users without enough targets train and are not evaluated"
    ),
    "targets": next(
      (note for note in dataset.notes if note.startswith(TARGETS)), "those that the data set marks"
    ),
    "masking": (
      f"{defaults['masking']}; seen is any event of the history, whatever its action: "
      f"{' and '.join(seen)} of the targets were seen before"
    ),
  }


def facts_of(protocol: Protocol) -> dict[str, str]:
  """The protocol in words, each fact under its name."""
  p = protocol
  cold = ", ".join(f"{count:,} in {split}" for split, count in p.cold_targets.items())
  tied = ", ".join(f"{share:.1%} in {split}" for split, share in p.tied_targets.items())
  return {
    "data set": p.dataset,
    "users": f"{p.num_users:,}, each counted once",
    "items": f"{p.num_items:,}",
    "split": p.split,
    **({"targets": p.targets} if p.targets else {}),
    "candidates": p.candidates,
    "lists": f"{p.num_results} results; sidrec: from {p.num_beams} beams; {p.exact}",
    "scores": p.scores,
    "seen items": p.masking,
    "time ties": f"{p.time_ties}; another order would replace {tied} of the targets",
    "score ties": p.score_ties,
    "calibration": p.calibration,
    **({"times": p.request_time} if p.request_time else {}),
    "cold targets": f"{cold}; {p.cold}",
    **{f"metric {name}": _in_words(own) for name, own in p.own_metrics.items()},
    **{f"baseline {name}": _in_words(own) for name, own in p.own_baselines.items()},
  }


def _in_words(own: Mapping[str, str]) -> str:
  return f"of a plugin: {own['meaning']}; code {own['code']}"


def describe(protocol: Protocol) -> str:
  """The protocol in plain text, one paragraph for each fact, lines of at most 100 characters."""
  facts = facts_of(protocol)
  width = max(map(len, facts)) + 2
  return "\n".join(
    textwrap.fill(f"{name:<{width}}{text}", 100, subsequent_indent=" " * width)
    for name, text in facts.items()
  )
