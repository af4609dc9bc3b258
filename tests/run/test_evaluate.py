"""The last stage: every system in every file, SASRec and BSARec among them."""

import json

import numpy as np
import pytest
from tiny import make_dataset, tiny_config

from sidrec.config import default_config
from sidrec.core.paths import as_path
from sidrec.data.batches import last_items
from sidrec.data.dataset import held_out_view, training_view
from sidrec.evaluation.intervals import difference_rows
from sidrec.evaluation.report import read_evaluation, read_per_user
from sidrec.evaluation.results import group_runs, group_text, read_run
from sidrec.run import evaluate as run_evaluate
from sidrec.run.config_file import load_config
from sidrec.run.evaluate import EVALUATE, evaluate_baselines
from sidrec.run.load import load_recommender, load_sasrec, sasrec_of
from sidrec.run.sasrec import make_sasrec
from sidrec.run.settings import run_config
from sidrec.run.stage import find
from sidrec.run.stages import STAGES, run_to
from sidrec.search.exact import recommend

TRAINED = ["sasrec", "bsarec"]
BASELINES = ["item-knn", "item-knn-cosine", "popular"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """A finished run with SASRec and BSARec."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny_config(folder)
  config.sasrec.enabled = config.bsarec.enabled = True
  run_to("evaluate", config, folder)
  return config, folder


@pytest.mark.parametrize("system", TRAINED)
def test_each_is_a_row_of_every_file_in_both_splits_and_ways(done, system):
  _, workdir = done
  evaluation = read_evaluation(workdir / "evaluation.json")
  assert list(evaluation["results"]) == ["sidrec", *TRAINED, *BASELINES]
  per_user = read_per_user(workdir / "per_user.npz")
  table, _ = (workdir / "evaluation.txt").read_text(encoding="utf-8").split("\n\n", 1)
  rows = [line.split()[:3] for line in table.splitlines()]
  for split in ["valid", "test"]:
    for way in ["masked", "unmasked"]:
      metrics = evaluation["results"][system][split][way]
      assert set(metrics) == set(evaluation["results"]["sidrec"][split][way])
      for name in ["recall@10", "ndcg@10"]:
        value_U = per_user[f"{system}/{split}/{way}/{name}"]
        assert value_U.shape == (60,)
        assert value_U.mean() == pytest.approx(metrics[name])
      assert rows.count([system, split, way]) == 1


@pytest.mark.parametrize("system", TRAINED)
def test_the_row_is_the_trained_model_ranking_every_item(done, system):
  config, workdir = done
  chain = find(STAGES[system], run_config(config), as_path(workdir))
  _, params = sasrec_of(run_config(config), chain, system)
  histories = load_recommender(config, workdir).dataset.histories
  task = held_out_view(histories, "test")
  model = make_sasrec(run_config(config), 30, system)
  found = recommend(model, params, last_items(task.histories, 8), 10, None)
  hit_U = (np.asarray(found.item_BxK) == task.target_U[:, None]).any(axis=1)
  per_user = read_per_user(workdir / "per_user.npz")
  np.testing.assert_array_equal(per_user[f"{system}/test/unmasked/recall@10"], hit_U)
  assert 0 < hit_U.sum() < 60


def test_the_protocol_and_the_intervals_know_of_it(done):
  _, workdir = done
  protocol = read_evaluation(workdir / "evaluation.json")["protocol"]
  assert "sasrec and bsarec: the item with the lowest row wins" in protocol["score_ties"]
  text = (workdir / "evaluation.txt").read_text(encoding="utf-8")
  for split in ["valid", "test"]:
    after = text.split(f"{split}: difference")[1].splitlines()[2:7]
    assert [line.split()[0] for line in after] == [*TRAINED, *BASELINES]
    assert all(line.count("p=") == 4 for line in after)


def test_it_is_trained_once_and_again_only_for_settings_of_its_own(done, capsys):
  config, workdir = done
  run_to("evaluate", config, workdir)
  out = capsys.readouterr().out
  assert all(f"{s}: unchanged, kept" in out for s in ("prepare", "train", *TRAINED, "evaluate"))
  before = (workdir / "stages" / "sasrec.1" / "stage.json").read_text()

  changed = config.copy_and_resolve_references()
  changed.train.steps = 4
  run_to("sasrec", changed, workdir)
  assert "sasrec: unchanged, kept" in capsys.readouterr().out
  changed.sasrec.train.steps = 4
  with pytest.raises(ValueError, match=r"sasrec\.train\.steps was 6 and is 4"):
    load_sasrec(changed, workdir)
  assert (workdir / "stages" / "sasrec.1" / "stage.json").read_text() == before


def test_the_mode_sasrec_trains_nothing_else(tmp_path):
  config = tiny_config(tmp_path)
  config.sasrec.train.update(steps=2, validate_every=2)
  run_to("sasrec", config, tmp_path)
  stages = {path.name.split(".")[0] for path in (tmp_path / "stages").iterdir()}
  assert stages == {"prepare", "sasrec"}
  lines = [json.loads(line) for line in (tmp_path / "stages" / "sasrec.1" / "metrics.jsonl").open()]
  assert {line["stage"] for line in lines} == {"sasrec"}
  assert max(line["step"] for line in lines) == 2


def test_the_table_pairs_both_with_sidrec_on_the_same_users(done):
  _, workdir = done
  (group,) = group_runs([read_run(workdir)])
  text = group_text(group, "test", resamples=50)
  systems = [line.split()[0] for line in text.splitlines() if " − sidrec" in line]
  assert systems == [*TRAINED, *BASELINES]
  rows = {row[0]: row for row in difference_rows(group.per_user, "test", 50)}
  ours, others = (group.per_user[f"{name}/test/masked/ndcg@10"] for name in ("sidrec", "bsarec"))
  assert rows["bsarec − sidrec"][2].startswith(f"{(others - ours).mean():+.4f} [")


def test_targets_that_positions_would_see_are_refused_before_training(tmp_path):
  config = tiny_config(tmp_path)
  config.bsarec.train.predicts = "every"
  with pytest.raises(ValueError, match=r"config\.bsarec\.train\.predicts is 'every'"):
    run_to("bsarec", config, tmp_path)


def test_turning_it_on_evaluates_again_and_says_why(tmp_path, monkeypatch, capsys):
  seen = []

  def write(config, folder, before):
    del before
    seen.append(config.sasrec.enabled)
    for name in ["per_user.npz", "evaluation.json", "evaluation.txt"]:
      (folder / name).touch()

  monkeypatch.setitem(STAGES, "evaluate", EVALUATE._replace(build=write, shows=None))
  config = tiny_config(tmp_path)
  run_to("evaluate", config, tmp_path)
  assert not load_config(tmp_path).sasrec.enabled
  config.sasrec.enabled = True
  run_to("evaluate", config, tmp_path)
  run_to("evaluate", config, tmp_path)
  # Who asks the folder alone, as the report does, finds the evaluation.
  assert load_config(tmp_path).sasrec.enabled
  assert find(EVALUATE, load_config(tmp_path), tmp_path)
  assert seen == [False, True]
  assert "evaluate: done again, because sasrec.enabled was absent" in capsys.readouterr().out


def test_item_knn_is_left_out_of_a_log_with_too_many_pairs(monkeypatch, capsys):
  dataset = make_dataset()
  training = training_view(dataset.histories)
  monkeypatch.setattr(run_evaluate, "KNN_EVENTS", len(training.item_T) - 1)
  found = evaluate_baselines(run_config(default_config()), dataset, training)
  assert list(found) == ["popular"]
  assert "item-knn is left out" in capsys.readouterr().out
