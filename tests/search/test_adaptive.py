"""Only lists that are not certified are searched for again, and replace the first ones."""

import numpy as np
import pytest

from sidrec.parallel.mesh import make_mesh
from sidrec.search.adaptive import in_two_passes, make_adaptive_recommend_users
from sidrec.search.results import Certified
from sidrec.search.settings import SearchConfig


def lists_of(first_item, bound):
  """A search whose users get items from `first_item` on, with scores 0, -1, -2."""

  def recommend_users(params, histories, users_R, seen=None, shared=None):
    asked.append(users_R.tolist())
    item_RxK = first_item + 10 * users_R[:, None] + np.arange(3)
    score_RxK = np.broadcast_to(-np.arange(3.0), item_RxK.shape)
    return Certified(item_RxK, score_RxK, item_RxK >= 0, bound(users_R))

  asked = []
  return recommend_users, asked


@pytest.mark.parametrize("least", [0, 3, 9])
def test_only_what_is_not_certified_is_searched_for_again(least):
  """The first search certifies two results of the users from `least` on."""
  few, asked_few = lists_of(0, lambda users_R: np.where(users_R >= least, -1.0, -0.5))
  many, asked_many = lists_of(1000, lambda users_R: np.full(len(users_R), -0.875))
  users_R = np.array([8, 2, 4, 1])
  found = in_two_passes(few, many, 2)(None, None, users_R)
  again = [user for user in users_R.tolist() if user < least]
  assert asked_few == [users_R.tolist()]
  assert asked_many == ([again] if again else [])
  expected = [[base, base + 1] for base in 10 * users_R + 1000 * (users_R < least)]
  np.testing.assert_array_equal(found.item_BxK, expected)
  np.testing.assert_array_equal(found.bound_B, np.where(users_R < least, -0.875, -1.0))
  assert found.certified_B(1).all()
  np.testing.assert_array_equal(found.certified_B(2), users_R >= least)


@pytest.mark.parametrize(("first_beams", "k"), [(8, 2), (2, 3), (4, 0)])
def test_numbers_that_make_no_sense_are_refused(first_beams, k):
  with pytest.raises(ValueError, match="first_beams < beams"):
    make_adaptive_recommend_users(None, None, SearchConfig(beams=8), first_beams, k, make_mesh())
