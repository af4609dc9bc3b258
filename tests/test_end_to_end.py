"""The command line with XLA as users have it: conftest.py turns most optimisations off.

Users go round a circle of items; who learns that knows the next item for certain.
"""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import as_users_have_it

from sidrec.data.dataset import held_out_view
from sidrec.data.seen import seen_items
from sidrec.evaluation.evaluate import evaluate_users
from sidrec.run import load

ROOT = Path(__file__).parents[1]
NUM_ITEMS, NUM_USERS, LENGTH = 30, 120, 9
SETTINGS = {
  "evaluation.search_cost.enabled": False,
  "features.content.weight": 0.0,
  "features.cooccurrence.dim": 8,
  "tokenizer.codebook_size": 8,
  "tokenizer.kmeans.iterations": 10,
  "model.history_length": 8,
  "model.width": 16,
  "model.heads": 2,
  "model.head_width": 8,
  "model.hidden": 32,
  "model.encoder_layers": 1,
  "model.encoder_dropout": 0.1,
  "model.item_head": True,
  "train.steps": 40,
  "train.steps_per_call": 20,
  "train.validate_every": 40,
  "train.learning_rate": 0.02,
  "train.warmup_steps": 10,
  "train.average_decay": 0.9,
  "search.beams": 20,
  "search.batch_size": 120,
}


def starts():
  """Where each user steps into the circle: int [U]."""
  return np.random.default_rng(0).integers(NUM_ITEMS, size=NUM_USERS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """(the config, the run's folder, what the command printed)."""
  folder = tmp_path_factory.mktemp("end-to-end")
  rows = [
    f"u{user:03},i{(start + time) % NUM_ITEMS},{time}"
    for user, start in enumerate(starts())
    for time in range(LENGTH)
  ]
  log = folder / "log.csv"
  log.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
  settings = {**SETTINGS, "data.path": str(log)}
  overrides = [f"--config.{name}={value}" for name, value in settings.items()]
  command = [sys.executable, "-m", "sidrec.main", "--config=configs/custom.py"]
  done = subprocess.run(
    [*command, f"--workdir={folder / 'run'}", *overrides],
    cwd=ROOT,
    env=as_users_have_it(),
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  config = runpy.run_path(str(ROOT / "configs" / "custom.py"))["get_config"]()
  config.update_from_flattened_dict(settings)
  return config, folder / "run", done.stdout


def metrics_of(workdir):
  evaluation = json.loads((workdir / "evaluation.json").read_text(encoding="utf-8"))
  return {system: splits["test"]["masked"] for system, splits in evaluation["results"].items()}


def test_it_learns_the_circle(run):
  """Each item's successor is certain; an untrained model finds it once in thirty times."""
  _, workdir, _ = run
  found = metrics_of(workdir)
  assert found["sidrec"]["recall@1"] > 0.9
  assert found["sidrec"]["ndcg@10"] > 0.95
  [popular] = (metrics for system, metrics in found.items() if "popular" in system)
  assert popular["recall@1"] < 0.2


def test_its_figures_are_those_of_a_search_in_here(run):
  """The same parameters, on other devices and without optimisations, up to rounding."""
  config, workdir, _ = run
  dataset, _, params, recommend_users = load.load_recommender(config, workdir)
  held_out = held_out_view(dataset.histories, "test")
  everyone_U, num_results = np.arange(NUM_USERS), config.search.results
  found = evaluate_users(
    recommend_users,
    params,
    held_out,
    everyone_U,
    NUM_ITEMS,
    num_results,
    seen_items(held_out.histories),
  )
  expected = metrics_of(workdir)["sidrec"]
  for name in ("recall@1", "recall@10", "ndcg@10", "mrr"):
    # Rounding may swap two items of nearly equal score: one user in a hundred at most.
    assert found[name] == pytest.approx(expected[name], abs=0.01), name


def test_it_prints_the_lists_of_three_users(run):
  """The first of five items is the one that follows the history on the circle."""
  _, _, printed = run
  firsts = re.findall(r"^ *1\. .*\bi(\d+)\b", printed, flags=re.MULTILINE)
  assert [int(first) for first in firsts] == [
    (start + LENGTH) % NUM_ITEMS for start in starts()[:3].tolist()
  ]
