"""A run that was trained on a tiny world, scored beside the truth, and measured."""

import json
import types

import numpy as np
import pytest
from absl import app, flags

from sidrec.bench import faiss_indexes, growth, growth_runs
from sidrec.bench.world import __main__ as command
from sidrec.bench.world import score
from sidrec.bench.world.settings import WorldConfig
from sidrec.bench.world.write import write_world
from sidrec.config import default_config
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import training_view
from sidrec.features.cooccurrence import following_counts
from sidrec.models.histories import LATEST
from sidrec.run.config_file import load_config
from sidrec.run.load import load_recommender
from sidrec.run.stages import run_to

ITEMS = 90


def quiet(line):
  pass


def tiny_config(world):
  config = default_config()
  config.track = "none"
  config.data.source, config.data.path = "store", str(world / "histories")
  config.features.content.weight = config.features.cooccurrence.weight = 0.0
  config.features.text.weight, config.features.text.path = 1.0, str(world / "vectors.npy")
  config.tokenizer.name, config.tokenizer.codebook_size = "residual_kmeans", 8
  config.search.beams = 10
  for part in (config, config.sasrec):
    part.model.update(history_length=6, width=8, hidden=8, heads=1)
    part.train.update(steps=2, steps_per_call=2, validate_every=2, batch_size=8, valid_users=8)
  config.model.update(head_width=8, encoder_layers=1)
  config.sasrec.model.layers = 1
  config.sasrec.enabled = True
  return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("scored")
  write_world(folder / "world", WorldConfig(ITEMS, 60, mean_length=8.0), say=quiet)
  config = tiny_config(folder / "world")
  for stage in ("train", "sasrec"):
    run_to(stage, config, folder / "run")
  return folder / "run"


@pytest.fixture(scope="module")
def task(run):
  config = load_config(run)
  return score.make_task(config, load_recommender(config, run).dataset)


def test_no_system_is_better_than_the_oracle(run):
  figures = score.score_run(run, count=40, say=quiet)
  names = ["oracle", "sidrec", "sasrec", "popular", "item-knn"]
  assert figures["scored_users"] == 40
  for name in names:
    assert 0 < figures[f"{name}_ndcg@10"] <= figures["oracle_ndcg@10"]
    assert figures[f"{name}_share"] == figures[f"{name}_ndcg@10"] / figures["oracle_ndcg@10"]
  assert figures["oracle_share"] == 1
  rows = score.table(figures).split("\n")
  assert [row.split()[0] for row in rows[2:]] == names


def test_item_knn_keeps_the_nearest_of_many_items(task, monkeypatch):
  training = training_view(task.dataset.histories)
  found = score.kept_item_knn(task, training, kept=ITEMS)
  count_N = np.bincount(training.item_T, minlength=ITEMS)
  scale_NxN = np.maximum(count_N, 1)[:, None] ** 0.5 * np.maximum(count_N, 1) ** 0.25
  near_NxN = following_counts(training, ITEMS, 20).toarray() / scale_NxN
  for row, user in enumerate(task.users_R):
    latest = task.held_out.histories.of(user)[: -1 - LATEST : -1]
    sum_N = (near_NxN[latest] / np.arange(1, len(latest) + 1)[:, None]).sum(axis=0)
    item_K = found[row][found[row] != NO_ITEM]
    np.testing.assert_allclose(sum_N[item_K], np.sort(sum_N)[::-1][: len(item_K)], rtol=1e-5)
    assert len(item_K) == min(10, (sum_N > 0).sum())
  said = []
  monkeypatch.setattr(score, "KNN_ITEMS", ITEMS - 1)
  lists = score.baselines(task, said.append)
  assert said == ["item-kNN keeps 64 neighbours of each item: all pairs of 90 are too many"]
  np.testing.assert_array_equal(lists["item-knn"], score.kept_item_knn(task, training))


def test_a_list_is_worth_what_its_items_are_likely(task):
  """Two items swapped lose what the discount says; an empty list is worth nothing."""
  best = score.oracle(task)
  swapped = best[:, [1, 0, *range(2, 10)]]
  worth, less = score.worth(task, best), score.worth(task, swapped)
  assert worth["ndcg@10"] > less["ndcg@10"] > 0.9 * worth["ndcg@10"]
  assert score.worth(task, np.full_like(best, NO_ITEM))["ndcg@10"] == 0
  with pytest.raises(ValueError, match="twice"):
    score.worth(task, best[:, [0, 0, *range(2, 10)]])
  # Lists of the events themselves are right as drawn.
  target = task.held_out.target_U[task.users_R][:, None]
  assert score.worth(task, target)["drawn_ndcg@10"] == 1


def test_a_run_of_another_world_is_refused(run, tmp_path):
  for settings, message in (
    (WorldConfig(ITEMS, 60, seed=1, mean_length=8.0), "another history"),
    (WorldConfig(ITEMS + 1, 60, mean_length=8.0), "91"),
  ):
    path = tmp_path / message[:2]
    write_world(path, settings, say=quiet)
    with pytest.raises(ValueError, match=message):
      score.score_run(run, path, say=quiet)


class FlatIndex:
  """Exact products, under the names of FAISS's indexes."""

  ntotal = nprobe = 0
  nlist, d, pq = 2, 8, types.SimpleNamespace(ksub=4, code_size=2)

  def __init__(self, *ignored):
    self.hnsw = types.SimpleNamespace(
      efSearch=0, neighbors=np.zeros(5, int), offsets=np.zeros(3, int)
    )

  def train(self, vectors):
    self.trained = len(vectors)

  def add(self, vectors):
    self.vectors, self.ntotal = vectors, len(vectors)

  def search(self, queries, count):
    score = queries @ self.vectors.T
    found = np.argsort(-score, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(score, found, axis=1), found


@pytest.fixture
def fake_faiss(monkeypatch):
  fake = types.SimpleNamespace(
    IndexFlatIP=FlatIndex,
    IndexHNSWFlat=FlatIndex,
    index_factory=FlatIndex,
    METRIC_INNER_PRODUCT=0,
  )
  monkeypatch.setattr(faiss_indexes, "imported", lambda: fake)


def test_runs_are_measured_and_indexes_search_the_states(run, fake_faiss):
  sizes = growth_runs.Sizes(users=40, batch=8, repeats=1)
  measured = growth_runs.measure([run], sizes, say=quiet)
  for name in growth_runs.METHODS:
    assert measured[f"{name}_users_per_s_n{ITEMS}"] > 0
    assert 0 < measured[f"{name}_share_n{ITEMS}"] < 1
    assert 0 < measured[f"{name}_of_exact_10_n{ITEMS}"] <= 1
  # The same products: the states are those that SASRec ranks by.
  for name in ("exact", "flat", "hnsw", "ivfpq"):
    assert measured[f"{name}_of_exact_10_n{ITEMS}"] == 1
    assert measured[f"{name}_ndcg@10_n{ITEMS}"] == measured[f"exact_ndcg@10_n{ITEMS}"]
  of_model = measured[f"exact_bytes_per_item_n{ITEMS}"]
  assert of_model > 4 * 8
  assert measured[f"ivfpq_bytes_per_item_n{ITEMS}"] > of_model + 10


def test_without_faiss_the_rest_is_measured(run, monkeypatch):
  def missing():
    raise ImportError("no FAISS")

  monkeypatch.setattr(faiss_indexes, "imported", missing)
  said = []
  sizes = growth_runs.Sizes(users=12, batch=4, repeats=1, exact_scores=100)
  measured = growth_runs.measure_run(run, sizes, said.append)
  assert "exact_ndcg@10" in measured
  assert "flat_ndcg@10" not in measured
  assert "FAISS is not installed" in said[0]
  assert said[1] == "a search with 300 beams certifies 100.0% of the lists as exact"
  # What is certified is what scoring all items finds.
  all_scored = growth_runs.measure_run(run, sizes._replace(exact_scores=100_000), quiet)
  assert measured["sidrec_of_exact_10"] == all_scored["sidrec_of_exact_10"] < 1
  assert measured["exact_ten_users"] == all_scored["exact_ten_users"] == 12


def test_growth_takes_runs(monkeypatch, tmp_path):
  values, asked = flags.FlagValues(), []
  growth.define_flags(values)
  values(["growth", "--runs=a,b", "--users=9", "--repeats=2", f"--json={tmp_path / 'g.json'}"])
  monkeypatch.setattr(growth_runs, "measure", lambda *args: asked.append(args) or {"x_n9": 1})
  growth.main(["growth"], values)
  assert asked == [(["a", "b"], growth_runs.Sizes(users=9, repeats=2))]
  assert json.loads((tmp_path / "g.json").read_text())["x_n9"] == 1
  drawn = []
  monkeypatch.setattr(growth, "plot_runs", lambda *args: drawn.append(args))
  values["plot"].value = str(tmp_path / "x.png")
  growth.main(["growth"], values)
  assert drawn == [({"x_n9": 1}, tmp_path / "x.png")]


def test_the_command_writes_and_scores(run, tmp_path, capsys):
  def do(*words):
    values = flags.FlagValues()
    command.define_flags(values)
    values(["world", *words])
    command.main(["world"], values)

  do("--items=60", "--users=20", f"--folder={tmp_path / 'new'}", f"--json={tmp_path / 'w.json'}")
  assert json.loads((tmp_path / "w.json").read_text())["items"] == 60
  assert (tmp_path / "new" / "vectors.npy").is_file()
  do(f"--score={run}", "--score_users=10")
  assert "of the oracle" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="is there already"):
    do("--items=60", f"--folder={tmp_path / 'new'}")
  with pytest.raises(app.UsageError, match="either --folder"):
    do()
