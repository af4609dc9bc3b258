"""Metrics and baselines of plugins: what they are asked, and answers that are refused."""

import itertools

import numpy as np
import pytest
from tiny import ROWS, make_dataset

from sidrec.core.plugged import Chosen
from sidrec.data.dataset import held_out_view, training_view
from sidrec.evaluation.baselines import evaluate_baseline, popularity
from sidrec.evaluation.own_baselines import BASELINES, make_baseline, register_baseline
from sidrec.evaluation.own_metrics import METRICS, own_metrics, register_metric
from sidrec.evaluation.protocol import protocol_of

NAMES = (f"own_{number}" for number in itertools.count())
DATA = make_dataset()
TASK = held_out_view(DATA.histories, "test")
TRAINING = training_view(DATA.histories)


@pytest.fixture(autouse=True)
def forgets():
  yield
  METRICS.known.clear()
  BASELINES.known.clear()


def metric(function) -> Chosen:
  register_metric(name := next(NAMES), function)
  return METRICS.chosen({name: {"enabled": True}})[0]


def baseline(recommend, **options):
  register_baseline(name := next(NAMES), lambda training, items: recommend, **options)
  (chosen,) = BASELINES.chosen({name: {"enabled": True}})
  return make_baseline(chosen, TRAINING, DATA.items)


def metrics_of(chosen):
  return own_metrics([chosen], DATA, TRAINING, TASK)


def measured(chosen, num_results=20):
  own = metrics_of(chosen)
  score = popularity(TRAINING, 30)
  return evaluate_baseline(score, TASK, 30, num_results, own=own), score


def test_a_metric_sees_the_ranks_and_lists_that_are_counted():
  seen = []
  chosen = metric(lambda outcome: seen.append(outcome) or (outcome.rank_U == 0))
  found, score = measured(chosen, 12)
  assert found.per_user["masked"][chosen.name].dtype == np.float32
  assert found.means["masked"][chosen.name] == found.means["masked"]["recall@1"]
  masked, unmasked = seen
  for user, row in enumerate(ROWS):
    scores = score(TASK.histories, np.array([user]))[0].astype(float)
    order = np.lexsort([np.arange(30), -scores])
    assert unmasked.item_UxK[user].tolist() == order[:12].tolist()
    kept = [item for item in order.tolist() if item not in row[:-1]]
    assert masked.item_UxK[user].tolist() == kept[:12]
    target = row[-1]
    assert masked.target_U[user] == target
    rank = sum(scores[item] >= scores[target] for item in kept) - 1
    assert masked.rank_U[user] == (rank if rank < 12 else -1)
  np.testing.assert_array_equal(masked.popularity_N, np.bincount(TRAINING.item_T, minlength=30))
  for array in (masked.rank_U, masked.item_UxK, masked.target_U, masked.popularity_N):
    with pytest.raises(ValueError, match="read-only"):
      array[0] = 0


def test_lists_that_end_early_are_filled_up():
  seen = []
  chosen = metric(lambda outcome: seen.append(outcome) or outcome.rank_U)
  short = baseline(lambda histories, users: np.tile([4, -1, 7], (len(users), 1)), gives="lists")
  evaluate_baseline(short, TASK, 30, 20, own=metrics_of(chosen))
  assert seen[1].item_UxK.shape == (60, 20)
  assert (seen[1].item_UxK[:, :2] == [4, 7]).all()
  assert (seen[1].item_UxK[:, 2:] == -1).all()


@pytest.mark.parametrize(
  ("answer", "said"),
  [
    (lambda o: 0.5, r"shape \(\); give one finite number for each of the 60 users"),
    (lambda o: o.item_UxK, r"shape \(60, 20\)"),
    (lambda o: o.rank_U[:-1], r"shape \(59,\)"),
    (lambda o: np.where(o.rank_U == o.rank_U[3], np.nan, 1.0), "returns nan for user row"),
    (lambda o: np.full(60, 1e300), "returns 1e\\+300 for user row 0"),
    (lambda o: ["a"] * 60, "values of type"),
    (lambda o: [[1], [1, 2]], "lists of different lengths"),
    (lambda o: None, "values of type object"),
    (lambda o: o.ranks, "fails: AttributeError"),
  ],
)
def test_a_metric_gives_one_finite_number_for_each_user(answer, said):
  chosen = metric(answer)
  with pytest.raises(ValueError, match=rf"the metric '{chosen.name}' \(test_own.py\) .*{said}"):
    measured(chosen)


@pytest.mark.parametrize("name", ["recall", "mrr", "ndcg", "coverage", "MRR"])
def test_names_of_sidrecs_own_metrics_are_taken(name):
  with pytest.raises(ValueError, match="there is a metric"):
    register_metric(name, len)


def test_scores_and_lists_of_the_same_order_are_worth_the_same():
  scores_UxN = np.random.default_rng(0).normal(size=(60, 30))
  lists_UxN = np.argsort(-scores_UxN, axis=1)
  found = [
    evaluate_baseline(
      baseline(lambda histories, users, of=of: of[users], gives=gives), TASK, 30, 20
    ).per_user
    for gives, of in {"scores": scores_UxN, "lists": lists_UxN}.items()
  ]
  for way in ("masked", "unmasked"):
    for name in ("recall@10", "ndcg@10"):
      np.testing.assert_array_equal(*(one[way][name] for one in found))
  assert 0 < found[0]["masked"]["recall@10"].mean() < 1


def test_a_baseline_never_sees_a_target():
  seen = []
  recommend = lambda histories, users: seen.append((histories, users)) or np.zeros((60, 30))
  evaluate_baseline(baseline(recommend), TASK, 30, 20)
  ((histories, users),) = seen
  assert [histories.of(user).tolist() for user in users] == [row[:-1] for row in ROWS]


@pytest.mark.parametrize(
  ("gives", "answer", "said"),
  [
    ("scores", np.zeros((60, 29)), r"shape \[60, 29\]; give a number, or -inf, .*\[60, 30\]"),
    ("scores", np.zeros((30, 60)), r"shape \[30, 60\]"),
    ("scores", np.full((60, 30), "a"), "values of type"),
    ("scores", np.where(np.arange(30) == 7, np.nan, np.zeros((60, 30))), "NaN for item row 7"),
    ("scores", np.full((60, 30), np.inf), "inf for item row 0"),
    ("scores", [[1.0], [1.0, 2.0]], "rows of different lengths"),
    ("scores", None, "values of type object"),
    ("lists", np.full((60, 3), 30), "item row 30 .*rows from 0 to 29"),
    ("lists", np.full((60, 3), -2), "item row -2"),
    ("lists", np.full((60, 3), 4), "item row 4 twice in row 0"),
    ("lists", np.zeros((60, 1)), "values of type float64"),
    ("lists", np.zeros((59, 1), int), r"shape \[59, 1\]"),
  ],
)
def test_answers_that_make_no_sense_are_refused(gives, answer, said):
  checked = baseline(lambda histories, users: answer, gives=gives)
  name = checked.chosen.name
  with pytest.raises(ValueError, match=rf"the baseline '{name}' \(test_own.py\) returns .*{said}"):
    evaluate_baseline(checked, TASK, 30, 20)


def test_what_a_baseline_returns_is_a_function():
  with pytest.raises(ValueError, match=r"what the baseline .* returns is 3; give a function"):
    baseline(3)
  with pytest.raises(ValueError, match=r"takes \(users\), but is called with \(histories, users_B"):
    baseline(lambda users: 1)
  with pytest.raises(ValueError, match="choose 'scores' or 'lists'"):
    register_baseline("x", gives="ranks")
  for name in ("sidrec", "sasrec", "popular"):
    with pytest.raises(ValueError, match="already"):
      register_baseline(name, lambda training, items: 1)


def test_a_protocol_without_plugins_says_nothing_of_them():
  protocol = protocol_of(DATA, TRAINING, 20, 20)
  assert (protocol.own_metrics, protocol.own_baselines) == ({}, {})
