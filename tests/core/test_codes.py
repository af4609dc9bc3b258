"""Checks of codes, base conversion, and that a mapping can be read without JAX."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidrec.core.codes import as_codes, check_codes, digits_needed, radix_codes


def test_known_item():
  assert radix_codes([520], 4, 256).tolist() == [[8, 2, 0, 0]]
  codes_NxL = radix_codes(521, 4, 256)
  assert codes_NxL.dtype == np.int32
  assert codes_NxL[520].tolist() == [8, 2, 0, 0]


@given(st.data(), st.integers(2, 2**31), st.integers(1, 6))
def test_digits_sum_back_to_the_item(data, codebook_size, id_length):
  top = min(codebook_size**id_length, 2**63) - 1
  items = data.draw(st.lists(st.integers(0, top), min_size=1, max_size=20))
  codes_NxL = radix_codes(np.array(items, np.int64), id_length, codebook_size)
  assert codes_NxL.min() >= 0
  assert codes_NxL.max() < codebook_size
  sums = [sum(d * codebook_size**p for p, d in enumerate(row)) for row in codes_NxL.tolist()]
  assert sums == items


@given(st.integers(2, 300), st.integers(1, 8))
def test_digits_needed_at_powers(codebook_size, power):
  assert digits_needed(codebook_size**power, codebook_size) == power
  assert digits_needed(codebook_size**power + 1, codebook_size) == power + 1


def test_a_full_code_space_fits_and_one_more_does_not():
  assert len(np.unique(radix_codes(27, 3, 3), axis=0)) == 27
  with pytest.raises(ValueError, match=r"28 items do not fit in 3 levels of 3 .*id_length=4 would"):
    radix_codes(28, 3, 3)
  with pytest.raises(ValueError, match=r"28 items do not fit"):
    radix_codes([27], 3, 3)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((-1, 4, 256), "-1 is negative"),
    (([3, -2], 4, 256), "-2 is negative"),
    ((10, 0, 256), "id_length is 0; give at least 1"),
    ((10, 4, 1), "codebook_size is 1; give a number from 2"),
    ((10, 4, 2**31 + 1), "codebook_size is 2147483649"),
    ((1.5, 4, 256), "item numbers must be integers"),
    (([[1]], 4, 256), r"shape \(1, 1\)"),
  ],
)
def test_bad_arguments(arguments, message):
  with pytest.raises(ValueError, match=message):
    radix_codes(*arguments)


def test_as_codes_names_the_first_bad_token():
  with pytest.raises(ValueError, match=r"token 4 at \[0, 1\] is outside 0\.\.3 \(2 such in all\)"):
    as_codes([[0, 4], [-1, 3]], 4)
  with pytest.raises(ValueError, match="ragged"):
    as_codes([[1, 2], [3]], 4)


@pytest.mark.parametrize(
  ("codes", "num_levels", "message"),
  [
    ([1, 2], None, r"codes have shape \(2,\); give \[items, levels\], at least one each"),
    (np.zeros((0, 2), int), None, r"codes have shape \(0, 2\)"),
    (np.zeros((2, 0), int), None, r"codes have shape \(2, 0\)"),
    ([[1, 2]], 3, r"codes have shape \(1, 2\); give \[items, 3\]"),
    ([[0.5]], None, "tokens must be integers"),
    ([[1, 4]], None, r"token 4 at \[0, 1\] is outside 0\.\.3"),
  ],
)
def test_bad_codes(codes, num_levels, message):
  with pytest.raises(ValueError, match=message):
    check_codes(codes, 4, num_levels)


def test_good_codes_are_copied_to_int32():
  given = np.array([[1, 3]])
  codes_NxL = check_codes(given, 4, 2)
  assert (codes_NxL.dtype, codes_NxL.tolist()) == (np.int32, [[1, 3]])
  codes_NxL[0, 0] = 0
  assert given[0, 0] == 1


def test_importing_the_mapping_does_not_import_jax():
  code = "import sys, sidrec, sidrec.catalogue.collisions; print('jax' in sys.modules)"
  done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
  assert done.stdout == "False\n"
