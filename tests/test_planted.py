"""The whole pipeline on a planted process whose best possible Recall@10 is known exactly.

Users walk over clusters of items. From a cluster, one of E edges leads on to another cluster, and
which of its items comes next depends on the edge: each edge has its own taste. The tastes of the
edges into a cluster balance, so that all items are equally popular, and only the cluster of the
last item tells what comes next. Who knows the process recommends the ten items that are most
probable after that cluster, and nobody can do better.

Two statistics are compared with that optimum, on the same users. The *expected* recall of a list
is the probability, by the process, that the next item is in it. It is free of the luck of single
targets and never above the optimum, so it is the sounder one to judge a model by. The *realised*
recall is what `evaluate_users` counts on the test items. It has luck in it (a standard error of
0.8 points; most of it cancels against the optimum's on the same targets), but it also judges the
evaluation: a target that leaks shows as a realised recall above the expected one.

Letters: C clusters, E edges out of (and into) each cluster, M items of a cluster, N = C·M items,
U users, S steps of a walk, K results.
"""

import csv
from typing import NamedTuple

import numpy as np
import pytest

from sidrec.config import default_config
from sidrec.data.dataset import held_out_view, training_view
from sidrec.evaluation.baselines import evaluate_baseline, popularity
from sidrec.evaluation.evaluate import evaluate_users
from sidrec.run.load import load_recommender
from sidrec.run.stages import run_to
from sidrec.tokenizers.report.cluster_metrics import cluster_metrics

C, M, U, S, K = 20, 12, 4000, 14, 10
N = C * M
PROBABILITY_E = np.array([0.6, 0.3, 0.1])
LEAP_E = np.array([1, 4, 11])  # edges lead from cluster c to cluster (c + leap) mod C


class Run(NamedTuple):
  """The trained recommender on test users; items are numbered as in the process."""

  next_CxN: np.ndarray  # P(next item | cluster of the last item)
  cluster_U: np.ndarray  # of each user's last item before the target
  target_U: np.ndarray
  list_UxK: np.ndarray  # what is recommended, seen items not masked
  recall: float  # realised recall@10 of these lists, as evaluated
  popular_recall: float
  first_code_N: np.ndarray


def next_item_probabilities(rng):
  """The process: float64 [C, N], items in order of their clusters."""
  joint_CxExM = np.exp(1.5 * rng.normal(size=(C, len(LEAP_E), M)))  # of the edges into a cluster
  for _ in range(500):  # Sinkhorn's: every edge is as probable as it should be, every item too
    joint_CxExM /= M * joint_CxExM.sum(axis=1, keepdims=True)
    joint_CxExM *= PROBABILITY_E[:, None] / joint_CxExM.sum(axis=2, keepdims=True)
  next_CxCxM = np.zeros((C, C, M))
  from_C = np.arange(C)
  for edge, leap in enumerate(LEAP_E):
    into_C = (from_C + leap) % C
    next_CxCxM[from_C, into_C] = joint_CxExM[into_C, edge]
  return next_CxCxM.reshape(C, N)


def walks(next_CxN, rng):
  """Items of users who start anywhere: int [U, S]."""
  reach_CxN = np.cumsum(next_CxN, axis=1)
  item_UxS = np.empty((U, S), int)
  item_UxS[:, 0] = rng.integers(N, size=U)
  for step in range(1, S):
    cluster_U = item_UxS[:, step - 1] // M
    passed_UxN = reach_CxN[cluster_U] < rng.random((U, 1))
    item_UxS[:, step] = np.minimum(passed_UxN.sum(axis=1), N - 1)
  return item_UxS


def small_config(path):
  config = default_config()
  config.data.update(source="table", path=str(path))
  config.features.content.weight = 0.0  # there is nothing but behaviour
  config.features.cooccurrence.dim = 32
  config.tokenizer.update(name="residual_kmeans", num_levels=2, codebook_size=C)
  config.tokenizer.kmeans.iterations = 20
  config.model.update(history_length=32, width=32, heads=2, head_width=16, hidden=64)
  config.model.update(encoder_layers=1, encoder_dropout=0.1)
  config.train.update(batch_size=32, steps=150, steps_per_call=50, validate_every=150)
  config.train.update(learning_rate=1e-2, warmup_steps=30, average_decay=0.97, valid_users=512)
  config.search.update(beams=20, batch_size=512)
  return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  rng = np.random.default_rng(0)
  workdir = tmp_path_factory.mktemp("planted")
  next_CxN = next_item_probabilities(rng)
  id_N = rng.permutation(N)  # an item's id tells nothing of its cluster
  with (workdir / "log.csv").open("w", newline="") as stream:
    writer = csv.writer(stream)
    writer.writerow(["user_id", "item_id", "timestamp"])
    for user, item_S in enumerate(walks(next_CxN, rng)):
      for time in range(rng.integers(6, S + 1)):
        writer.writerow([user, id_N[item_S[time]], time])

  config = small_config(workdir / "log.csv")
  run_to("train", config, workdir)
  dataset, ids, params, recommend_users = load_recommender(config, workdir)
  item_N = np.argsort(id_N)[dataset.items.ids_N]  # row of the catalogue → item of the process
  held_out = held_out_view(dataset.histories, "test")
  users_U = np.arange(U)
  lists = recommend_users(params, held_out.histories, users_U, None)
  assert lists.valid_BxK.all()
  found = lambda *_: lists  # the search has been made
  metrics = evaluate_users(found, params, held_out, users_U, N, K, None)
  popular = evaluate_baseline(popularity(training_view(dataset.histories), N), held_out, N, K).means
  last_U = held_out.histories.item_T[held_out.histories.offsets_Up1[1:] - 1]
  return Run(
    next_CxN,
    cluster_U=item_N[last_U] // M,
    target_U=item_N[held_out.target_U],
    list_UxK=item_N[lists.item_BxK[:, :K]],
    recall=metrics["recall@10"],
    popular_recall=popular["unmasked"]["recall@10"],
    first_code_N=ids.codes[np.argsort(item_N), 0],
  )


def best_lists(run):
  """The ten most probable next items of each user."""
  return np.argsort(-run.next_CxN, axis=1)[run.cluster_U, :K]


def expected_recall(run, list_UxK):
  return np.take_along_axis(run.next_CxN[run.cluster_U], list_UxK, axis=1).sum(axis=1).mean()


def realised_recall(run, list_UxK):
  return (list_UxK == run.target_U[:, None]).any(axis=1).mean()


def luck(recall):
  """How far from its expectation the recall on U targets may lie: four standard errors."""
  return 4 * np.sqrt(recall * (1 - recall) / U)


def test_the_log_follows_the_process(run):
  np.testing.assert_allclose(run.next_CxN.sum(axis=1), 1.0)
  np.testing.assert_allclose(run.next_CxN.mean(axis=0), 1.0 / N)  # equally popular
  best_UxK = best_lists(run)
  optimum = expected_recall(run, best_UxK)
  assert realised_recall(run, best_UxK) == pytest.approx(optimum, abs=luck(optimum))


def test_the_first_codes_find_the_clusters(run):
  found = cluster_metrics(run.first_code_N[:, None], {"cluster": np.arange(N) // M})["cluster"]
  assert found["depths"][0]["ami"] > 0.8


def test_the_recommender_comes_within_five_percent_of_the_optimum(run):
  assert all(len(set(row)) == K for row in run.list_UxK.tolist())
  optimum = expected_recall(run, best_lists(run))
  recall = expected_recall(run, run.list_UxK)
  assert 0.95 * optimum <= recall <= optimum + 1e-9


def test_the_evaluation_counts_what_the_process_promises(run):
  optimum = realised_recall(run, best_lists(run))
  expected = expected_recall(run, run.list_UxK)
  assert run.recall >= 0.95 * optimum
  assert run.recall == pytest.approx(realised_recall(run, run.list_UxK))
  assert run.recall == pytest.approx(expected, abs=luck(expected))


def test_popularity_knows_nothing(run):
  optimum = expected_recall(run, best_lists(run))
  assert run.popular_recall < 0.1 * optimum
