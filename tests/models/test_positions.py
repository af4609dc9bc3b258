"""Places within segments, and T5's buckets of distances."""

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.models.positions import RelativeBias, buckets, positions


def test_positions_count_within_segments():
  segments = jnp.asarray([[0, 0, 1, 1, 1, 9], [0, 0, 0, 0, 0, 0]], jnp.int32)
  np.testing.assert_array_equal(positions(segments), [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]])


def test_buckets_in_both_directions():
  """Values of T5 with 32 buckets up to 128: 8 exact ones, then 2 for each doubling."""
  bucket_SxS = buckets(301, bidirectional=True)
  behind = {0: 0, 1: 1, 7: 7, 8: 8, 11: 8, 12: 9, 15: 9, 16: 10, 22: 10, 23: 11, 32: 12, 64: 14}
  behind |= {90: 14, 91: 15, 127: 15, 128: 15, 300: 15}
  for distance, bucket in behind.items():
    assert bucket_SxS[300, 300 - distance] == bucket, distance
    if distance:
      assert bucket_SxS[0, distance] == 16 + bucket, distance


def test_buckets_of_the_past_alone():
  bucket_SxS = buckets(301, bidirectional=False)
  for distance, bucket in {0: 0, 1: 1, 15: 15, 16: 16, 32: 21, 64: 26, 127: 31, 300: 31}.items():
    assert bucket_SxS[300, 300 - distance] == bucket, distance
  assert (bucket_SxS[np.triu_indices(301)] == 0).all()


def test_bias_depends_on_head_and_bucket_alone():
  bias = RelativeBias(heads=3, bidirectional=True)
  variables = bias.init(jax.random.key(0), 4)
  bias_HxSxS = np.asarray(bias.apply(variables, 40))
  assert bias_HxSxS.shape == (3, 40, 40)
  bucket_SxS = buckets(40, bidirectional=True)
  for bucket in np.unique(bucket_SxS):
    assert (np.ptp(bias_HxSxS[:, bucket_SxS == bucket], axis=1) == 0).all()
  used = len(np.unique(bucket_SxS))
  assert len(np.unique(bias_HxSxS)) == 3 * used
