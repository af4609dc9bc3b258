"""Several seeds: a complete run for each, and the summary that they share."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import means_of, tiny_config

from sidrec.core.checked_json import checked_text
from sidrec.core.settings import to_dict
from sidrec.evaluation.bootstrap import bootstrap_difference
from sidrec.evaluation.intervals import columns_of, difference_text
from sidrec.evaluation.protocol import Protocol
from sidrec.evaluation.report import read_evaluation, read_per_user, write_evaluation
from sidrec.evaluation.report import write_per_user as write_users
from sidrec.evaluation.seeds import over_seeds
from sidrec.run import seeds as module
from sidrec.run.generations import Generation
from sidrec.run.record import Inputs, Record
from sidrec.run.seeds import evaluate_seeds, seed_folder
from sidrec.run.stage import AS_NEEDED

PROTOCOL = Protocol("tiny", 40, 30, 20, 20, {"valid": 0, "test": 0}, {"valid": 0.0, "test": 0.0})
RESAMPLES = 100


def made_up(last, config, workdir, manner):
  """Writes what a run's last stage writes; the baseline is the same for every seed."""
  del manner
  workdir.mkdir(parents=True, exist_ok=True)
  (workdir / "config.json").write_text(checked_text(to_dict(config)))
  per_user = {}
  for system, seed in [("sidrec", 1 + config.seed), ("sasrec", 100 + config.seed), ("popular", 0)]:
    rng = np.random.default_rng(seed)
    per_user[system] = {
      split: {
        way: {
          metric: rng.integers(0, 3, 40).astype(np.float32) / 2
          for metric in ("recall@10", "ndcg@10")
        }
        for way in ("masked", "unmasked")
      }
      for split in ("valid", "test")
    }
  write_evaluation(workdir / "evaluation.json", PROTOCOL, means_of(per_user))
  write_users(workdir / "per_user.npz", per_user)
  return {last: Generation(workdir, 1, Record(last, Inputs({}, {}, {}, {})))}


@pytest.fixture
def three(tmp_path, monkeypatch, capsys):
  """Seeds 5, 6 and 7, made up: (the folder of the summary, what was printed)."""
  monkeypatch.setattr(module, "run_to", made_up)
  config = tiny_config(tmp_path)
  config.seed = 5
  config.lock()
  evaluate_seeds(config, tmp_path / "runs" / "tiny", 3, RESAMPLES)
  assert config.seed == 5
  return tmp_path / "runs" / "tiny", capsys.readouterr().out


def test_every_seed_has_a_folder_and_a_config_of_its_own(three):
  workdir, _ = three
  names = sorted(path.name for path in workdir.parent.iterdir())
  assert names == ["tiny", "tiny-seed5", "tiny-seed6", "tiny-seed7"]
  for seed in (5, 6, 7):
    config = json.loads((workdir.parent / f"tiny-seed{seed}" / "config.json").read_text())
    assert config["seed"] == seed
  assert sorted(path.name for path in workdir.iterdir()) == ["seeds.json", "seeds.txt"]


def test_the_summary_holds_mean_and_standard_error_of_every_metric(three):
  workdir, printed = three
  folders = [workdir.with_name(f"tiny-seed{seed}") for seed in (5, 6, 7)]
  expected = over_seeds({str(f): read_evaluation(f / "evaluation.json") for f in folders})
  summary = json.loads((workdir / "seeds.json").read_text())
  assert summary["seeds"] == [5, 6, 7]
  assert summary["protocol"]["dataset"] == "tiny"
  assert set(summary["results"]) == {"sidrec", "sasrec", "popular"}
  text = (workdir / "seeds.txt").read_text(encoding="utf-8")
  assert text in printed
  assert len(expected) == 3 * 2 * 2 * 2
  for path, over in expected.items():
    system, split, way, metric = path.split("/")
    assert summary["results"][system][split][way][metric] == over._asdict()
    assert str(over) in text
  assert summary["results"]["sidrec"]["test"]["masked"]["ndcg@10"]["standard_error"] > 1e-3
  assert summary["results"]["popular"]["test"]["masked"]["ndcg@10"]["standard_error"] < 1e-9


def test_every_system_is_compared_by_users_averaged_over_the_seeds(three):
  workdir, _ = three
  users = [read_per_user(workdir.with_name(f"tiny-seed{s}") / "per_user.npz") for s in (5, 6, 7)]
  text = (workdir / "seeds.txt").read_text(encoding="utf-8")
  valid, test = text.split("tiny, config tiny, test")
  assert valid.startswith("tiny, config tiny, valid")
  for split, part in [("valid", valid), ("test", test)]:
    for system in ["sasrec", "popular"]:
      (line,) = [x for x in part.splitlines() if x.startswith(f"{system} − sidrec")]
      for way, metric in columns_of(()):
        path = f"/{split}/{way}/{metric}"
        mine, other = (
          np.mean([run[name + path] for run in users], axis=0, dtype=np.float64)
          for name in (system, "sidrec")
        )
        assert difference_text(bootstrap_difference(mine, other, RESAMPLES)) in line


def test_one_seed_stays_in_the_folder_itself(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(module, "run_to", lambda last, config, *where: asked.append((last, *where)))
  evaluate_seeds(tiny_config(tmp_path), tmp_path / "run", 1)
  assert asked == [("evaluate", tmp_path / "run", AS_NEEDED)]
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [0, -2])
def test_no_seeds_are_refused(tmp_path, count):
  with pytest.raises(ValueError, match="--seeds must be 1 or more"):
    evaluate_seeds(tiny_config(tmp_path), tmp_path, count)


def test_a_folder_stands_beside_the_one_it_is_named_after(tmp_path, monkeypatch):
  assert seed_folder(Path("runs/ml1m"), 12) == Path("runs/ml1m-seed12")
  monkeypatch.chdir(tmp_path)
  assert seed_folder(Path(), 1) == tmp_path.with_name(f"{tmp_path.name}-seed1")


def test_two_real_runs_differ_by_their_seed_and_are_kept(tmp_path, capsys):
  config = tiny_config(tmp_path)
  evaluate_seeds(config, tmp_path / "tiny", 2, RESAMPLES)
  users = [read_per_user(tmp_path / f"tiny-seed{seed}" / "per_user.npz") for seed in (0, 1)]
  path = "/test/unmasked/ndcg@10"
  assert not np.array_equal(users[0]["sidrec" + path], users[1]["sidrec" + path])
  np.testing.assert_array_equal(users[0]["popular" + path], users[1]["popular" + path])
  summary = json.loads((tmp_path / "tiny" / "seeds.json").read_text())
  measured = summary["results"]["sidrec"]["test"]["unmasked"]["ndcg@10"]
  assert measured["mean"] == pytest.approx(np.mean([u["sidrec" + path] for u in users]))
  assert measured["num_seeds"] == 2
  capsys.readouterr()
  evaluate_seeds(config, tmp_path / "tiny", 2, RESAMPLES)
  assert capsys.readouterr().out.count("evaluate: unchanged, kept") == 2
