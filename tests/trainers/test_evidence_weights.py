"""Weights of what ranks items are the likeliest, and few targets leave them where they were."""

import json

import numpy as np
import pytest
from tiny import tiny_config

import sidrec
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import held_out_view
from sidrec.models.counted import FITTED
from sidrec.models.followers import EVEN, FLOOR
from sidrec.parallel.mesh import make_mesh
from sidrec.run.stages import run_to
from sidrec.search.candidates import Candidates
from sidrec.search.settings import SearchConfig
from sidrec.trainers import evidence_weights
from sidrec.trainers.evidence_weights import fit
from sidrec.training.params import load_params, save_params

START = np.array([0.4, 0.4, 0.2])
TRUTH = np.array([0.7, 0.2, 1.5])


def choices(users, seed=0, candidates=12):
  """Users who choose among candidates as a conditional logit with the weights of TRUTH says."""
  rng = np.random.default_rng(seed)
  part_RxXxC = rng.normal(0, 2, (users, candidates, 3)).astype(np.float32)
  item_RxX = np.argsort(rng.random((users, 50)), axis=1)[:, :candidates].astype(np.int32)
  none_RxX = rng.random(item_RxX.shape) < 0.2
  none_RxX[:, 0] = False
  item_RxX[none_RxX] = NO_ITEM
  part_RxXxC[none_RxX] = 0.0
  score_RxX = np.where(none_RxX, -np.inf, part_RxXxC @ TRUTH)
  at_R = (score_RxX + rng.gumbel(size=score_RxX.shape)).argmax(axis=1)
  target_R = item_RxX[np.arange(users), at_R]
  missed_R = rng.random(users) < 0.3  # their target is no candidate
  return Candidates(item_RxX, part_RxXxC), np.where(missed_R, 999, target_R), int((~missed_R).sum())


def test_weights_by_which_users_chose_are_found():
  found, target_R, known = choices(20_000)
  weight_C, count, _ = fit(found, target_R, START)
  assert count == known
  assert weight_C.dtype == np.float32
  np.testing.assert_allclose(weight_C, TRUTH, atol=0.05)


def test_no_other_weights_are_likelier():
  found, target_R, _ = choices(300, seed=1)
  weight_C, _, _ = fit(found, target_R, START)

  def loss(weight_C):
    valid_RxX = found.item_BxX != NO_ITEM
    score_RxX = np.where(valid_RxX, found.part_BxXxC @ weight_C, -np.inf)
    logp_RxX = score_RxX - np.log(np.exp(score_RxX).sum(axis=1, keepdims=True))
    away_C = (weight_C - START) / START
    is_target_RxX = valid_RxX & (found.item_BxX == target_R[:, None])
    return 0.5 * (away_C**2).sum() - logp_RxX[is_target_RxX].sum()

  best = loss(weight_C)
  for place in range(3):
    for step in (-0.02, 0.02):
      other_C = weight_C.copy()
      other_C[place] += step
      assert loss(other_C) > best


def test_what_is_not_used_stays_0_and_without_targets_nothing_moves():
  found, target_R, _ = choices(300, seed=2)
  weight_C, _, _ = fit(found, target_R, np.array([0.5, 0.0, 0.5]))
  assert weight_C[1] == 0
  weight_C, count, _ = fit(found, np.full_like(target_R, 999), START)
  assert count == 0
  np.testing.assert_allclose(weight_C, START, atol=1e-6)


def test_evidence_that_misleads_gets_no_weight():
  found, target_R, _ = choices(2000, seed=3)
  found.part_BxXxC[..., 1] *= -1
  weight_C, _, _ = fit(found, target_R, START)
  assert weight_C[1] == 0


def test_a_run_fits_its_weights_keeps_them_and_says_them(tmp_path, capsys):
  config = tiny_config(tmp_path)
  config.model.update(followers=4, similarity=True, item_head=True)
  config.search.update(weights="fitted", follower_candidates=4)
  run_to("evaluate", config, tmp_path / "run")
  assert "lists rank by the ID + " in capsys.readouterr().out
  run = sidrec.load(tmp_path / "run")
  of_ids, *weights = run.params[FITTED].tolist()
  assert of_ids > 0
  scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())["protocol"]["scores"]
  names = ["the item head's log p", "the log p by what followed", "the log similarity"]
  for weight, name in zip(weights, names, strict=True):
    assert (f"{weight / of_ids:.3g} × {name}" in scores) == (weight > 0)
  assert run.recommend(user=0).items


def test_the_likelier_floor_is_kept(tmp_path, monkeypatch, capsys):
  config = tiny_config(tmp_path)
  config.model.followers = 4
  run_to("train", config, tmp_path / "run")
  run = sidrec.load(tmp_path / "run")
  task = held_out_view(run.dataset.histories, "valid")
  search = SearchConfig(beams=10, follower_candidates=4, weights="fitted")
  inputs = run.model, run.trie, run.params, search, make_mesh(), task, np.arange(20)
  losses = []
  for floors in ([0.5], [1e-7], [0.5, 1e-7], [1e-7, 0.5]):
    monkeypatch.setattr(evidence_weights, "_floors", lambda _, f=floors: [*map(np.float32, f)])
    found = evidence_weights.fitted(*inputs)
    losses.append((float(found[FLOOR]), found[FITTED].tolist()))
  assert losses[2] == losses[3]
  assert losses[2] in losses[:2]
  assert losses[0] != losses[1]
  assert f"a floor of {losses[2][0]:.2g}" in capsys.readouterr().out.splitlines()[-1]
  monkeypatch.undo()
  even = run.params[EVEN]
  assert evidence_weights._floors(run.params) == [even, max(even, np.float32(0.003))]
  assert evidence_weights._floors({}) == [None]
  # Orbax saves no scalars of NumPy.
  floors = evidence_weights._floors({EVEN: np.float32(1e-4)})
  assert [type(floor) for floor in floors] == [np.ndarray, np.ndarray]
  save_params(tmp_path / "params", {FLOOR: floors[1]})
  assert load_params(tmp_path / "params")[FLOOR] == np.float32(0.003)


def test_a_run_without_fitted_weights_says_what_to_do(tmp_path):
  config = tiny_config(tmp_path)
  config.model.followers = 4
  run_to("train", config, tmp_path / "run")
  config.search.weights = "fitted"
  with pytest.raises(ValueError, match=r"lack 'evidence_weight'; .*'given'"):
    run_to("evaluate", config, tmp_path / "run")
