"""Balanced assignment: what a plan sums to, what it costs, and that crowds are spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sidrec.tokenizers.rqvae.sinkhorn import transport_plan


def crowd(num_items=96, num_codes=8, seed=0):
  """Costs of items that nearly all lie near the first code."""
  rng = np.random.default_rng(seed)
  items = 0.3 * rng.normal(size=(num_items, 4))
  codes = rng.normal(size=(num_codes, 4)) + np.linspace(0, 3, num_codes)[:, None]
  return np.square(codes[:, None] - items[None]).sum(-1).astype(np.float32)


@pytest.mark.parametrize("epsilon", [0.3, 0.05])
def test_rows_and_columns_sum_to_uniform_shares(epsilon):
  plan = np.exp(transport_plan(jnp.asarray(crowd()), epsilon, 500))
  np.testing.assert_allclose(plan.sum(0), 1 / 96, rtol=1e-4)
  np.testing.assert_allclose(plan.sum(1), 1 / 8, rtol=1e-2)


def test_the_plan_is_a_scaled_kernel():
  # Scaling rows and columns keeps the cross ratios of exp(-cost / (half range · epsilon)).
  cost = crowd(6, 3)
  log_plan = np.asarray(transport_plan(jnp.asarray(cost), 0.2, 20), np.float64)
  kernel = -cost.astype(np.float64) / (np.ptp(cost) / 2) / 0.2
  cross = lambda x: x[0, 0] + x[1, 1] - x[0, 1] - x[1, 0]
  assert cross(log_plan) == pytest.approx(cross(kernel), rel=1e-4)
  assert cross(log_plan[1:, 2:]) == pytest.approx(cross(kernel[1:, 2:]), rel=1e-4)


def test_a_small_epsilon_comes_near_the_cheapest_balanced_assignment():
  cost = crowd()
  plan = np.exp(np.asarray(transport_plan(jnp.asarray(cost), 0.01, 3000), np.float64))
  seats = np.repeat(cost, 12, axis=0)
  best = seats[linear_sum_assignment(seats)].mean()
  nearest = cost.min(0).mean()
  achieved = (plan * cost).sum()
  assert nearest < 0.8 * best  # balance costs something here
  assert achieved == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("epsilon", [0.05, 0.003])
def test_crowded_codes_are_relieved(epsilon):
  cost = crowd()
  nearest = np.bincount(cost.argmin(0), minlength=8)
  plan = transport_plan(jnp.asarray(cost), epsilon, 100)
  balanced = np.bincount(np.asarray(plan).argmax(0), minlength=8)
  assert nearest.max() > 50
  assert balanced.max() <= 24  # of 12 on average
  assert balanced.min() >= 4


def test_scale_and_shift_of_the_costs_change_nothing():
  cost = crowd()
  plan = transport_plan(jnp.asarray(cost), 0.05, 50)
  np.testing.assert_allclose(transport_plan(jnp.asarray(1e-3 * cost), 0.05, 50), plan, atol=1e-3)
  np.testing.assert_allclose(transport_plan(jnp.asarray(cost + 5), 0.05, 50), plan, atol=1e-2)


@pytest.mark.parametrize(("num_codes", "num_items"), [(5, 3), (1, 4), (4, 1)])
def test_costs_that_are_all_equal_give_a_uniform_plan(num_codes, num_items):
  plan = jnp.exp(
    jax.jit(transport_plan, static_argnums=2)(jnp.ones((num_codes, num_items)), 0.01, 5)
  )
  np.testing.assert_allclose(plan, 1 / (num_codes * num_items), rtol=1e-5)


def test_far_costs_and_a_small_epsilon_stay_finite():
  cost = crowd()
  cost[:, 0] = 1e6
  assert np.isfinite(transport_plan(jnp.asarray(cost), 0.001, 50)).all()
