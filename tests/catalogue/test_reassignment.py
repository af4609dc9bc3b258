"""Re-assignment, against a plain search that places one item after another."""

import itertools
import json
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.catalogue import reassignment as reassign_lib
from sidrec.catalogue.reassignment import place_items, reassign
from sidrec.core.codes import group
from sidrec.tokenizers.base import Fitted, Tokenizer

INF = float("inf")


def table_costs(seed, num_items, num_levels, size):
  """Costs that depend on the item, all codes above and the code; few values, so many ties.

  An item's vector is its number.
  """
  rng = np.random.default_rng(seed)
  values = np.array([0.0, 1.0, 2.0, 5.0, INF], np.float32)
  tables = [
    rng.choice(values, (num_items, size**level, size), p=[0.3, 0.25, 0.2, 0.15, 0.1])
    for level in range(num_levels)
  ]

  def costs(vectors_BxF, codes_BxL, level):
    path_B = np.zeros(len(codes_BxL), np.int64)
    for code_B in codes_BxL[:, :level].T:
      path_B = path_B * size + code_B
    return tables[level][vectors_BxF[:, 0].astype(int), path_B]

  return costs


def vectors_of(num_items):
  return np.arange(num_items, dtype=np.float32)[:, None]


def plain(codes, costs, size, taken=(), capacity=1):
  """The rule, one item at a time: new tuples, each mover's level, movers without a codeword."""
  codes = [tuple(row) for row in codes]
  num_levels = len(codes[0])
  vectors = vectors_of(len(codes))
  cost = lambda row, path, level: costs(
    vectors[row : row + 1], np.array([[*path, *[0] * (num_levels - len(path))]]), level
  )[0]
  held = Counter(map(tuple, taken))
  own = [cost(row, codes[row][:-1], num_levels - 1)[codes[row][-1]] for row in range(len(codes))]
  order = sorted(range(len(codes)), key=lambda row: (codes[row], own[row], row))
  waiting = []
  for row in order:
    if held[codes[row]] < capacity:
      held[codes[row]] += 1
    else:
      waiting.append(row)
  has_room = lambda path: (
    sum(n for t, n in held.items() if t[: len(path)] == path)
    < capacity * size ** (num_levels - len(path))
  )
  new, moved, without_codeword = list(codes), {}, 0
  for top in reversed(range(num_levels)):
    left = []
    for row in waiting:
      path = codes[row][:top]
      if not has_room(path):
        left.append(row)
        continue
      known = True
      for level in range(top, num_levels):
        price = cost(row, path, level)
        path += (min((c for c in range(size) if has_room((*path, c))), key=lambda c: price[c]),)
        known &= price[path[-1]] < INF
      held[path] += 1
      new[row], moved[row] = path, top
      without_codeword += not known
    waiting = left
  assert not waiting
  return new, moved, without_codeword


@st.composite
def problems(draw):
  size, num_levels = draw(st.integers(2, 3)), draw(st.integers(1, 3))
  capacity = draw(st.integers(1, 2))
  tuples = list(itertools.product(range(size), repeat=num_levels))
  places = tuples * capacity
  taken = draw(st.lists(st.sampled_from(range(len(places))), unique=True, max_size=len(places) - 1))
  room = len(places) - len(taken)
  num_items = draw(st.integers(1, room) | st.just(room))  # often exactly full
  codes = draw(st.lists(st.sampled_from(tuples), min_size=num_items, max_size=num_items))
  seed = draw(st.integers(0, 2**32 - 1))
  return size, capacity, [places[p] for p in taken], codes, seed


@settings(max_examples=300)
@given(problems(), st.sampled_from([1, 2, 4096]))
def test_matches_the_plain_search(problem, block_size):
  size, capacity, taken, codes, seed = problem
  num_levels = len(codes[0])
  costs = table_costs(seed, len(codes), num_levels, size)
  taken_XxL = np.array(taken, int).reshape(-1, num_levels)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reassign_lib, "BLOCK_SIZE", block_size)
    made = reassign(np.array(codes), vectors_of(len(codes)), costs, size, taken_XxL, capacity)
  expected, moved, without_codeword = plain(codes, costs, size, taken, capacity)
  assert made.codes_NxL.dtype == np.int32
  assert list(map(tuple, made.codes_NxL.tolist())) == expected
  assert made.moved_R.tolist() == sorted(moved)
  # Said again without the plain search: nobody is left, and only crowded tuples change.
  held = Counter(taken) + Counter(expected)
  assert held.total() == len(taken) + len(codes)
  assert max(held.values()) <= capacity
  crowd = Counter(taken) + Counter(codes)
  assert all(n == o for n, o in zip(expected, codes, strict=True) if crowd[o] <= capacity)
  kept = Counter(o for n, o in zip(expected, codes, strict=True) if n == o)
  at_start = Counter(taken)
  assert all(kept[t] == min(n, capacity) - at_start[t] for t, n in crowd.items())
  report = json.loads(json.dumps(made.report, allow_nan=False))
  assert report["moved"] == len(moved)
  assert report["without_codeword"] == without_codeword
  assert report["share_moved"] == len(moved) / len(codes)
  levels = Counter(moved.values())
  assert [row["moved"] for row in report["levels"]] == [levels[k] for k in range(num_levels)]


def line_costs(vectors_BxF, codes_BxL, level):
  """Codes are the points 0, 1, 2, 3 on a line, at both levels the same."""
  return np.square(vectors_BxF - np.arange(4, dtype=np.float32)[None])


def test_known_case():
  vectors = np.array([[1.0], [1.2], [0.9], [1.4], [3.0]], np.float32)
  codes = np.array([[1, 1], [1, 1], [1, 1], [1, 1], [2, 3]])
  made = reassign(codes, vectors, line_costs, 4)
  # Row 0 is at its codeword; then 0.9 goes to 0, 1.2 to 2, and 1.4 to what is left, 3.
  assert made.codes_NxL.tolist() == [[1, 1], [1, 2], [1, 0], [1, 3], [2, 3]]
  assert made.moved_R.tolist() == [1, 2, 3]
  first, last = made.report["levels"]
  assert first == {
    "level": 1,
    "moved": 0,
    "own_cost_mean": None,
    "extra_cost_mean": None,
    "extra_cost_max": None,
    "extra_relative": None,
  }
  own = (0.1**2 + 0.2**2 + 0.4**2) / 3
  extra = ((0.9**2 - 0.1**2) + (0.8**2 - 0.2**2) + (1.6**2 - 0.4**2)) / 3
  assert last == {
    "level": 2,
    "moved": 3,
    "own_cost_mean": pytest.approx(own),
    "extra_cost_mean": pytest.approx(extra),
    "extra_cost_max": pytest.approx(1.6**2 - 0.4**2),
    "extra_relative": pytest.approx(extra / own),
  }
  assert made.report["without_codeword"] == 0


def test_a_full_prefix_sends_the_farthest_item_to_the_level_above():
  vectors = np.array([[1.6], [1.0], [1.0], [1.0], [1.0]], np.float32)
  made = reassign(np.ones((5, 2), int), vectors, line_costs, 4)
  assert made.codes_NxL.tolist() == [[2, 2], [1, 1], [1, 0], [1, 2], [1, 3]]
  assert [row["moved"] for row in made.report["levels"]] == [1, 3]
  assert made.report["levels"][0]["extra_cost_mean"] == pytest.approx(0.4**2 - 0.6**2)


def test_codes_that_stand_for_nothing_come_last_and_are_counted():
  costs = lambda vectors, codes, level: np.array([[INF, INF, 7.0, 0.0]] * len(vectors))
  made = reassign(np.full((4, 1), 3), np.zeros((4, 1)), costs, 4)
  assert made.codes_NxL.tolist() == [[3], [2], [0], [1]]
  assert made.report["without_codeword"] == 2
  assert made.report["levels"][0]["extra_cost_mean"] == 7
  assert made.report["levels"][0]["extra_relative"] is None  # the own cost is 0


def test_the_given_codes_are_not_changed():
  codes = np.array([[1, 1], [1, 1]], np.int32)
  reassign(codes, np.zeros((2, 1), np.float32), line_costs, 4)
  assert codes.tolist() == [[1, 1], [1, 1]]


def test_nothing_collides():
  def costs(*_):
    raise AssertionError("nothing has to be measured")

  made = reassign(np.array([[1, 0], [0, 1]]), np.zeros((2, 1)), costs, 2)
  assert made.codes_NxL.tolist() == [[1, 0], [0, 1]]
  assert (made.moved_R.tolist(), made.report["moved"]) == ([], 0)


def test_large_codebooks_and_many_levels_do_not_overflow():
  costs = lambda vectors, codes, level: np.abs(np.arange(5000.0)[None] - vectors)
  codes = np.full((3, 8), 4999)
  made = reassign(codes, np.full((3, 1), 4999.0), costs, 5000)
  assert made.codes_NxL[:, -1].tolist() == [4999, 4998, 4997]
  full = np.array([[7] * 7 + [c] for c in range(5000)])
  moved = reassign(np.full((1, 8), 7), np.full((1, 1), 7.0), costs, 5000, full)
  assert moved.codes_NxL.tolist() == [[7] * 6 + [6, 7]]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"costs": None}, "no costs to find the nearest free codes by; .* extra_digit"),
    ({"codes_NxL": np.zeros((3, 1), int)}, "3 items do not fit in 1 levels of 2"),
    ({"taken_XxL": np.zeros((1, 1), int)}, "3 items do not fit in 1 .*of 2 codes.* 2 levels would"),
    ({"costs": lambda v, *_: np.full((len(v), 2), np.nan)}, "the costs of item 0 are NaN"),
    ({"costs": lambda v, *_: np.zeros((len(v), 3))}, r"costs have shape \(2, 3\), not \(2, 2\)"),
  ],
)
def test_bad_arguments(change, message):
  arguments = {
    "codes_NxL": np.zeros((2, 1), int),
    "vectors_NxF": np.zeros((2, 1)),
    "costs": lambda v, *_: np.zeros((len(v), 2)),
    "codebook_size": 2,
  } | change
  with pytest.raises(ValueError, match=message):
    reassign(**arguments)


def test_taken_codes_must_be_unique():
  costs = lambda v, *_: np.zeros((len(v), 4))
  with pytest.raises(ValueError, match=r"2 taken items share the tuple \[3\], which may have 1"):
    reassign(np.zeros((1, 1), int), np.zeros((1, 1)), costs, 4, np.array([[3], [3]]))


def test_a_million_items():
  """5% collide; the search is a small part of a minute."""
  rng = np.random.default_rng(0)
  size = 256
  codes = rng.integers(0, size, (1_000_000, 3))
  codes[:, 0] %= 150  # about 10 million tuples are in reach: 5% collide, some prefixes are crowded
  codes[:2000, :2] = 7
  cost_V = rng.random(size, np.float32)
  costs = lambda vectors, codes, level: np.broadcast_to(cost_V, (len(vectors), size))
  start = time.perf_counter()
  made = reassign(codes, np.zeros((len(codes), 1), np.float32), costs, size)
  seconds = time.perf_counter() - start
  assert len(group(made.codes_NxL).size_G) == 1_000_000
  assert made.report["moved"] > 45_000
  assert made.report["levels"][1]["moved"] > 1700
  assert seconds < 30


def toy(num_levels, size, with_costs=True):
  """A tokenizer whose params are code tuples; an item's vector is its row of them."""
  encode = lambda params, vectors: np.asarray(params)[vectors[:, 0].astype(int)]
  costs = lambda params, vectors, codes, level: np.abs(
    np.arange(size)[None] - np.asarray(params)[vectors[:, 0].astype(int), level][:, None]
  )
  return Tokenizer(
    "toy", num_levels, size, lambda *_: None, encode, None, costs if with_costs else None
  )


def test_placed_items_fill_the_gaps_of_their_tuple():
  taken = np.array([[1, 1, 0], [1, 1, 2], [0, 2, 1]])
  params = np.array([[1, 1], [0, 2], [2, 2], [1, 1]])
  placed = place_items(Fitted(toy(2, 4), params), vectors_of(4), taken)
  assert placed.tolist() == [[1, 1, 1], [0, 2, 0], [2, 2, 0], [1, 1, 3]]


def test_items_of_a_full_tuple_go_to_the_nearest_one_with_room():
  taken = np.array([[1, first, digit] for first in (1, 0) for digit in range(4)])
  params = np.array([[1, 1], [1, 2]])
  placed = place_items(Fitted(toy(2, 4), params), vectors_of(2), taken)
  assert placed.tolist() == [[1, 2, 0], [1, 2, 1]]
  without = place_items(Fitted(toy(2, 4, with_costs=False), params), vectors_of(2)[1:], taken)
  assert without.tolist() == [[1, 2, 0]]
  with pytest.raises(ValueError, match=r"the tuple \[1, 1\] .*'toy' has no costs"):
    place_items(Fitted(toy(2, 4, with_costs=False), params), vectors_of(2), taken)


def test_placed_without_extra_digits():
  taken = np.array([[1, 1], [1, 0]])
  placed = place_items(Fitted(toy(2, 4), np.array([[1, 1], [3, 3]])), vectors_of(2), taken)
  assert placed.tolist() == [[1, 2], [3, 3]]
