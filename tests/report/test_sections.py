"""What the sections compute: slices, exposure, calibration, curves, failures, the map, the tree."""

import numpy as np
import pytest

from sidrec.evaluation.details import lists_of
from sidrec.report import calibration, item_map, lists, tree
from sidrec.report.beyond import exposure, gini
from sidrec.report.curves import read_log
from sidrec.report.slices import fifths, slicings, thirds


def test_fifths_divide_users_and_keep_equal_values_together():
  groups = fifths(np.arange(1, 101), "items")
  assert [label for label, _ in groups] == [
    "1 to 20 items",
    "21 to 40 items",
    "41 to 60 items",
    "61 to 80 items",
    "81 to 100 items",
  ]
  assert np.sum([is_in for _, is_in in groups], axis=0).tolist() == [1] * 100
  few = fifths(np.array([0, 0, 0, 0, 7]), "times")
  assert [label for label, _ in few] == ["0 times", "1 to 7 times"]


def test_thirds_hold_a_third_of_the_interactions_each():
  popularity_N = np.array([1, 30, 1, 15, 1, 15, 27])
  groups = thirds(popularity_N, np.arange(7))
  assert [label for label, _ in groups] == ["head: 1 items", "torso: 2 items", "tail: 4 items"]
  assert [np.flatnonzero(is_in).tolist() for _, is_in in groups] == [[1], [3, 6], [0, 2, 4, 5]]


def test_a_user_counts_in_every_category_of_the_target(run):
  by_title = {slicing.title: slicing for slicing in slicings(run)}
  groups = by_title["By category of the target"].groups
  target_U = run.details.users.target_U
  counts = {label: int(is_in_U.sum()) for label, is_in_U in groups}
  expected = {f"{'abc'[at]}<i>": int(np.sum(target_U % 3 == at)) for at in range(3)}
  assert counts == {name: count for name, count in expected.items() if count >= 20}
  assert counts


def test_repeated_targets_are_measured_where_lists_may_hold_them(run):
  slicing = next(x for x in slicings(run) if x.title == "New and repeated targets")
  assert slicing.way == "unmasked"
  assert "0 of 60 targets are repeated" in slicing.words


def test_gini_and_exposure():
  assert gini(np.array([2, 2, 2, 2])) == 0
  assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
  assert gini(np.zeros(3)) == 0
  found = exposure(np.array([[0, 1], [0, -1]]), np.array([4, 2, 2, 0]))
  assert found.coverage == 0.5
  assert found.novelty == pytest.approx((1 + 2 + 1) / 3)


def test_bins_compare_probability_and_hits():
  p = np.array([0.1, 0.9, 0.2, 0.8])
  low, high = calibration.bins(p, np.array([False, True, True, True]), count=2)
  assert (low.count, low.probability, low.share) == (2, pytest.approx(0.15), 0.5)
  assert (high.count, high.probability, high.share) == (2, pytest.approx(0.85), 1.0)
  assert len(calibration.bins(p[:1], np.array([True]), count=10)) == 1
  assert calibration.bins(p[:0], np.zeros(0, bool)) == []


def test_wilson_is_the_interval_of_a_share():
  from scipy.stats import binomtest

  for hits, count in [(0, 10), (3, 10), (50, 400), (7, 7)]:
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    found = calibration.wilson(hits / count, count)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_list_without_results_has_no_calibration_to_show(run):
  empty = lists_of(
    np.full(60, -1), np.full((60, 10), -1), np.zeros((60, 10), bool), np.zeros((60, 10))
  )
  details = run.details._replace(lists={"sidrec": {"masked": empty, "unmasked": empty}})
  assert "No list holds a result" in calibration.calibration(run._replace(details=details))


def test_logs_are_read_in_order_and_without_what_a_kill_cut_off(tmp_path):
  path = tmp_path / "metrics.jsonl"
  lines = [
    '{"step": 20, "stage": "recommender", "train/loss": 2.0, "x": null}',
    '{"step": 10, "stage": "recommender", "train/loss": 3.0}',
    '{"step": 20, "stage": "recommender", "train/loss": 1.5}',
    '["no", "object"]',
    '{"step": 30, "stage": "recomm',
  ]
  path.write_text("\n".join(lines), encoding="utf-8")
  assert read_log(path) == {"recommender": {"train/loss": [(10.0, 3.0), (20.0, 1.5)]}}
  assert read_log(tmp_path / "none") == {}


def test_the_worst_failures_are_those_that_others_find_easily(run):
  worst_R = lists.worst(run)
  assert len(worst_R) == lists.WORST
  other_rank_U = lists.ranks(run, "item-knn")
  ranks = {name: lists.ranks(run, name) for name in run.systems}
  strongest = max(run.systems[1:], key=lambda name: run.results[name]["test"]["masked"]["ndcg@10"])
  other_rank_U = ranks[strongest]
  assert (ranks["sidrec"][worst_R] >= 10).all()
  assert (np.diff(other_rank_U[worst_R]) >= 0).all()
  rest = np.setdiff1d(np.flatnonzero(ranks["sidrec"] >= 10), worst_R)
  assert other_rank_U[rest].min() >= other_rank_U[worst_R].max()


def test_the_map_places_what_was_not_fitted_between_its_nearest(monkeypatch):
  monkeypatch.setattr(item_map, "FITTED", 40)
  monkeypatch.setattr(item_map, "SHOWN", 60)
  centres = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])
  vectors = centres[np.arange(70) % 3] + np.random.default_rng(0).normal(0, 0.1, (70, 3))
  rows_R, place_RxX = item_map.layout(vectors.astype(np.float32))
  assert len(rows_R) == 60
  assert len(set(rows_R.tolist())) == 60
  middle = [place_RxX[:40][rows_R[:40] % 3 == at].mean(axis=0) for at in range(3)]
  distance = np.linalg.norm(place_RxX[40:, None] - np.array(middle), axis=2)
  assert (distance.argmin(axis=1) == rows_R[40:] % 3).all()
  again = item_map.layout(vectors.astype(np.float32))
  assert again[1].tobytes() == place_RxX.tobytes()


def test_a_handful_of_items_gets_no_map():
  rows_R, place_RxX = item_map.layout(np.eye(5, dtype=np.float32))
  assert len(rows_R) == len(place_RxX) == 0
  rows_R, _ = item_map.layout(np.ones((50, 3), np.float32))  # and items that are all the same
  assert len(rows_R) == 0


def test_a_map_of_other_vectors_is_not_taken(run):
  path = run.workdir / item_map.CACHE
  item_map.places(run)
  assert item_map._kept(path, f"1 {run.chain['tokenize'].record.identity}") is not None
  assert item_map._kept(path, "1 another") is None


def slices_of(run):
  return tree._Walk(run, tree.colours_of(run)).all()


def test_the_tree_covers_every_item_once(run):
  found = slices_of(run)
  inner = [one for one in found if one.level == 0]
  assert [one.first for one in inner[1:]] == pytest.approx([one.last for one in inner[:-1]])
  assert (inner[0].first, inner[-1].last) == pytest.approx((0, 1))
  for item in range(30):
    assert sum(one.words.startswith(f"title {item} ") for one in found) == (item >= 5)


def test_slices_too_narrow_to_see_are_merged_and_cover_as_much(run, monkeypatch):
  monkeypatch.setattr(tree, "_THIN", 1 / 20)
  found = slices_of(run)
  merged = [one for one in found if "merged" in one.words]
  assert merged
  outer = [one for one in found if one.level == 1]
  assert sum(one.last - one.first for one in outer) == pytest.approx(1)
  assert not any(one.words.startswith("title") for one in found)
