"""A whole run on a log with repeats: what is measured, named and answered."""

import numpy as np
import pytest
from tiny import tiny_config

import sidrec
from sidrec.data.dataset import held_out_view
from sidrec.evaluation.report import read_evaluation
from sidrec.run.load import load_recommender
from sidrec.run.settings import run_config
from sidrec.run.stages import run_to
from sidrec.run.train import deciding

OWN = ["own-and-item-knn", "own-frequency", "own-recency"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """A finished run; every user meets three of 30 items in turn."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny_config(folder)
  lines = ["user_id,item_id,timestamp"]
  for user in range(60):
    own = np.random.default_rng(user).permutation(30)[:3]
    lines += [f"{user},{own[time % 3]},{time}" for time in range(8)]
  (folder / "tiny.csv").write_text("\n".join(lines) + "\n")
  config.model.repeats = True
  config.train.update(steps=60, validate_every=60, learning_rate=0.02, warmup_steps=5)
  config.train.average_decay = 0.0
  run_to("evaluate", config, folder)
  return config, folder


@pytest.mark.slow
def test_the_model_and_baselines_that_repeat_stand_in_the_results(done):
  _, folder = done
  evaluation = read_evaluation(folder / "evaluation.json")
  results = evaluation["results"]
  assert list(results)[-3:] == OWN
  for name in OWN:
    assert list(results[name]["test"]) == ["unmasked"]
  # Each target was met before: all of it is a matter of repeats.
  assert results["own-recency"]["test"]["unmasked"]["recall@5"] == 1
  found = results["sidrec"]["test"]
  assert found["unmasked"]["recall@5"] > 0.9
  assert found["masked"]["recall@20"] == 0
  assert 0 <= found["unmasked"]["ece@1"] <= 1
  assert "comes again" in evaluation["protocol"]["scores"]


@pytest.mark.slow
def test_the_run_answers_by_probabilities_with_and_without_what_was_seen(done):
  config, folder = done
  run = sidrec.load(folder)
  histories = held_out_view(load_recommender(config, folder).dataset.histories, "test").histories
  history = run.dataset.items.ids_N[histories.of(0)].tolist()
  answer = run.recommend(items=history, k=20, exclude_seen=False)
  assert {item.id for item in answer.items[:3]} == set(history)
  total = sum(item.probability for item in answer.items)
  assert 0.9 < total < 1 + 1e-5
  fresh = run.recommend(items=history, k=20, exclude_seen=True)
  assert not {item.id for item in fresh.items} & set(history)
  mine = {item.id: item.probability for item in answer.items}
  for item in fresh.items[:10]:  # a filter changes no probability
    assert mine[item.id] == pytest.approx(item.probability, rel=1e-3)


def test_a_switch_that_is_off_decides_nothing(tmp_path):
  config = run_config(tiny_config(tmp_path))
  assert "repeats" not in deciding(config.model)
