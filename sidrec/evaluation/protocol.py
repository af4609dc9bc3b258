"""What exactly is measured: the facts that a result means nothing without."""

import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sidrec.data.dataset import Dataset, held_out_view, training_view
from sidrec.data.tie_breaking import tied_share

SPLITS = ("valid", "test")


class Protocol(NamedTuple):
  """How a data set was split, ranked, masked and counted."""

  dataset: str
  num_users: int  # each counts once in every mean
  num_items: int  # every one is a candidate
  num_results: int  # length of each ranked list
  num_beams: int  # width of sidrec's search over semantic IDs
  cold_targets: Mapping[str, int]  # split → targets that no training interaction names
  tied_targets: Mapping[str, float]  # split → share that another order of equal times replaces
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


# What is true of SASRec, which is neither a search nor one of the counting baselines.
SASREC = {
  "exact": "sasrec: every item is scored",
  "score_ties": "sasrec: the item with the lowest row wins",
  "cold": "sasrec may find them, but has learnt no more of them than that they never came next",
}


def protocol_of(
  dataset: Dataset,
  num_results: int,
  num_beams: int,
  tie_seed: int = -1,
  sasrec: bool = False,
  item_weight: float = 0.0,
) -> Protocol:
  """The protocol of evaluating on a data set, its cold and its tied targets counted.

  Args:
    dataset: what is evaluated on.
    num_results: length of each list.
    num_beams: width of the search.
    tie_seed: of the order of equal times, see `shuffle_ties`; -1 for the order of the file.
    sasrec: whether SASRec is among the systems.
    item_weight: of the item head's scores, see `beam.search`.

  Raises:
    ValueError: if num_results is below 1 or above num_beams, or a user has fewer than 3
      interactions.
  """
  if not 1 <= num_results <= num_beams:
    raise ValueError(
      f"num_results must lie between 1 and the number of beams ({num_beams}), not {num_results}"
    )
  known_N = np.zeros(dataset.items.num_items, bool)
  known_N[training_view(dataset.histories).item_T] = True
  cold_targets = {
    split: int((~known_N[held_out_view(dataset.histories, split).target_U]).sum())
    for split in SPLITS
  }
  ties = Protocol._field_defaults["time_ties"]
  if tie_seed >= 0:
    ties = f"interactions at the same time stand in random order (seed {tie_seed})"
  facts = {
    field: f"{Protocol._field_defaults[field]}; {text}" for field, text in SASREC.items() if sasrec
  }
  if item_weight:
    of_beams = f"{item_weight:g} × the item head's score of each item that the beams found"
    facts["scores"] = f"{Protocol._field_defaults['scores']} + {of_beams}"
  return Protocol(
    dataset=dataset.name,
    num_users=dataset.histories.num_users,
    num_items=dataset.items.num_items,
    num_results=num_results,
    num_beams=num_beams,
    cold_targets=cold_targets,
    tied_targets={split: tied_share(dataset.histories, split) for split in SPLITS},
    time_ties=ties,
    **facts,
  )


def describe(protocol: Protocol) -> str:
  """The protocol in plain text, one fact a paragraph, lines of at most 100 characters."""
  cold = ", ".join(f"{count:,} in {split}" for split, count in protocol.cold_targets.items())
  tied = ", ".join(f"{share:.1%} in {split}" for split, share in protocol.tied_targets.items())
  lines = [
    ("data set", protocol.dataset),
    ("users", f"{protocol.num_users:,}, each counted once"),
    ("items", f"{protocol.num_items:,}"),
    ("split", protocol.split),
    ("candidates", protocol.candidates),
    (
      "lists",
      f"{protocol.num_results} results; sidrec: from {protocol.num_beams} beams; {protocol.exact}",
    ),
    ("scores", protocol.scores),
    ("seen items", protocol.masking),
    ("time ties", f"{protocol.time_ties}; another order would replace {tied} of the targets"),
    ("score ties", protocol.score_ties),
    ("cold targets", f"{cold}; {protocol.cold}"),
  ]
  width = max(len(name) for name, _ in lines)
  indent = " " * (width + 2)
  return "\n".join(
    textwrap.fill(f"{name:<{width}}  {text}", 100, subsequent_indent=indent) for name, text in lines
  )


def to_json(protocol: Protocol) -> dict[str, Any]:
  """The protocol as JSON types."""
  counted = {name: dict(getattr(protocol, name)) for name in ("cold_targets", "tied_targets")}
  return {**protocol._asdict(), **counted}
