import numpy as np
import pytest
import scipy.stats

from sidrec.evaluation import bootstrap
from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, resampled_means


def test_very_many_distinct_values_have_about_the_same_interval(monkeypatch):
  value_U = np.random.default_rng(0).exponential(size=2000)
  exact = bootstrap_mean(value_U, 4000)
  monkeypatch.setattr(bootstrap, "_MAX_VALUES", 1999)
  quick = bootstrap_mean(value_U, 4000)
  assert quick != exact
  np.testing.assert_allclose(quick[1:], exact[1:], rtol=0.05)
  assert quick.mean == exact.mean
  few = np.round(value_U)
  assert bootstrap_mean(few, 100) == bootstrap_mean(few.copy(), 100)


def two_systems(num_users=400):
  """Recall of two systems on the same users, the second right where the first is, and more."""
  rng = np.random.default_rng(0)
  value_U = (rng.random(num_users) < 0.3).astype(np.float32)
  better_U = np.maximum(value_U, rng.random(num_users) < 0.08).astype(np.float32)
  return value_U, better_U


def test_the_standard_error_is_that_of_a_mean():
  value_U = np.random.default_rng(1).random(500)
  found = bootstrap_mean(value_U)
  assert found.mean == pytest.approx(value_U.mean())
  assert found.standard_error == pytest.approx(value_U.std() / np.sqrt(500), rel=0.03)
  # A mean of 500 is close to normal.
  assert found.low == pytest.approx(found.mean - 1.96 * found.standard_error, abs=0.002)
  assert found.high == pytest.approx(found.mean + 1.96 * found.standard_error, abs=0.002)


def test_the_interval_agrees_with_scipy():
  value_U, better_U = two_systems()
  reference = scipy.stats.bootstrap(
    (better_U,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(3)
  )
  found = bootstrap_mean(better_U)
  assert found.standard_error == pytest.approx(reference.standard_error, rel=0.04)
  np.testing.assert_allclose(found[2:], reference.confidence_interval, atol=0.004)
  paired = scipy.stats.bootstrap(
    (better_U, value_U),
    lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
    n_resamples=5000,
    method="percentile",
    paired=True,
    rng=np.random.default_rng(3),
  )
  found = bootstrap_difference(better_U, value_U)
  assert found.standard_error == pytest.approx(paired.standard_error, rel=0.04)
  np.testing.assert_allclose(found[2:4], paired.confidence_interval, atol=0.004)


def test_a_resample_counts_each_distinct_value_as_often_as_users_have_it():
  # One user in ten has the value 10: the mean of means is 1, not 5 or 10 / 2.
  mean_R = resampled_means(np.array([10.0] + [0.0] * 9), 20_000, seed=0)
  assert mean_R.mean() == pytest.approx(1, abs=0.03)
  assert mean_R.var() == pytest.approx(9 / 10, rel=0.05)
  assert set(np.unique(mean_R)) <= set(range(11))


def test_the_standard_error_of_two_resamples():
  first, second = resampled_means(np.arange(9.0), 2, seed=0)
  found = bootstrap_mean(np.arange(9.0), resamples=2)
  assert found.standard_error == pytest.approx(abs(first - second) / np.sqrt(2))
  assert first != second


def test_pairing_matters():
  value_U, better_U = two_systems()
  paired = bootstrap_difference(better_U, value_U)
  unpaired = np.hypot(
    bootstrap_mean(better_U).standard_error, bootstrap_mean(value_U).standard_error
  )
  assert paired.standard_error < 0.5 * unpaired
  assert paired.p_value < 0.001


def test_the_difference_changes_its_sign_with_its_order():
  value_U, better_U = two_systems()
  up, down = bootstrap_difference(better_U, value_U), bootstrap_difference(value_U, better_U)
  assert up.mean == pytest.approx(better_U.mean() - value_U.mean())
  assert up.low > 0 > down.high
  assert down.mean == -up.mean
  assert down.p_value == up.p_value


def test_equal_systems_do_not_differ():
  value_U, _ = two_systems()
  assert bootstrap_difference(value_U, value_U) == (0, 0, 0, 0, 1)


def test_p_is_twice_the_share_of_the_other_sign_and_never_zero():
  # One win more than losses among 9 users: a sign that turns in many resamples.
  difference_U = np.array([1.0] * 5 + [-1.0] * 4)
  found = bootstrap_difference(difference_U, np.zeros(9), resamples=4000, seed=5)
  mean_R = resampled_means(difference_U, 4000, 5)
  assert found.p_value == pytest.approx(2 * (1 + (mean_R <= 0).sum()) / 4001)
  assert 0.5 < found.p_value < 1
  sure = bootstrap_difference(np.ones(50), np.zeros(50), resamples=999)
  assert sure.p_value == pytest.approx(2 / 1000)


def test_p_is_uniform_where_systems_are_equal_in_truth():
  rng = np.random.default_rng(0)
  p_values = [
    bootstrap_difference(*rng.integers(0, 2, (2, 300)).astype(float), 500, seed).p_value
    for seed in range(300)
  ]
  assert np.mean(np.array(p_values) < 0.2) == pytest.approx(0.2, abs=0.07)


def test_the_interval_covers_the_truth_in_19_of_20_samples():
  rng = np.random.default_rng(0)
  intervals = [bootstrap_mean(rng.random(200) < 0.3, 400, seed) for seed in range(400)]
  covered = np.mean([found.low <= 0.3 <= found.high for found in intervals])
  assert covered == pytest.approx(0.95, abs=0.035)


def test_blocks_change_memory_and_not_the_distribution(monkeypatch):
  value_U = np.random.default_rng(1).random(50)
  whole = bootstrap_mean(value_U, 3000)
  monkeypatch.setattr(bootstrap, "_MAX_COUNTS", 50 * 7)  # 7 resamples at once, 3 in the last
  assert len(resampled_means(value_U, 3000, 0)) == 3000
  # Multinomial draws come one after the other, so that the blocks make the same sequence.
  np.testing.assert_allclose(bootstrap_mean(value_U, 3000), whole)


def test_equal_seeds_give_equal_intervals_and_others_do_not():
  value_U, _ = two_systems()
  assert bootstrap_mean(value_U, seed=4) == bootstrap_mean(value_U, seed=4)
  assert bootstrap_mean(value_U, seed=4) != bootstrap_mean(value_U, seed=5)


@pytest.mark.parametrize(
  ("value_U", "sentence"),
  [
    (np.array([]), "one value for each user"),
    (np.zeros((2, 3)), "one value for each user"),
    (np.array([0.0, np.nan]), "finite"),
  ],
)
def test_values_that_are_not_one_number_a_user_are_refused(value_U, sentence):
  with pytest.raises(ValueError, match=sentence):
    bootstrap_mean(value_U)
  with pytest.raises(ValueError, match=sentence):
    bootstrap_difference(np.ones(2), value_U)


def test_different_users_cannot_be_paired():
  with pytest.raises(ValueError, match="same users twice, not 2 and 3"):
    bootstrap_difference(np.zeros(2), np.zeros(3))


def test_too_few_resamples_are_refused():
  with pytest.raises(ValueError, match="2 resamples or more, not 1"):
    bootstrap_mean(np.zeros(2), resamples=1)
