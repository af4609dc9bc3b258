"""New items, measured: some are held out of everything, and recommended without training.

The experiment has a run of its own below the work directory, from whose catalogue and histories a
share of the items is left out. They then get IDs from their vectors and parameters from the
items like them; how many of them the lists hold is chosen on validation.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sidrec.cold_start.evaluation import (
  Candidate,
  choose_share,
  cold_metrics,
  cold_report,
  cold_task,
)
from sidrec.cold_start.merge import mix
from sidrec.cold_start.new_items import grow, lists_of_both, params_of_both
from sidrec.core.atomic import write_whole_text
from sidrec.data.cache import load_dataset
from sidrec.data.parts import take_items
from sidrec.data.seen import seen_items
from sidrec.parallel.hosts import from_primary
from sidrec.run.prepare import PREPARE
from sidrec.run.stage import Stage, run
from sidrec.run.train import TRAIN

Metrics = dict[str, dict[str, float]]

FOLDER = "cold_start"  # of the experiment's own run


def cold_start(config: ConfigDict, workdir: Path) -> str:
  """Trains without the held-out items, adds them, and measures how both kinds are recommended.

  Writes `cold_start.json` and `cold_start.txt`, which it prints.

  Returns:
    The stage's fingerprint.
  """
  without = config.copy_and_resolve_references()
  without.cold_start.held_out = True
  trained = run(TRAIN, without, workdir / FOLDER)

  def build(config: ConfigDict, workdir: Path) -> None:
    del config
    told = measure(without, workdir)
    from_primary(lambda: _write(told, workdir))

  stage = Stage(
    "cold_start",
    after=lambda config: (PREPARE,),
    settings=lambda config: {
      "fingerprint_without": trained,
      "evaluate": config.evaluate.to_dict(),
      "cold_start": config.cold_start.to_dict(),
    },
    outputs=lambda config: ("cold_start.json", "cold_start.txt"),
    build=build,
    shows="cold_start.txt",
  )
  return run(stage, config, workdir)


def _write(told: Mapping[str, Any], workdir: Path) -> None:
  text = json.dumps(told, indent=2, allow_nan=False)
  write_whole_text(workdir / "cold_start.json", f"{text}\n")
  write_whole_text(workdir / "cold_start.txt", cold_report(told))


def measure(config: ConfigDict, workdir: Path) -> dict[str, Any]:
  """What `cold_start.json` holds: see `evaluation.cold.cold_report`.

  Args:
    config: of the run without the held-out items.
    workdir: holds the whole data set, and that run in a folder.
  """
  c = config.cold_start
  whole = load_dataset(workdir / "dataset.npz")
  trained_ids_N = load_dataset(workdir / FOLDER / "dataset.npz").items.ids_N
  new_M = np.flatnonzero(~np.isin(whole.items.ids_N, trained_ids_N))
  grown = grow(config, workdir / FOLDER, take_items(whole.items, new_M))
  num_known = len(trained_ids_N)
  # Where each item of the whole catalogue stands in the grown one, which holds them all.
  grown_ids_N = grown.dataset.items.ids_N
  order_N = np.argsort(grown_ids_N)
  row_N = order_N[np.searchsorted(grown_ids_N, whole.items.ids_N, sorter=order_N)]
  tasks = {
    split: cold_task(whole.histories, row_N, num_known, split) for split in ("valid", "test")
  }

  def mixed(split: str, users_R: np.ndarray, shares: Sequence[float]) -> list[Metrics]:
    histories = tasks[split].histories
    seen, params = seen_items(histories), params_of_both(grown)
    known, new = lists_of_both(grown, params, histories, users_R, seen)
    target_R = tasks[split].target_U[users_R]
    return [cold_metrics(mix(known, new, share), target_R, num_known) for share in shares]

  is_cold = {split: task.target_U >= num_known for split, task in tasks.items()}
  for split, is_cold_U in is_cold.items():
    if is_cold_U.all() or not is_cold_U.any():
      raise ValueError(
        f"of the {len(is_cold_U)} users asked in {split}, {is_cold_U.sum()} took a held-out item; "
        "both kinds are needed: choose another cold_start.fraction or seed"
      )
  warm_V = np.random.default_rng(config.seed).permutation(np.flatnonzero(~is_cold["valid"]))
  valid_V = np.concatenate([np.flatnonzero(is_cold["valid"]), warm_V[: config.train.valid_users]])
  shares = (0.0, *sorted(c.shares))
  validated = mixed("valid", valid_V, shares)
  chosen = choose_share(
    [
      Candidate(share, told["cold"]["recall@10"], told["warm"]["recall@10"])
      for share, told in zip(shares, validated, strict=True)
    ],
    c.largest_loss,
  )
  before, after = mixed("test", np.arange(len(is_cold["test"])), (0.0, chosen.share))
  # What constrained search alone gives to items that were never trained.
  cold_C = np.flatnonzero(is_cold["test"])
  histories = tasks["test"].histories
  unmixed = grown.all.recommend_users(grown.all.params, histories, cold_C, seen_items(histories))
  one_trie = cold_metrics(unmixed, tasks["test"].target_U[cold_C], num_known)
  return {
    "dataset": whole.name,
    "items": {"known": num_known, "new": len(new_M)},
    "users_left_out": {
      split: whole.histories.num_users - task.histories.num_users for split, task in tasks.items()
    },
    "largest_loss": c.largest_loss,
    "share": chosen.share,
    "valid": {f"{share:g}": told for share, told in zip(shares, validated, strict=True)},
    "test": {
      "known items alone": before,
      "one trie of all": one_trie,
      f"share {chosen.share:g}": after,
    },
  }
