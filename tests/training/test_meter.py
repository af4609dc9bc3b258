"""The meter: FLOPs by hand, loops as often as they run, rates and the peak."""

import types

import jax
import jax.numpy as jnp
import pytest

from sidrec.training import meter

A, B = jnp.zeros((5, 7)), jnp.zeros((7, 11))
FLOPS = 2 * 5 * 7 * 11


def flops(f, *args):
  return meter.matmul_flops(jax.make_jaxpr(f)(*args).jaxpr)


def test_a_product_of_matrices():
  assert flops(lambda a, b: jnp.tanh(a @ b) + 1, A, B) == FLOPS
  # As many as XLA counts, less what is no product.
  assert jax.jit(jnp.dot).lower(A, B).cost_analysis()["flops"] == FLOPS


def test_batched_products_and_other_contractions():
  x, y = jnp.zeros((3, 5, 7)), jnp.zeros((3, 11, 7))
  assert flops(lambda x, y: jnp.einsum("bij,bkj->bik", x, y), x, y) == 3 * FLOPS
  assert flops(lambda x, y: jnp.einsum("bij,bkj->ik", x, y), x, y) == 3 * FLOPS


def test_programs_in_programs():
  loop = lambda a, b: jax.lax.scan(lambda c, _: (c + (a @ b).sum(), None), 0.0, length=4)[0]
  assert flops(loop, A, B) == 4 * FLOPS
  # XLA's own analysis counts the body of a loop once.
  assert jax.jit(loop).lower(A, B).cost_analysis()["flops"] < 2 * FLOPS
  assert flops(jax.jit(loop), A, B) == 4 * FLOPS
  assert flops(jax.checkpoint(loop), A, B) == 4 * FLOPS
  branches = lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b, lambda: (a @ b) + (2 * a) @ b)
  assert flops(branches, A, B) == 2 * FLOPS


def test_a_step_has_three_times_the_forward_pass():
  loss = lambda a, b: (a @ b).sum()
  assert meter.training_flops(loss, A, B) == 3 * FLOPS


def test_rates_leave_out_compilation_and_validation():
  clock = iter([0.0, 1.0, 3.0, 3.0, 100.0, 102.0, 102.0])
  m = meter.Meter(1e9, 4, 1e10, clock=lambda: next(clock))
  assert m.read(2, 50.0) == {}
  first = m.read(6, 50.0)  # 4 steps in the 2 seconds from 1 to 3
  assert first == {
    "steps_per_second": 2.0,
    "model_flops_per_second": 2e9,
    "tokens_per_second": 100.0,
    "mfu": 2e9 / 4e10,
  }
  m.restart(6)
  assert m.read(16, None)["steps_per_second"] == 5.0


def test_peaks():
  device = lambda kind: types.SimpleNamespace(device_kind=kind)
  assert meter.peak_flops(device("TPU v5 lite")) == 197e12
  assert meter.peak_flops(device("TPU v5")) == 459e12
  assert meter.peak_flops(device("NVIDIA H100 80GB HBM3")) == 989e12
  assert meter.peak_flops(jax.devices()[0]) is None


@pytest.mark.parametrize(
  ("kind", "teraflops"),
  [("NVIDIA A100", 624), ("NVIDIA H100", 1979), ("NVIDIA H200", 1979), ("NVIDIA B200", 4500)],
)
def test_peaks_are_half_of_what_data_sheets_print_with_sparsity(kind, teraflops):
  assert meter.PEAK_FLOPS[kind] == pytest.approx(teraflops * 1e12 / 2, rel=1e-3)


@pytest.mark.parametrize(
  ("rates", "text"),
  [
    ({}, ""),
    ({"tokens_per_second": 812.4}, "812 tokens/s"),
    ({"tokens_per_second": 12345.0, "mfu": 0.4123}, "12.3k tokens/s  MFU 41.2%"),
    ({"model_flops_per_second": 2.5e12}, "2.5TFLOP/s"),
  ],
)
def test_rates_in_words(rates, text):
  assert meter.human(rates) == text
