"""Extra digits, against counts of each tuple."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sidrec.catalogue.collisions import add_extra_digit, extend_extra_digits, next_radix_codes
from sidrec.core.codes import collision_rate, group

CODES = hnp.arrays(
  np.int32,
  st.tuples(st.integers(0, 40), st.integers(1, 3)),
  elements={"min_value": 0, "max_value": 2},
)


def test_known_case():
  codes_NxL = np.array([[1, 2], [0, 0], [1, 2], [2, 1], [1, 2]])
  extended = add_extra_digit(codes_NxL, 4)
  assert extended.dtype == np.int32
  assert extended.tolist() == [[1, 2, 0], [0, 0, 0], [1, 2, 1], [2, 1, 0], [1, 2, 2]]
  assert collision_rate(codes_NxL) == pytest.approx(3 / 5)
  groups = group(codes_NxL)
  assert groups.size_G.tolist() == [1, 3, 1]
  assert groups.group_N.tolist() == [1, 0, 1, 2, 1]


def test_unique_codes_get_a_zero():
  codes_NxL = np.array([[1], [0]])
  assert add_extra_digit(codes_NxL, 2).tolist() == [[1, 0], [0, 0]]
  assert collision_rate(codes_NxL) == 0


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
  assert group(codes_NxL).size_G.max(initial=0) == max(seen.values(), default=0)
  shared = sum(count for count in seen.values() if count > 1)
  assert collision_rate(codes_NxL) == pytest.approx(shared / max(len(codes_NxL), 1))


def test_digits_grow_exactly_when_needed():
  assert add_extra_digit(np.zeros((3, 1), int), 3).shape == (3, 2)
  grown = add_extra_digit(np.zeros((4, 1), int), 3)
  assert grown.tolist() == [[0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 1]]


def number(digits, codebook_size):
  return sum(d * codebook_size**place for place, d in enumerate(digits))


@given(st.data(), st.integers(1, 3), st.integers(2, 3), st.integers(1, 2))
def test_new_items_get_the_lowest_free_numbers(data, num_digits, codebook_size, num_levels):
  code = st.integers(0, codebook_size - 1)
  some_ids = st.lists(st.tuples(*[code] * (num_levels + num_digits)), unique=True, max_size=12)
  taken = data.draw(some_ids)
  codes = data.draw(st.lists(st.tuples(*[code] * num_levels), min_size=1, max_size=12))
  taken_NxX = np.array(taken, int).reshape(-1, num_levels + num_digits)
  used = {row: set() for row in [t[:num_levels] for t in taken] + codes}
  for row in taken:
    used[row[:num_levels]].add(number(row[num_levels:], codebook_size))
  expected, crowded = [], False
  for row in codes:
    lowest = next(n for n in range(100) if n not in used[row])
    used[row].add(lowest)
    expected.append((*row, lowest))
    crowded |= lowest >= codebook_size**num_digits
  if crowded:
    with pytest.raises(ValueError, match="has no free extra digit left"):
      extend_extra_digits(np.array(codes), codebook_size, taken_NxX)
    return
  made = extend_extra_digits(np.array(codes), codebook_size, taken_NxX)
  assert made.dtype == np.int32
  got = [(*row[:num_levels], number(row[num_levels:], codebook_size)) for row in made.tolist()]
  assert got == expected


def test_numbers_beyond_64_bits_take_no_low_slot():
  taken = np.array([[0] * 9 + [2**31 - 1], [0, *[2**31 - 1] * 9], [0, 1, *[0] * 8]])
  made = extend_extra_digits(np.zeros((4, 1), int), 2**31, taken)
  assert made[:, 1].tolist() == [0, 2, 3, 4]
  assert not made[:, 2:].any()


def test_a_full_tuple_is_named():
  with pytest.raises(ValueError, match=r"the tuple \[2\] has no free extra digit left .* 3 items"):
    extend_extra_digits(np.array([[1], [2]]), 3, np.array([[2, 0], [2, 1], [2, 2]]))


def test_base_conversion_fills_gaps_and_goes_on():
  # Numbers 0, 3 and 5 in base 3 are in use.
  taken = np.array([[0, 0], [0, 1], [2, 1]])
  made = next_radix_codes(4, 3, taken)
  assert [number(row, 3) for row in made.tolist()] == [1, 2, 4, 6]
  assert len(next_radix_codes(6, 3, taken)) == 6
  with pytest.raises(ValueError, match=r"7 new items and the 3 old ones do not fit .*id_length=3"):
    next_radix_codes(7, 3, taken)


def test_a_million_items():
  codes_NxL = np.random.default_rng(0).integers(0, 256, (1_000_000, 3))
  groups = group(add_extra_digit(codes_NxL, 256))
  assert len(groups.size_G) == 1_000_000
