"""The views and the validation of a data set."""

import numpy as np
import pytest

from sidrec.data import dataset


def _small() -> dataset.Dataset:
  """User 7: items 0 1 2; user 9: items 2 0 1 2 0."""
  histories = dataset.Histories(
    offsets_Up1=np.array([0, 3, 8]),
    item_T=np.array([0, 1, 2, 2, 0, 1, 2, 0], np.int32),
    time_T=np.array([5, 5, 6, 1, 2, 3, 3, 4]),
    rating_T=np.arange(8, dtype=np.float32),
    user_ids_U=np.array([7, 9]),
  )
  items = dataset.Items(
    ids_N=np.array([10, 20, 30]),
    titles_N=np.array(["a", "", "c"]),
    categories_C=np.array(["x", "y"]),
    category_offsets_Np1=np.array([0, 2, 2, 3]),
    category_E=np.array([1, 0, 1], np.int32),
    numeric={"year": np.array([1990, np.nan, 2000], np.float32)},
    text_N=np.array(["", "", ""]),
  )
  return dataset.Dataset("small", histories, items, ())


def test_training_view_leaves_out_the_last_two() -> None:
  histories = dataset.training_view(_small().histories)
  assert histories.of(0).tolist() == [0]
  assert histories.of(1).tolist() == [2, 0, 1]
  assert histories.time_T.tolist() == [5, 1, 2, 3]
  assert histories.rating_T.tolist() == [0, 3, 4, 5]
  assert histories.lengths_U.tolist() == [1, 3]


def test_held_out_views() -> None:
  valid = dataset.held_out_view(_small().histories, "valid")
  assert valid.target_U.tolist() == [1, 2]
  assert [valid.histories.of(u).tolist() for u in (0, 1)] == [[0], [2, 0, 1]]
  test = dataset.held_out_view(_small().histories, "test")
  assert test.target_U.tolist() == [2, 0]
  assert [test.histories.of(u).tolist() for u in (0, 1)] == [[0, 1], [2, 0, 1, 2]]


def test_held_out_targets_never_stand_in_the_training_view() -> None:
  rng = np.random.default_rng(0)
  lengths_U = rng.integers(3, 12, 50)
  total = int(lengths_U.sum())
  histories = dataset.Histories(
    offsets_Up1=np.concatenate([[0], np.cumsum(lengths_U)]),
    item_T=np.arange(total, dtype=np.int32),  # every interaction has an item of its own
    time_T=np.zeros(total, np.int64),
    rating_T=np.zeros(total, np.float32),
    user_ids_U=np.arange(50),
  )
  train = set(dataset.training_view(histories).item_T.tolist())
  valid = set(dataset.held_out_view(histories, "valid").target_U.tolist())
  test = set(dataset.held_out_view(histories, "test").target_U.tolist())
  assert len(train) + len(valid) + len(test) == total
  assert train | valid | test == set(range(total))


def test_first_events_of_some_users() -> None:
  histories = dataset.first_events(_small().histories, np.array([1, 0]), np.array([1, 0]))
  assert histories.lengths_U.tolist() == [1, 0]
  assert histories.of(0).tolist() == [2]
  assert histories.user_ids_U.tolist() == _small().histories.user_ids_U[[1, 0]].tolist()


def test_held_out_view_refuses_other_splits_and_short_users() -> None:
  histories = _small().histories
  with pytest.raises(ValueError, match="'valid' or 'test', not 'train'"):
    dataset.held_out_view(histories, "train")
  with pytest.raises(ValueError, match="user 7 has fewer than 3 interactions"):
    dataset.held_out_view(
      histories._replace(user_ids_U=np.array([9, 7]), offsets_Up1=np.array([0, 6, 8])), "test"
    )


def test_categories_of() -> None:
  items = _small().items
  assert [items.categories_of(row) for row in range(3)] == [["y", "x"], [], ["y"]]


def test_validate_returns_a_sound_data_set() -> None:
  small = _small()
  assert dataset.validate(small) is small


@pytest.mark.parametrize(
  ("part", "changes", "message"),
  [
    ("items", {"ids_N": np.array([10, 20, 10])}, "item ids repeat"),
    ("items", {"ids_N": np.array([], int)}, "no items"),
    ("items", {"titles_N": np.array(["a", "b"])}, "'titles' has 2 of 3 rows"),
    ("items", {"text_N": np.array(["a"])}, "'text' has 1 of 3 rows"),
    ("items", {"numeric": {"price": np.zeros(4)}}, "'price' has 4 of 3 rows"),
    ("items", {"category_offsets_Np1": np.array([0, 2, 2, 2])}, "category offsets"),
    ("histories", {"user_ids_U": np.array([7, 7])}, "user ids repeat"),
    ("histories", {"user_ids_U": np.array([], int)}, "no users are left"),
    ("histories", {"offsets_Up1": np.array([0, 3, 7])}, "offsets do not cover"),
    ("histories", {"offsets_Up1": np.array([0, 9, 8])}, "offsets do not cover"),
    ("histories", {"rating_T": np.zeros(7)}, "columns differ in length"),
    ("histories", {"item_T": np.array([0, 1, 3, 2, 0, 1, 2, 0])}, "outside the catalogue"),
    ("histories", {"item_T": np.array([0, 1, -1, 2, 0, 1, 2, 0])}, "outside the catalogue"),
    ("histories", {"time_T": np.array([5, 5, 6, 1, 2, 3, 4, 3])}, "not ordered by time"),
  ],
)
def test_validate_names_what_breaks_the_contract(part: str, changes: dict, message: str) -> None:
  small = _small()
  broken = small._replace(**{part: getattr(small, part)._replace(**changes)})
  with pytest.raises(ValueError, match=f"data set 'small'.*{message}"):
    dataset.validate(broken)
