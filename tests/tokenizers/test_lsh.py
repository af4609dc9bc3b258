"""Random hyperplanes: the collision probability, flips by margin, and awkward inputs."""

import jax
import numpy as np
import pytest
from scipy.stats import norm

from sidrec.tokenizers.lsh import lsh
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.settings import LSHSettings, TokenizerConfig

HASH = lsh(num_levels=3, codebook_size=16)


def gaussian(num_items=300, width=10, mean=5.0, seed=0):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=(num_items, width)) + mean).astype(np.float32)


def bits_of(codes_NxL, num_bits):
  """Bits, the most significant first: bool [N, L * num_bits]."""
  shifts = np.arange(num_bits)[::-1]
  return ((codes_NxL[:, :, None] >> shifts) & 1).astype(bool).reshape(len(codes_NxL), -1)


@pytest.fixture(scope="module")
def vectors():
  return gaussian()


@pytest.fixture(scope="module")
def params(vectors):
  return HASH.fit(jax.random.key(0), vectors)


def margins_of(params, vectors):
  """Signed distances to the hyperplanes, in float64: [N, L, X]."""
  centred = np.asarray(vectors, np.float64) - np.asarray(params["mean_F"], np.float64)
  return np.einsum("nf,lmf->nlm", centred, np.asarray(params["planes_LxXxF"], np.float64))


@pytest.mark.parametrize("angle", [0.1, 0.25, 0.5, 0.75])
def test_bits_collide_as_charikar_says(angle):
  """A bit differs with probability angle / π; 4096 independent bits, five deviations."""
  levels, num_bits, width = 512, 8, 24
  hashing = lsh(levels, 1 << num_bits)
  rng = np.random.default_rng(1)
  plane, _ = np.linalg.qr(rng.normal(size=(width, 2)))
  radians = np.pi * angle
  pair = np.array([[1, 0], [np.cos(radians), np.sin(radians)]]) @ plane.T * [[3.0], [0.2]]
  around_zero = np.concatenate([pair, -pair]).astype(np.float32)
  params = hashing.fit(jax.random.key(int(100 * angle)), around_zero)
  one, other = bits_of(hashing.encode(params, pair.astype(np.float32)), num_bits)
  count = levels * num_bits
  error = np.sqrt(angle * (1 - angle) / count)
  assert abs((one == other).mean() - (1 - angle)) < norm.isf(1e-6) * error


def test_codes_are_the_sides_of_the_hyperplanes(params, vectors):
  codes = HASH.encode(params, vectors)
  assert codes.dtype == np.int32
  assert codes.shape == (300, 3)
  np.testing.assert_array_equal(
    bits_of(codes, 4).reshape(300, 3, 4), margins_of(params, vectors) > 0
  )


def test_normals_have_length_1(params):
  """So margins are distances, and the bits of all levels weigh alike."""
  np.testing.assert_allclose(np.linalg.norm(params["planes_LxXxF"], axis=-1), 1, rtol=1e-5)


def test_centring_splits_vectors_that_are_far_from_zero(params, vectors):
  """Gaussian vectors around a distant mean: hyperplanes through the mean halve them."""
  codes = HASH.encode(params, vectors)
  assert (abs(bits_of(codes, 4).mean(axis=0) - 0.5) < 0.15).all()
  codes = HASH.encode({**params, "mean_F": np.zeros(10, np.float32)}, vectors)
  assert (abs(bits_of(codes, 4).mean(axis=0) - 0.5) > 0.4).mean() > 0.5


@pytest.mark.parametrize("level", [0, 2])
def test_costs_are_squared_margins_of_the_bits_that_differ(params, vectors, level):
  codes = HASH.encode(params, vectors)
  costs = HASH.costs(params, vectors, codes, level)
  squares = np.square(margins_of(params, vectors)[:, level])
  bits = (np.arange(16)[:, None] >> np.arange(4)[::-1]) & 1
  differ = bits[codes[:, level]][:, None, :] != bits[None]
  np.testing.assert_allclose(costs, (squares[:, None] * differ).sum(-1), rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(costs.argmin(1), codes[:, level])
  assert (costs[np.arange(300), codes[:, level]] == 0).all()


def test_the_cheapest_other_code_flips_the_least_certain_bit(params, vectors):
  codes = HASH.encode(params, vectors)
  costs = HASH.costs(params, vectors, codes, 1)
  least_certain = abs(margins_of(params, vectors)[:, 1]).argmin(axis=1)
  np.testing.assert_array_equal(
    costs.argsort(axis=1)[:, 1], codes[:, 1] ^ (1 << (3 - least_certain))
  )


def test_costs_refuse_a_level_that_is_not_there(params, vectors):
  with pytest.raises(ValueError, match=r"level 3 is outside 0\.\.2"):
    HASH.costs(params, vectors, HASH.encode(params, vectors), 3)


def test_the_key_decides(params, vectors):
  again = HASH.fit(jax.random.key(0), vectors)
  jax.tree.map(np.testing.assert_array_equal, params, again)
  other = HASH.encode(HASH.fit(jax.random.key(1), vectors), vectors)
  assert (other != HASH.encode(params, vectors)).any()


def test_an_item_alone_gets_the_code_that_it_gets_among_many(params):
  unseen = gaussian(num_items=5000, seed=9)
  codes = HASH.encode(params, unseen)
  assert codes.min() >= 0
  assert codes.max() < 16
  for row in (0, 17, 4999):
    np.testing.assert_array_equal(HASH.encode(params, unseen[row : row + 1])[0], codes[row])


def test_codes_do_not_depend_on_distance_from_the_mean(params, vectors):
  mean = np.asarray(params["mean_F"])
  farther = mean + 4 * (vectors - mean)
  np.testing.assert_array_equal(HASH.encode(params, farther), HASH.encode(params, vectors))


@pytest.mark.parametrize(
  "vectors",
  [np.zeros((5, 4)), np.ones((6, 1)), np.full((1, 3), 7.0), np.repeat([[0.0, 1.0]], 4, axis=0)],
  ids=["zeros", "one column", "one item", "duplicates"],
)
def test_items_that_do_not_differ_get_code_0(vectors):
  params = HASH.fit(jax.random.key(0), vectors.astype(np.float32))
  codes = HASH.encode(params, vectors.astype(np.float32))
  assert (codes == 0).all()  # all lie on the mean, so on every hyperplane
  costs = HASH.costs(params, vectors.astype(np.float32), codes, 0)
  assert np.isfinite(costs).all()


def test_bad_vectors_are_refused(params, vectors):
  spoilt = vectors.copy()
  spoilt[7, 2] = np.nan
  with pytest.raises(ValueError, match="row 7"):
    HASH.fit(jax.random.key(0), spoilt)
  with pytest.raises(ValueError, match="row 7"):
    HASH.encode(params, spoilt)
  with pytest.raises(ValueError, match="fitted on width 10"):
    HASH.encode(params, vectors[:, :4])


@pytest.mark.parametrize("size", [3, 6, 100, 255])
def test_codebook_sizes_must_be_powers_of_two(size):
  with pytest.raises(ValueError, match=f"codebook_size is {size}; hashing needs a power of two"):
    lsh(2, size)


def test_the_hint_names_the_powers_of_two_around():
  with pytest.raises(ValueError, match="such as 64 or 128"):
    lsh(2, 100)


def test_planes_may_go_through_the_origin():
  vectors = np.random.default_rng(0).normal(5.0, 1.0, (200, 4)).astype(np.float32)
  config = TokenizerConfig("lsh", num_levels=2, codebook_size=16, lsh=LSHSettings(centre=False))
  plain, centred = make_tokenizer(config, None), lsh(2, 16)
  params = plain.fit(jax.random.key(0), vectors)
  assert not np.asarray(params["mean_F"]).any()
  # Far from the origin, most items lie on one side of planes through it.
  codes = np.asarray(plain.encode(params, vectors))
  spread = np.asarray(centred.encode(centred.fit(jax.random.key(0), vectors), vectors))
  assert len(np.unique(codes, axis=0)) < len(np.unique(spread, axis=0)) / 2
  np.testing.assert_array_equal(plain.encode(params, 3 * vectors), codes)
