"""One target for each prefix: every prefix and its target once, wherever it stands in a row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import Windows, in_memory
from sidrec.data.prefix_batches import pack_mixed, prefix_batches

LENGTHS = [3, 0, 9, 5, 12, 1, 4, 2, 7]


def histories_of(lengths):
  """User u's items are 100·u, 100·u + 1, …, so that an item tells its user and place."""
  return make_histories([list(range(100 * u, 100 * u + n)) for u, n in enumerate(lengths)])


def expected_prefixes(lengths, history_length):
  return sorted(
    (*range(100 * u + max(0, at - history_length), 100 * u + at), 100 * u + at)
    for u, n in enumerate(lengths)
    for at in range(1, n)
  )


def prefixes_in(batch):
  """What a model that sees whole segments reads and predicts, from the arrays alone."""
  found = []
  for history_S, segment_S, target_Q, at_Q in zip(
    *(batch[name] for name in ("history_BxS", "segment_BxS", "target_BxQ", "at_BxQ")), strict=True
  ):
    for target, at in zip(target_Q, at_Q, strict=True):
      if target != NO_ITEM:
        seen_S = (segment_S == segment_S[at]) & (history_S != NO_ITEM)
        assert at == np.flatnonzero(seen_S)[-1]  # nothing of the segment comes later
        found.append((*history_S[seen_S].tolist(), int(target)))
  return found


@settings(max_examples=30)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 3))
def test_a_pass_holds_each_prefix_and_its_target_once(lengths, history_length, seed):
  expected = expected_prefixes(lengths, history_length)
  histories = histories_of(lengths)
  if not expected:
    with pytest.raises(ValueError, match="there is no training example"):
      prefix_batches(histories, history_length, 1, seed)
    return
  batch_at = prefix_batches(histories, history_length, 1, seed)
  found, step = [], 0
  while len(found) < len(expected):
    found += prefixes_in(batch_at(step))
    step += 1
  assert sorted(found) == expected


def test_processes_share_the_batch_and_other_seeds_give_another():
  histories = histories_of(LENGTHS)
  whole = prefix_batches(histories, 5, 4, 0)(1)
  parts = [prefix_batches(histories, 5, 4, 0, index, 2)(1) for index in range(2)]
  for name, value in whole.items():
    np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), value)
  assert prefixes_in(prefix_batches(histories, 5, 4, 1)(1)) != prefixes_in(whole)


def test_only_what_may_be_a_target_is_one():
  histories = histories_of(LENGTHS)
  target_T = histories.item_T % 3 == 0
  source = in_memory(histories)._replace(target_T=target_T)
  batch_at = prefix_batches(source, 5, 1, 0)
  expected = [p for p in expected_prefixes(LENGTHS, 5) if p[-1] % 3 == 0]
  found = []
  while len(found) < len(expected):
    found += prefixes_in(batch_at(len(found)))
  assert {p[-1] for p in found} <= {p[-1] for p in expected}


def test_rows_are_almost_full_and_hold_about_as_many_windows_each():
  size_W = np.minimum(np.random.default_rng(0).geometric(0.15, 5000), 50)
  windows = Windows(np.zeros(5000, np.int64), size_W.astype(np.int64) + 1)
  rows, room = pack_mixed(windows, 50, seed=0)
  count_R = np.diff(rows.offsets_Rp1)
  assert sorted(rows.window_W) == list(range(5000))
  filled_R = np.add.reduceat(size_W[rows.window_W], rows.offsets_Rp1[:-1])
  assert filled_R.max() <= 50
  assert count_R.max() <= room
  assert filled_R.mean() > 0.85 * 50
  assert count_R.mean() > 0.7 * room
