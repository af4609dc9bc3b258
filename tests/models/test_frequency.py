"""The frequency filter is the rFFT's, of each history by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.models.frequency import FilterConfig, FrequencyFilter, low_pass_kernel

LENGTH, WIDTH = 10, 3


def by_fft(x_SxD, frequencies, scale_D):
  """BSARec's layer before its dropout, residual and norm, over S positions."""
  spectrum = np.fft.rfft(x_SxD, axis=0)
  spectrum[frequencies:] = 0.0
  low_SxD = np.fft.irfft(spectrum, n=len(x_SxD), axis=0)
  return low_SxD + scale_D**2 * (x_SxD - low_SxD)


def filtered(x_BxSxD, seen_BxSxS, scale_D, frequencies, length=LENGTH):
  module = FrequencyFilter(length, frequencies)
  place_1xS = jnp.arange(x_BxSxD.shape[1])[None]
  args = (x_BxSxD, x_BxSxD, place_1xS, seen_BxSxS)
  return module.apply({"params": {"scale": scale_D}}, *map(jnp.asarray, args))


@pytest.mark.parametrize("length", [9, 10])
@pytest.mark.parametrize("frequencies", [1, 3, 99])
def test_a_full_row_is_filtered_as_by_the_fft(length, frequencies):
  rng = np.random.default_rng(0)
  x_2xSxD, scale_D = rng.normal(size=(2, length, WIDTH)), rng.normal(size=WIDTH)
  seen = np.ones((2, length, length), bool)
  found = filtered(x_2xSxD, seen, scale_D, frequencies, length)
  for row, x_SxD in zip(found, x_2xSxD, strict=True):
    np.testing.assert_allclose(row, by_fft(x_SxD, frequencies, scale_D), atol=1e-5)
  if frequencies == 99:  # all there are, and nothing is left for the other part
    np.testing.assert_allclose(found, x_2xSxD, atol=1e-5)


def test_histories_that_share_a_row_are_filtered_as_if_zeros_filled_up_each():
  rng = np.random.default_rng(1)
  x_SxD, scale_D = rng.normal(size=(8, WIDTH)), rng.normal(size=WIDTH)  # a row shorter than S
  segment_S = np.array([0, 0, 0, 1, 1, 1, 1, 2])
  found = filtered(x_SxD[None], segment_S[None, :, None] == segment_S[None, None], scale_D, 3)[0]
  for number in range(3):
    part = segment_S == number
    fill = LENGTH - part.sum()
    for before in (0, fill):  # on either side, as in the paper's padded rows
      alone = np.pad(x_SxD[part], ((before, fill - before), (0, 0)))
      expected = by_fft(alone, 3, scale_D)[before : before + part.sum()]
      np.testing.assert_allclose(found[part], expected, atol=1e-5)


def test_what_is_not_seen_does_not_count():
  rng = np.random.default_rng(2)
  x_SxD, scale_D = rng.normal(size=(LENGTH, WIDTH)), rng.normal(size=WIDTH)
  causal = np.tril(np.ones((LENGTH, LENGTH), bool))[None]
  run = lambda x_SxD: filtered(x_SxD[None], causal, scale_D, 2)[0]
  seen = np.abs(np.asarray(jax.jacobian(run)(jnp.asarray(x_SxD)))).sum(axis=(1, 3)) > 0
  np.testing.assert_array_equal(seen, causal[0])
  # A causal position gets what the paper's filter gives a history's last one.
  for at in range(LENGTH):
    alone = np.pad(x_SxD[: at + 1], ((LENGTH - at - 1, 0), (0, 0)))
    np.testing.assert_allclose(run(x_SxD)[at], by_fft(alone, 2, scale_D)[-1], atol=1e-5)


def test_the_kernel_of_the_mean_alone_is_the_mean():
  np.testing.assert_allclose(low_pass_kernel(5, 1), np.full(5, 0.2), rtol=1e-6)


@pytest.mark.parametrize(
  ("settings", "message"),
  [({"share": 1.5}, r"filter\.share is 1\.5"), ({"frequencies": 0}, r"filter\.frequencies is 0")],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    FilterConfig(**settings)
