"""What beams find and take: which users and beams are measured, and that figures survive a file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import HeldOut
from sidrec.evaluation import search_cost
from sidrec.evaluation.search_cost import BeamCount, SearchCost, from_json, to_json
from sidrec.evaluation.settings import SearchCostConfig


def cost_of(ranks, found=(), seconds=(2.0, 1.0, 4.0)):
  count = BeamCount(7, np.array(ranks), seconds, np.array(found, np.int64))
  users = np.arange(len(ranks))
  exact = np.full(len(found), 10)
  return SearchCost(users, (count,), exact, "" if len(found) else "why", "a machine")


def test_users_are_drawn_without_a_repeat_and_are_the_same_again():
  users_R = search_cost.draw(SearchCostConfig(users=40), 60)
  assert len(set(users_R.tolist())) == 40
  assert users_R.tolist() == search_cost.draw(SearchCostConfig(users=40), 60).tolist()
  assert sorted(search_cost.draw(SearchCostConfig(users=0), 60)) == list(range(60))


def test_the_runs_own_beams_are_always_measured_and_no_more_than_there_are_items():
  given_beams = SearchCostConfig(beams=(10, 50, 20))
  assert search_cost.beam_counts(given_beams, own=30, num_items=40) == [10, 20, 30]
  assert search_cost.beam_counts(given_beams, own=20, num_items=10) == [10, 20]


def test_an_exact_ranking_is_bounded_and_left_out_where_it_would_say_little():
  bounded = SearchCostConfig(exact_scores=1000)
  assert search_cost.num_exact(bounded, num_users=500, num_items=10) == 100
  assert search_cost.num_exact(bounded, num_users=50, num_items=10) == 50
  assert search_cost.num_exact(bounded, num_users=500, num_items=200) == 0
  assert search_cost.num_exact(bounded, num_users=3, num_items=10) == 3


@pytest.mark.parametrize("wrong", [{"beams": (0,)}, {"users": -1}, {"passes": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
  with pytest.raises(ValueError, match=r"evaluation\.search_cost"):
    SearchCostConfig(**wrong)


def test_a_search_is_timed_after_it_was_compiled_and_judged_by_targets_and_exact_lists():
  calls = []

  def search_of(name, item_UxK):
    def search(params, histories, users_R, seen):
      calls.append((name, len(users_R), seen is not None))
      item_RxK = np.array(item_UxK)[users_R]
      return item_RxK, np.zeros(item_RxK.shape), item_RxK != NO_ITEM

    return search

  held_out = HeldOut(make_histories([[5], [6], [7]]), np.array([1, 2, 3]))
  few = search_of("few", [[1, 0], [9, 8], [NO_ITEM, NO_ITEM]])
  many = search_of("many", [[0, 1, 2], [2, 9, 8], [4, 5, NO_ITEM]])
  exact = search_of("exact", [[0, 1, 2], [2, 8, 0], [4, NO_ITEM, NO_ITEM]])
  counts, exact_X = search_cost.measure(
    {2: few, 3: many}, exact, {}, held_out, np.array([2, 0, 1]), exact_users=2, passes=2
  )
  assert [count.rank_R.tolist() for count in counts] == [[-1, 0, -1], [-1, 1, 0]]
  assert [count.found_X.tolist() for count in counts] == [[0, 2], [1, 3]]
  assert exact_X.tolist() == [1, 3]
  assert calls == [(name, 3, True) for name in ["few", "many"] * 3] + [("exact", 2, True)]
  assert all(len(count.seconds) == 2 for count in counts)


@settings(max_examples=50)
@given(
  st.lists(st.integers(-1, 9), min_size=1, max_size=20),
  st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5),
  st.integers(0, 20),
)
def test_a_file_gives_back_what_was_measured(ranks, seconds, num_exact):
  found = np.arange(min(num_exact, len(ranks))) % 11
  cost = cost_of(ranks, found, tuple(seconds))
  again = from_json(json.loads(json.dumps(to_json(cost))))
  assert to_json(again) == to_json(cost)
  assert again.identity == cost.identity
  (one,) = again.counts
  assert one.metrics["recall@10"].mean() == np.mean(np.array(ranks) >= 0)
  assert one.users_per_second == pytest.approx(len(ranks) / np.median(seconds))
  share = again.share_of_exact(one)
  assert share is None if not len(found) else share == pytest.approx(found.mean() / 10)


@pytest.mark.parametrize(
  "change",
  [
    {"searches": []},
    {"users": [1]},
    {"split": "test"},
    {"exact": [10, 10]},
    {"searches": [{"beams": 7, "rank": [0, 1], "seconds": [0.0], "found": []}]},
    {"searches": None},
  ],
)
def test_a_garbled_file_is_noticed(change):
  with pytest.raises(ValueError, match="garbled"):
    from_json(to_json(cost_of([0, 1])) | change)
  with pytest.raises(ValueError, match="garbled"):
    from_json({})


def test_the_table_has_a_row_for_each_search():
  _, row = search_cost.table(cost_of([0, -1], [9]))
  assert row == ("7", "0.5000", "0.5000", "90.0%", "1")
  assert search_cost.table(cost_of([0, -1]))[1][3] == "–"
