"""Items held out of everything: which are drawn, and that leave-last-out stays honest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_dataset

from sidrec.data.dataset import training_view, validate
from sidrec.data.held_out_items import draw_items, without_items


def test_a_draw_has_the_size_asked_for_and_repeats():
  drawn = draw_items(1000, 0.05, 0)
  assert drawn.sum() == 50
  np.testing.assert_array_equal(drawn, draw_items(1000, 0.05, 0))
  assert (drawn != draw_items(1000, 0.05, 1)).any()
  often = np.mean([draw_items(10, 0.3, seed) for seed in range(400)], axis=0)
  assert (abs(often - 0.3) < 0.1).all()


@pytest.mark.parametrize("share", [0, 0.001, 1])
def test_a_draw_of_nothing_or_everything_is_refused(share):
  with pytest.raises(ValueError, match="hold out at least one and not all"):
    draw_items(30, share, 0)


@given(
  st.lists(st.lists(st.integers(0, 29), min_size=3, max_size=8), min_size=2, max_size=6),
  st.integers(0, 99),
)
def test_nothing_is_trained_on_that_was_held_out_before(rows, seed):
  gone = draw_items(30, 0.2, seed)
  whole = make_dataset([*rows, np.flatnonzero(~gone)[:4].tolist()])
  left = validate(without_items(whole, gone))
  before = training_view(whole.histories)
  after = training_view(left.histories)
  row_of = {user: row for row, user in enumerate(whole.histories.user_ids_U.tolist())}
  for row, user in enumerate(left.histories.user_ids_U.tolist()):
    allowed = [item for item in before.of(row_of[user]).tolist() if not gone[item]]
    trained = left.items.ids_N[after.of(row)].tolist()
    assert trained == allowed[: len(trained)]
    # Nothing is lost where the last two interactions stay.
    if not gone[whole.histories.of(row_of[user])[-2:]].any():
      assert trained == allowed
    # Nor does it validate by what tests in the whole history.
    valid_time = left.histories.time_T[left.histories.offsets_Up1[row + 1] - 2]
    assert valid_time < whole.histories.time_T[whole.histories.offsets_Up1[row_of[user] + 1] - 1]
  assert not np.isin(left.items.ids_N, np.flatnonzero(gone)).any()


def test_the_catalogue_keeps_what_it_says_of_the_others():
  whole = make_dataset()
  gone = draw_items(30, 0.2, 0)
  left = without_items(whole, gone)
  assert left.items.ids_N.tolist() == np.flatnonzero(~gone).tolist()
  for row, item in enumerate(left.items.ids_N.tolist()):
    assert left.items.titles_N[row] == whole.items.titles_N[item]
    assert left.items.categories_of(row) == whole.items.categories_of(item)
  assert "held out 6 of 30 items" in left.notes[-2]
