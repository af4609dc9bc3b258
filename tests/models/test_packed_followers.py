"""How followers are kept: rows stay, and how strongly they follow stays to a few percent."""

import jax
import numpy as np
import pytest

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models import packed_followers
from sidrec.models.packed_followers import moved, pack, unpack

ROW = np.array([[3, 0, NO_ITEM], [2, NO_ITEM, NO_ITEM], [NO_ITEM] * 3, [1, 3, 2]], np.int32)
SIMILARITY = np.array([[7.3, 0.02, 0], [1, 0, 0], [0, 0, 0], [90, 3e-5, 2e-6]], np.float32)


def unpacked(row, step):
  return tuple(map(np.asarray, jax.jit(unpack)(row, step)))


def test_rows_are_exact_and_similarities_within_half_a_step():
  row, step = pack(ROW, SIMILARITY)
  assert (row.dtype, step.dtype) == (np.uint16, np.uint8)
  found_row, found = unpacked(row, step)
  np.testing.assert_array_equal(found_row, ROW)
  np.testing.assert_allclose(found, SIMILARITY, rtol=2 ** (1 / 16) - 1 + 1e-6)
  assert (found[ROW == NO_ITEM] == 0).all()
  assert (found != SIMILARITY).any()


@pytest.mark.parametrize(("items", "dtype"), [(2**16 - 1, np.uint16), (2**16, np.int32)])
def test_the_last_row_of_a_catalogue_is_no_missing_one(items, dtype):
  last = np.full((items, 1), items - 1, np.int32)
  row, step = pack(last, np.ones((items, 1), np.float32))
  assert row.dtype == dtype
  found_row, found = unpacked(row, step)
  assert (found_row == items - 1).all()
  assert (found == 1).all()


def test_what_is_out_of_range_is_kept_as_the_end_of_it():
  row = np.zeros((1, 2), np.int32)
  _, found = unpacked(*pack(row, np.array([[1e-30, 1e30]], np.float32)))
  assert 0 < found[0, 0] < 1.1 * 2**-20
  assert found[0, 1] > 2**11


def test_tables_of_before_are_read_as_they_are():
  row, found = unpacked(ROW, SIMILARITY)
  np.testing.assert_array_equal(row, ROW)
  np.testing.assert_array_equal(found, SIMILARITY)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_moving_renumbers_rows_and_leaves_out_what_went(monkeypatch, block):
  monkeypatch.setattr(packed_followers, "_BLOCK", block)
  kept = pack(ROW, SIMILARITY)
  row, found = unpacked(*moved(*kept, np.array([3, 1, -1, 0, 2])))  # item 1 is 1 again
  assert row.tolist() == [[1, 0, 4], [4, -1, -1], [-1] * 3, [0, 3, -1], [-1] * 3]
  before = unpacked(*kept)[1]
  np.testing.assert_array_equal(found[[0, 1, 3]], before[[3, 1, 0]])
  assert (found[2] == 0).all()


def test_moving_packs_tables_of_before():
  for after, packed in zip(
    moved(ROW, SIMILARITY, np.arange(4)), pack(ROW, SIMILARITY), strict=True
  ):
    np.testing.assert_array_equal(after, packed)
    assert after.dtype == packed.dtype


def test_moving_to_where_they_are_changes_no_bit():
  kept = pack(ROW, SIMILARITY)
  for after, before in zip(moved(*kept, np.arange(4)), kept, strict=True):
    np.testing.assert_array_equal(after, before)
    assert after.dtype == before.dtype
