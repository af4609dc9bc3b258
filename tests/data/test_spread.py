"""Batches that are filled up to what devices share."""

import dataclasses

import numpy as np
import pytest
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import packed_batches, sliding_batches
from sidrec.data.inputs import InputsConfig
from sidrec.data.spread import spread

LENGTH = 5
HISTORIES = make_histories([list(range(user, user + 3 + user % 9)) for user in range(30)])
INPUTS = InputsConfig(gap=True, rating=True, earlier=3)


def packed(size, *process):
  return packed_batches(HISTORIES, LENGTH, size, 0, *process, inputs=INPUTS)


def sliding(size, *process):
  inputs = dataclasses.replace(INPUTS, earlier=0)
  return sliding_batches(HISTORIES, LENGTH, size, 0, *process, inputs=inputs)


@pytest.mark.parametrize("make", [packed, sliding])
@pytest.mark.parametrize("step", [0, 7])
def test_shares_are_the_batch_and_rows_of_nothing_behind_it(make, step):
  whole = make(6, 0, 1)(step)
  shares = [spread(make, 6, 16, process, 4)(step) for process in range(4)]
  for name, x_Bx in whole.items():
    rows = np.concatenate([share[name] for share in shares])
    assert rows.shape == (16, *x_Bx.shape[1:])
    assert rows.dtype == x_Bx.dtype
    np.testing.assert_array_equal(rows[:6], x_Bx)
    if name.startswith(("history_", "target_", "earlier_")):
      assert (rows[6:] == NO_ITEM).all()
    if name == "segment_BxS":
      # As in a row's own places without an event: a segment of their own.
      assert {LENGTH} == set(x_Bx[whole["history_BxS"] == NO_ITEM]) == set(rows[6:].flat)


def test_a_batch_that_fits_is_made_by_each_process_alone():
  asked = []
  make = lambda *settings: asked.append(settings) or packed(*settings)
  shares = [spread(make, 8, 8, process, 2)(3) for process in range(2)]
  assert asked == [(8, 0, 2), (8, 1, 2)]
  history_BxS = np.concatenate([share["history_BxS"] for share in shares])
  np.testing.assert_array_equal(history_BxS, packed(8)(3)["history_BxS"])
