from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sidrec.tokenizers.collisions import add_extra_digit, collision_rate, group, largest_group

CODES = hnp.arrays(
  np.int32,
  st.tuples(st.integers(0, 40), st.integers(1, 3)),
  elements={"min_value": 0, "max_value": 2},
)


def test_known_case():
  codes_NxL = [[1, 2], [0, 0], [1, 2], [2, 1], [1, 2]]
  extended = add_extra_digit(codes_NxL, 4)
  assert extended.dtype == np.int32
  assert extended.tolist() == [[1, 2, 0], [0, 0, 0], [1, 2, 1], [2, 1, 0], [1, 2, 2]]
  assert collision_rate(codes_NxL) == pytest.approx(3 / 5)
  assert largest_group(codes_NxL) == 3


def test_unique_codes_get_a_zero():
  assert add_extra_digit([[1], [0]], 2).tolist() == [[1, 0], [0, 0]]
  assert collision_rate([[1], [0]]) == 0


@given(CODES, st.integers(3, 9))
def test_matches_a_count_of_each_tuple(codes_NxL, codebook_size):
  extended = add_extra_digit(codes_NxL, codebook_size)
  seen: Counter = Counter()
  for before, after in zip(codes_NxL.tolist(), extended.tolist(), strict=True):
    number = sum(d * codebook_size**p for p, d in enumerate(after[len(before) :]))
    assert after[: len(before)] == before
    assert number == seen[tuple(before)]
    seen[tuple(before)] += 1
  assert len(set(map(tuple, extended.tolist()))) == len(codes_NxL)
  assert extended.size == 0 or extended.max() < codebook_size
  assert largest_group(codes_NxL) == max(seen.values(), default=0)
  shared = sum(count for count in seen.values() if count > 1)
  assert collision_rate(codes_NxL) == pytest.approx(shared / max(len(codes_NxL), 1))


def test_digits_grow_exactly_when_needed():
  assert add_extra_digit(np.zeros((3, 1), int), 3).shape == (3, 2)
  grown = add_extra_digit(np.zeros((4, 1), int), 3)
  assert grown.tolist() == [[0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 1]]
  assert add_extra_digit(np.zeros((3, 1), int), 3, max_digits=1).shape == (3, 2)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (([[1, 2]] * 4, 3, 1), r"4 items share the tuple \[1, 2\].*allow max_digits=2"),
    (([[1, 2]], 3, 0), "max_digits is 0; give at least 1"),
    (([[1, 3]], 3), r"token 3 at \[0, 1\] is outside 0\.\.2"),
    (([1, 2], 3), r"codes have shape \(2,\); give \[items, levels\]"),
    (([[0.5]], 3), "tokens must be integers"),
    (([[0]], 1), "codebook_size is 1"),
  ],
)
def test_bad_arguments(arguments, message):
  with pytest.raises(ValueError, match=message):
    add_extra_digit(*arguments)


def test_a_million_items():
  codes_NxL = np.random.default_rng(0).integers(0, 256, (1_000_000, 3))
  groups = group(add_extra_digit(codes_NxL, 256))
  assert len(groups.size_G) == 1_000_000
