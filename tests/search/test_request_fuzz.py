"""Requests of any kind get lists of the catalogue, or ValueError or TypeError: nothing else.

SIDREC_FUZZ sets how many are tried.
"""

import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import all_codes, init_params, make_model

import sidrec
from sidrec.catalogue.titles import find_titles, title_key

EXAMPLES = int(os.environ.get("SIDREC_FUZZ", "25"))
NUM_ITEMS = 30
MODEL, TRIE, PATH = make_model(all_codes(2, 6)[:NUM_ITEMS])
PARAMS = init_params(MODEL, TRIE, PATH)

numbers = st.one_of(
  st.integers(-1, NUM_ITEMS - 1),
  st.integers(-3, NUM_ITEMS + 3),
  st.sampled_from([2**31 - 1, -(2**31), 2**32, 2**32 + 3, 2**63, 255]),
)
things = st.one_of(numbers, st.floats(), st.booleans(), st.text(max_size=2), st.none())
TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint32", "float32", "bool", "object", "U3"]


def arrays(widths):
  """Arrays of two rows; what does not fit the type wraps, as numpy does it."""

  def make(rows, dtype):
    return np.array(rows, object).astype(np.int64, casting="unsafe").astype(dtype)

  small = st.integers(-2, 2**31)
  rows = st.sampled_from(widths).flatmap(
    lambda width: st.lists(
      st.lists(st.one_of(st.integers(-1, NUM_ITEMS), small), min_size=width, max_size=width),
      min_size=2,
      max_size=2,
    )
  )
  return st.builds(make, rows, st.sampled_from(TYPES))


def lists(of):
  return st.lists(st.lists(of, min_size=2, max_size=2), min_size=2, max_size=2)


sorted_lists = st.lists(
  st.lists(st.integers(0, NUM_ITEMS - 1), min_size=2, max_size=2), min_size=2, max_size=2
)
histories = st.one_of(sorted_lists, lists(numbers), lists(things), arrays([2, 4]), things)
filters = st.one_of(sorted_lists, lists(numbers), arrays([16]), lists(things), things)


def in_catalogue(rows, least):
  return all(least <= row < NUM_ITEMS for items in np.asarray(rows).tolist() for row in items)


@settings(max_examples=EXAMPLES)
@given(histories, filters, filters, st.sampled_from([5, 5, 5, 0, -3, 51, 2.0, "5", None]))
def test_requests(history, forbidden, allowed, k):
  try:
    lists = sidrec.Filters(forbidden, allowed)
    found = sidrec.recommend(PARAMS, TRIE, history, k, lists, model=MODEL)
  except (ValueError, TypeError):
    return
  assert in_catalogue(history, -1)
  assert k in (5, 51)  # without settings of its own, a search has as many beams as results
  as_rows = lambda x, b: {row for row in np.asarray(x[b]).tolist() if 0 <= row < NUM_ITEMS}
  for b in range(2):
    got = np.asarray(found.item_BxK[b])[np.asarray(found.valid_BxK[b])].tolist()
    may = set(range(NUM_ITEMS)) if allowed is None else as_rows(allowed, b)
    may -= set() if forbidden is None else as_rows(forbidden, b)
    assert set(got) <= may
    assert len(got) == min(k, len(may))


words = st.text(st.sampled_from("aBc ,#+-é\u0301े(19)\x1b"), max_size=12)


@settings(max_examples=EXAMPLES)
@given(st.text(max_size=60) | words, st.lists(words, min_size=1, max_size=12))
def test_titles(text, titles):
  found = find_titles(text, titles)
  assert all(0 <= row < len(titles) for row in [*found.items, *found.loose.values()])
  for title in titles:
    rows = [row for row, other in enumerate(titles) if other.strip() == title.strip()]
    if title_key(title):
      alone = find_titles(title, titles)
      assert (alone.items == rows) if len(rows) == 1 else (list(*alone.ambiguous.values()) == rows)
