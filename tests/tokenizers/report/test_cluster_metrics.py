"""Agreement with labels, against cases counted by hand and what chance gives."""

import json

import numpy as np
import pytest

from sidrec.data.sources.build import item_table
from sidrec.tokenizers.report import cluster_metrics as module
from sidrec.tokenizers.report.cluster_metrics import (
  cluster_metrics,
  cluster_metrics_table,
  item_labels,
)


def test_by_hand():
  # Prefix 0 has a, a, b; prefix 1 has b. H(prefix) and I are from the shares 3/4, 1/4.
  codes = np.array([[0], [0], [0], [1]])
  label = np.array(["a", "a", "b", "b"])
  (row,) = cluster_metrics(codes, {"genre": label})["genre"]["depths"]
  h_prefix = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
  h_label = np.log(2)
  joint = np.array([0.5, 0.25, 0.25])  # (0, a), (0, b), (1, b)
  information = h_prefix + h_label + (joint * np.log(joint)).sum()
  assert row["purity"] == 0.75
  assert row["nmi"] == pytest.approx(information / ((h_prefix + h_label) / 2))
  # The lone item is of a or b; either way the information is the same, so it is what chance gives.
  assert row["ami"] == pytest.approx(0, abs=1e-9)
  assert (row["depth"], row["prefixes"]) == (1, 2)


def test_codes_that_are_the_label_agree_fully_and_shuffled_ones_do_not():
  rng = np.random.default_rng(0)
  label = rng.integers(0, 5, 2000)
  codes = np.stack([(label + 2) % 5, rng.integers(0, 50, 2000)], axis=1)
  first, second = cluster_metrics(codes, {"label": label})["label"]["depths"]
  assert first["purity"] == 1
  assert first["nmi"] == pytest.approx(1)
  assert first["ami"] == pytest.approx(1)
  assert first["purity_shuffled"] < 0.3
  assert first["nmi_shuffled"] < 0.01
  assert abs(first["ami_shuffled"]) < 0.01
  # Splitting pure clusters keeps them pure, but says less about the label than it could.
  assert second["prefixes"] == 250
  assert second["purity"] == 1
  assert second["ami"] < first["ami"]


def test_small_clusters_are_pure_by_chance_but_not_in_the_adjusted_measure():
  rng = np.random.default_rng(1)
  codes = rng.integers(0, 400, (600, 1))
  (row,) = cluster_metrics(codes, {"label": rng.integers(0, 4, 600)})["label"]["depths"]
  assert row["purity"] > 0.6
  assert row["purity_shuffled"] == pytest.approx(row["purity"], abs=0.05)
  assert row["nmi_shuffled"] == pytest.approx(row["nmi"], abs=0.05)
  assert abs(row["ami"]) < 0.05


def test_a_prefix_is_more_than_its_last_code():
  codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 2)
  label = np.array([0, 1, 1, 0] * 2)  # the two codes tell it together, neither alone
  first, second = cluster_metrics(codes, {"label": label})["label"]["depths"]
  assert first["purity"] == 0.5
  assert second["purity"] == 1


@pytest.mark.parametrize(
  "label", [np.array(["x", "", "y", "y", "x", ""]), np.array([3, -1, 0, 0, 3, -1])]
)
def test_items_without_a_label_are_left_out(label):
  codes = np.array([[0], [0], [1], [1], [0], [1]])
  measured = cluster_metrics(codes, {"label": label})["label"]
  assert (measured["items"], measured["missing"], measured["classes"]) == (4, 2, 2)
  assert measured["depths"][0]["purity"] == 1
  assert measured["depths"][0]["ami"] == pytest.approx(1)


def test_shuffles_depend_on_the_seed_only():
  rng = np.random.default_rng(0)
  codes, labels = rng.integers(0, 9, (90, 2)), {"label": rng.integers(0, 3, 90)}
  assert cluster_metrics(codes, labels) == cluster_metrics(codes, labels)
  assert cluster_metrics(codes, labels) != cluster_metrics(codes, labels, seed=1)


def test_too_many_pairs_leave_the_adjusted_measure_out(monkeypatch):
  monkeypatch.setattr(module, "MAX_PAIRS", 10)
  codes = np.stack([np.arange(20) % 2, np.arange(20) // 2], axis=1)
  measured = cluster_metrics(codes, {"label": np.arange(20) % 5})
  first, second = measured["label"]["depths"]
  assert first["ami"] is not None
  assert second["ami"] is None
  assert second["nmi"] > 0
  assert cluster_metrics_table(measured).splitlines()[-1].endswith(" -")


def test_of_many_items_random_ones_are_compared(monkeypatch):
  rng = np.random.default_rng(0)
  codes, label = rng.integers(0, 4, (4000, 2)), rng.integers(-1, 3, 4000)
  label = np.where(label >= 0, (codes[:, 0] + (rng.random(4000) < 0.3)) % 3, -1)
  every = cluster_metrics(codes, {"label": label})
  assert "random ones" not in cluster_metrics_table(every)
  monkeypatch.setattr(module, "MAX_ITEMS", 1000)
  some = cluster_metrics(codes, {"label": label})
  assert some["label"]["compared"] == 1000 < some["label"]["items"] == every["label"]["items"]
  assert some["label"]["missing"] == every["label"]["missing"]
  assert some != every
  for one, other in zip(some["label"]["depths"], every["label"]["depths"], strict=True):
    assert one["purity"] == pytest.approx(other["purity"], abs=0.03)
    assert one["ami"] == pytest.approx(other["ami"], abs=0.03)
  last = cluster_metrics_table(some).splitlines()[-1]
  assert last == "of more than 1,000 items, so many random ones are compared"


def test_the_labels_of_a_catalogue():
  items = item_table(
    ids=[1, 2, 3],
    titles=["", "", ""],
    categories=[("War", "Action"), (), ("Action",)],
    numeric={"year": [1999, 2000, np.nan]},
  )
  labels = item_labels(items)
  assert labels["category"].tolist() == ["War", "", "Action"]
  assert labels["decade"].tolist() == ["1990s", "2000s", ""]


def test_the_root_that_all_category_paths_share_is_passed_over():
  paths = [("Beauty", "Hair", "Combs"), ("Beauty",), ("Beauty", "Skin"), ()]
  items = item_table([1, 2, 3, 4], [""] * 4, paths, {})
  assert item_labels(items)["category"].tolist() == ["Hair", "", "Skin", ""]
  alike = item_table([1, 2], [""] * 2, [("Beauty",), ("Beauty",)], {})
  assert item_labels(alike)["category"].tolist() == ["Beauty", "Beauty"]


def test_a_catalogue_without_labels_has_none():
  bare = item_table([1, 2], ["a", "b"], [(), ()], {})
  assert item_labels(bare) == {}
  assert item_labels(bare._replace(numeric={"year": np.full(2, np.nan, np.float32)})) == {}
  assert cluster_metrics(np.array([[0], [1]]), {}) == {}


def test_the_result_is_json_and_the_table_fits():
  rng = np.random.default_rng(0)
  labels = {
    "category": rng.choice(["a", "b", ""], 300),
    "a name that is far too long": rng.choice(7, 300),
  }
  measured = cluster_metrics(rng.integers(0, 8, (300, 3)), labels)
  assert json.loads(json.dumps(measured)) == measured
  lines = cluster_metrics_table(measured).splitlines()
  assert len(lines) == 1 + 2 * 3
  assert len({len(line) for line in lines}) == 1
  assert len(lines[0]) <= 100


@pytest.mark.parametrize(
  ("label", "match"),
  [
    (np.array(["a", "b", "a"]), "'genre' has shape .3,., but there are codes of 4 items"),
    (np.array([0.5, 1, 2, 3]), "'genre' is of type float64"),
    (np.array(["", "", "", ""]), "no item has a label 'genre'"),
  ],
)
def test_refuses_bad_labels(label, match):
  with pytest.raises(ValueError, match=match):
    cluster_metrics(np.zeros((4, 1), int), {"genre": label})
