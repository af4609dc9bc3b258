import jax
import numpy as np

from sidrec.models import item_softmax
from sidrec.models.item_softmax import draw_distinct


def test_blocks_divide_the_positions_and_keep_within_the_limit(monkeypatch):
  monkeypatch.setattr(item_softmax, "_MAX_SCORES", 1000)
  assert item_softmax._num_blocks(10, 10, 10) == 1
  assert item_softmax._num_blocks(10, 10, 11) == 2
  assert item_softmax._num_blocks(10, 10, 30) == 5  # 4 does not divide 10
  assert item_softmax._num_blocks(10, 10, 10_000) == 10  # more cannot be split


def test_draws_are_distinct_and_every_item_is_drawn_equally_often():
  draw = jax.jit(jax.vmap(lambda key: draw_distinct(key, 7, 3)))
  drawn_Tx3 = np.asarray(draw(jax.random.split(jax.random.key(0), 7000)))
  assert all(len(set(row)) == 3 for row in drawn_Tx3.tolist())
  count_N = np.bincount(drawn_Tx3.ravel(), minlength=7)
  assert len(count_N) == 7
  np.testing.assert_allclose(count_N, 3000, atol=200)  # over 4 standard deviations
  many = np.asarray(draw_distinct(jax.random.key(1), 10_000_000, 5000))  # 5e10 outgrows int32
  assert len(set(many.tolist())) == 5000
  assert (many.min(), many.max()) > (0, 9_900_000)
  assert many.max() < 10_000_000
  assert sorted(draw_distinct(jax.random.key(2), 5, 9).tolist()) == [0, 1, 2, 3, 4]
