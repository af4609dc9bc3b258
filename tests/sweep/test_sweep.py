"""Sweeps of runs whose training is a formula: shared stages, interruptions, pruning, failures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from tiny import tiny_config

from sidrec.parallel.preemption import Stopped
from sidrec.run import train
from sidrec.run.settings import run_config
from sidrec.run.stages import status_text
from sidrec.sweep.study import next_trial, open_study
from sidrec.sweep.sweep import Search, sweep
from sidrec.sweep.table import finished, tried

optuna = pytest.importorskip("optuna")

SPACE = """
def space(trial):
  return {
    "train.learning_rate": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
    "tokenizer.codebook_size": [6, 7][trial.number % 2],
  }
"""


class Formula:
  """In place of a training: the nearer the learning rate to 0.01, the better; more at each step.

  Attributes:
    stop_after: validations after which a signal comes.
    fails: learning rate → whether the loss is not finite.
    trained: the step at which each training began.
  """

  def __init__(self):
    self.stop_after, self.fails, self.trained = None, lambda rate: False, []

  def __call__(self, what, config, histories, seed, mesh, records, start=None):
    saved = Path(records.directory).parent / "saved"
    first = int(saved.read_text()) if saved.exists() else 0
    self.trained.append(first)
    logger = records.make_logger(first)
    try:
      for step in range(first + 1, config.steps + 1):
        if self.fails(config.learning_rate):
          raise FloatingPointError("the loss became nan\nin a step")
        value = step / 100 - abs(np.log10(config.learning_rate) + 2) / 10
        logger.scalars(step, {"valid/ndcg@10": value})
        saved.write_text(str(step))
        if self.stop_after is not None:
          self.stop_after -= 1
          if self.stop_after == 0:
            raise Stopped(2)
    finally:
      logger.close()
    return {"x": np.zeros(1, np.float32)}


@pytest.fixture
def formula(monkeypatch):
  made = Formula()
  monkeypatch.setattr(train, "train_next_item", made)
  monkeypatch.setattr(train, "marked", lambda params, trie: params)
  return made


@pytest.fixture
def base(tmp_path):
  config = tiny_config(tmp_path)
  config.train.update(steps=4, validate_every=1)
  return config


def search(tmp_path, trials, space=SPACE, **changes):
  (tmp_path / "space.py").write_text(space)
  return Search(str(tmp_path / "space.py"), trials, target=["shop"], **changes)


def trials_of(workdir, base):
  return tried(open_study(epath.Path(workdir), run_config(base)))


def test_a_sweep_finds_the_best_shares_stages_and_ends_with_its_command(
  formula, base, tmp_path, capsys
):
  workdir = tmp_path / "shop-sweep"
  sweep(base, workdir, search(tmp_path, 5))
  out = capsys.readouterr().out
  trials = trials_of(workdir, base)
  assert out.count("prepare: done in") == 1
  assert out.count("tokenize: done in") == 2
  assert out.count("train: done in") == 5
  best = finished(trials)[0]
  distance = {t.number: abs(np.log10(t.settings["train.learning_rate"]) + 2) for t in trials}
  assert best.number == min(distance, key=lambda number: distance[number])
  assert best.value == pytest.approx(0.04 - distance[best.number] / 10)
  assert best.step == 4
  rate, codes = (best.settings[f"{n}"] for n in ("train.learning_rate", "tokenizer.codebook_size"))
  assert f"  sidrec run {workdir}/trials/{best.number}\n" in out
  assert (
    f"  sidrec run shop --train.learning_rate={rate} --tokenizer.codebook_size={codes} "
    f"--workdir={workdir}-best\n"
  ) in out

  # A trial is a run, whose stages are its own: none would be done again.
  config = run_config(base)
  config = dataclasses.replace(
    config,
    train=dataclasses.replace(config.train, learning_rate=rate),
    tokenizer=dataclasses.replace(config.tokenizer, codebook_size=codes),
  )
  status = status_text(config, workdir / "trials" / str(best.number)).splitlines()
  for stage in ("prepare", "tokenize", "train"):
    assert any(line.startswith(stage) and line.endswith("done, kept") for line in status)
  # And their files are not there twice.
  assert (workdir / f"trials/{best.number}/stages/prepare.1/dataset.npz").stat().st_nlink > 5

  page = (workdir / "report.html").read_text()
  assert f"The best is trial {best.number}" in page
  assert page.count("<svg") >= 3
  assert "fANOVA" in page

  sweep(base, workdir, search(tmp_path, 5))  # there are enough
  assert "train: done" not in capsys.readouterr().out


def test_an_interrupted_sweep_ends_like_one_that_was_not(formula, base, tmp_path):
  sweep(base, tmp_path / "a", search(tmp_path, 3))
  formula.stop_after = 6  # in the second trial
  formula.trained = []
  with pytest.raises(Stopped):
    sweep(base, tmp_path / "b", search(tmp_path, 3))
  (tmp_path / "b/report.html").unlink()
  sweep(base, tmp_path / "b", search(tmp_path, 3))
  assert formula.trained == [0, 0, 2, 0]
  assert trials_of(tmp_path / "b", base) == trials_of(tmp_path / "a", base)
  assert (tmp_path / "b/report.html").exists()


def test_what_falls_behind_ends_early(formula, base, tmp_path, capsys):
  space = """
def space(trial):
  return {"train.learning_rate": 0.01 if trial.number < 5 else 0.1}
"""
  sweep(base, tmp_path / "pruned", search(tmp_path, 6, space))
  last = trials_of(tmp_path / "pruned", base)[-1]
  assert (last.state, max(last.curve)) == ("ended early", 2)
  assert "trial 5: ended early at step 2" in capsys.readouterr().out
  assert not (tmp_path / "pruned/trials/5/recommender").exists()
  sweep(base, tmp_path / "whole", search(tmp_path, 6, space, prune=False))
  assert {trial.state for trial in trials_of(tmp_path / "whole", base)} == {"finished"}


def test_a_trial_that_fails_is_written_down_and_the_next_begins(formula, base, tmp_path, capsys):
  formula.fails = lambda rate: rate > 0.02
  space = "def space(trial): return {'train.learning_rate': [0.05, 0.01][trial.number % 2]}"
  sweep(base, tmp_path / "half", search(tmp_path, 2, space))
  assert [t.state for t in trials_of(tmp_path / "half", base)] == ["failed", "finished"]
  assert "the loss became nan" in (tmp_path / "half/report.html").read_text()
  formula.fails = lambda rate: True
  with pytest.raises(ValueError, match="all 3 trials failed, the last one because the loss became"):
    sweep(base, tmp_path / "all", search(tmp_path, 10, space))


def test_two_processes_take_different_trials_and_a_free_one_is_taken_up(base, tmp_path):
  workdir = epath.Path(tmp_path)
  study = open_study(workdir, run_config(base))
  with next_trial(study, workdir, 3, 0) as one:
    value = one.suggest_float("x", 0, 1)
    with next_trial(study, workdir, 3, 0) as other:
      assert other.suggest_float("x", 0, 1) != value
      assert (one.number, other.number) == (0, 1)
      study.tell(other, 0.5)
  with next_trial(study, workdir, 2, 0) as again:  # whoever worked on it is gone
    assert again.number == 0
    assert again.suggest_float("x", 0, 1) == value
    with next_trial(study, workdir, 2, 0) as none:
      assert none is None


def test_a_sweep_goes_on_only_with_the_same_settings_and_data(formula, base, tmp_path):
  workdir = tmp_path / "sweep"
  sweep(base, workdir, search(tmp_path, 1))
  base.track = "none"  # decides nothing
  sweep(base, workdir, search(tmp_path, 2))
  base.train.batch_size = 4
  with pytest.raises(ValueError, match=r"begun with train\.batch_size=8, which is now 4"):
    sweep(base, workdir, search(tmp_path, 3))
  base.train.batch_size = 8
  log = Path(base.data.path)
  log.write_text(log.read_text() + "0,1,99\n")
  with pytest.raises(ValueError, match="begun with other data"):
    sweep(base, workdir, search(tmp_path, 3))


def test_a_run_is_no_place_for_a_sweep(base, tmp_path):
  (tmp_path / "run/stages").mkdir(parents=True)
  with pytest.raises(ValueError, match="is the folder of a run"):
    sweep(base, tmp_path / "run", search(tmp_path, 1))
  with pytest.raises(ValueError, match="wants a local folder"):
    sweep(base, "gs://shop/sweep", search(tmp_path, 1))
