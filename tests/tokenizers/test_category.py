"""Category paths: kept exactly, unseen ones, what the rest is given, and awkward inputs."""

import tracemalloc

import jax
import numpy as np
import pytest

from sidrec.tokenizers import base
from sidrec.tokenizers.base import Tokenizer
from sidrec.tokenizers.category import category, split_paths, with_paths
from sidrec.tokenizers.lsh import lsh
from sidrec.tokenizers.product_quantization import product_quantization
from sidrec.tokenizers.radix import radix

V = 16
QUANTIZED = category(2, V, product_quantization(2, V, 5))
HASHED = category(2, V, lsh(2, V))
BY_ORDER = category(2, V)


def catalogue(num_items=300, width=6, seed=0):
  """Paths of two levels, and vectors of which the path explains most: (path, vectors)."""
  rng = np.random.default_rng(seed)
  path = np.stack([rng.integers(4, size=num_items), rng.integers(3, size=num_items)], axis=1)
  centres = 5 * np.random.default_rng(99).normal(size=(4, 3, width))
  vectors = centres[path[:, 0], path[:, 1]] + rng.normal(size=(num_items, width))
  return path.astype(np.int32), vectors.astype(np.float32)


def recorder():
  """A tokenizer that keeps what it is given, and codes the sign of the first column."""
  given = {}

  def fit(key, vectors):
    given["fit"] = np.array(vectors)
    return {"width": np.array([vectors.shape[1]])}

  def encode(params, vectors):
    given["encode"] = np.array(vectors)
    return (vectors[:, :1] > 0).astype(np.int32)

  def costs(params, vectors, codes, level):
    given["costs"] = np.array(vectors), np.array(codes), level
    return np.zeros((len(vectors), V), np.float32)

  return Tokenizer("recorder", 1, V, fit, encode, costs=costs), given


@pytest.fixture(scope="module")
def path():
  return catalogue()[0]


@pytest.fixture(scope="module")
def joined():
  return with_paths(*catalogue())


@pytest.fixture(scope="module")
def params(joined):
  return QUANTIZED.fit(jax.random.key(0), joined)


@pytest.fixture(scope="module")
def codes(params, joined):
  return QUANTIZED.encode(params, joined)


def test_paths_travel_before_the_vectors():
  path, vectors = catalogue()
  path[0] = [0, 2**24 - 1]
  joined = with_paths(path, vectors)
  assert joined.dtype == np.float32
  assert joined.shape == (300, 8)
  for before, after in zip((path, vectors), split_paths(joined, 2), strict=True):
    np.testing.assert_array_equal(before, after)


def test_with_paths_refuses_what_float32_cannot_hold():
  path, vectors = catalogue()
  with pytest.raises(ValueError, match="path codes must be integers"):
    with_paths(path.astype(np.float32), vectors)
  with pytest.raises(ValueError, match=r"-1 at \[5, 1\]"):
    with_paths(np.where(np.arange(300)[:, None] == 5, [0, -1], path), vectors)
  with pytest.raises(ValueError, match=r"outside 0\.\.16777215"):
    with_paths(path + 2**24, vectors)
  with pytest.raises(ValueError, match=r"paths have shape \(299, 2\) and vectors \(300, 6\)"):
    with_paths(path[1:], vectors)


@pytest.mark.parametrize("tokenizer", [QUANTIZED, HASHED, BY_ORDER], ids=["pq", "lsh", "by order"])
def test_the_first_codes_are_the_path(tokenizer, path, joined):
  codes = tokenizer.encode(tokenizer.fit(jax.random.key(0), joined), joined)
  assert codes.dtype == np.int32
  assert codes.shape == (300, tokenizer.num_levels)
  np.testing.assert_array_equal(codes[:, :2], path)
  assert codes.min() >= 0
  assert codes.max() < V


def test_the_rest_is_given_what_the_path_leaves():
  path, vectors = catalogue()
  rest, given = recorder()
  tokenizer = category(2, V, rest)
  params = tokenizer.fit(jax.random.key(0), with_paths(path, vectors))
  left = vectors.astype(np.float64)
  for own in np.unique(path, axis=0):
    members = (path == own).all(1)
    left[members] -= left[members].mean(0)
  np.testing.assert_allclose(given["fit"], left, atol=1e-5)
  codes = tokenizer.encode(params, with_paths(path, vectors))
  np.testing.assert_array_equal(given["encode"], given["fit"])
  np.testing.assert_array_equal(codes[:, 2], given["fit"][:, 0] > 0)


@pytest.mark.parametrize(
  ("unseen", "members"),
  [
    ([1, 9], lambda path: path[:, 0] == 1),
    ([9, 1], lambda path: path[:, 0] >= 0),
    ([9, 9], lambda path: path[:, 0] >= 0),
  ],
  ids=["second level", "first level", "both"],
)
def test_an_unseen_path_takes_the_mean_of_its_longest_known_prefix(unseen, members):
  path, vectors = catalogue()
  rest, given = recorder()
  tokenizer = category(2, V, rest)
  params = tokenizer.fit(jax.random.key(0), with_paths(path, vectors))
  codes = tokenizer.encode(params, with_paths([unseen], vectors[:1]))
  np.testing.assert_array_equal(codes[0, :2], unseen)
  mean = vectors[members(path)].mean(0)
  np.testing.assert_allclose(given["encode"][0], vectors[0] - mean, atol=1e-5)
  decoded = BY_ORDER.decode(params, np.array([unseen]))
  np.testing.assert_allclose(decoded[0], [*unseen, *mean], rtol=1e-5, atol=1e-5)


def test_decoding_adds_the_rest_to_the_mean_of_the_path(params, codes, joined, path):
  decoded = QUANTIZED.decode(params, codes)
  assert decoded.shape == joined.shape
  np.testing.assert_array_equal(decoded[:, :2], path)
  by_path = BY_ORDER.decode(BY_ORDER.fit(jax.random.key(0), joined), path)
  error = np.square(decoded - joined).sum()
  assert error < 0.7 * np.square(by_path - joined).sum()
  np.testing.assert_array_equal(QUANTIZED.encode(params, decoded), codes)


def test_a_rest_that_cannot_decode_adds_nothing(joined, path):
  params = HASHED.fit(jax.random.key(0), joined)
  decoded = HASHED.decode(params, HASHED.encode(params, joined))
  by_path = BY_ORDER.decode(BY_ORDER.fit(jax.random.key(0), joined), path)
  np.testing.assert_array_equal(decoded, by_path)


def test_costs_forbid_other_categories(params, codes, joined, path):
  for level in range(2):
    costs = QUANTIZED.costs(params, joined, codes, level)
    expected = np.where(np.arange(V)[None, :] == path[:, level : level + 1], 0, np.inf)
    np.testing.assert_array_equal(costs, expected)


def test_costs_below_the_path_are_those_of_the_rest(params, codes, joined):
  """The errors of the levels add up to the error of the item."""
  error = np.square(QUANTIZED.decode(params, codes) - joined).sum(1)
  costs = [QUANTIZED.costs(params, joined, codes, level) for level in (2, 3)]
  summed = sum(cost[np.arange(300), codes[:, 2 + i]] for i, cost in enumerate(costs))
  np.testing.assert_allclose(summed, error, rtol=1e-3, atol=1e-3)
  np.testing.assert_array_equal(costs[1].argmin(1), codes[:, 3])
  with pytest.raises(ValueError, match=r"level 4 is outside 0\.\.3"):
    QUANTIZED.costs(params, joined, codes, 4)


def test_costs_follow_the_path_of_the_codes_and_shift_levels(path, joined):
  rest, given = recorder()
  tokenizer = category(2, V, rest)
  params = tokenizer.fit(jax.random.key(0), joined)
  moved = np.concatenate([path[::-1], np.full((300, 1), 7)], axis=1)
  tokenizer.costs(params, joined, moved, 2)
  vectors, codes, level = given["costs"]
  expected = joined - BY_ORDER.decode(params, path[::-1])
  np.testing.assert_allclose(vectors, expected[:, 2:], atol=1e-5)
  np.testing.assert_array_equal(codes, np.full((300, 1), 7))
  assert level == 0


def test_there_are_costs_only_where_the_rest_has_them():
  assert BY_ORDER.costs is None
  rest, _ = recorder()
  assert category(2, V, rest._replace(costs=None)).costs is None


def test_the_key_decides(params, joined):
  again = QUANTIZED.fit(jax.random.key(0), joined)
  jax.tree.map(np.testing.assert_array_equal, params, again)
  other = QUANTIZED.fit(jax.random.key(1), joined)
  assert (other["rest"]["codebooks_LxVxD"] != params["rest"]["codebooks_LxVxD"]).any()


def test_an_item_alone_gets_the_code_that_it_gets_among_many(params, monkeypatch):
  monkeypatch.setattr(base, "BLOCK_SIZE", 512)
  unseen = with_paths(*catalogue(2000, seed=5))
  codes = QUANTIZED.encode(params, unseen)
  for row in (0, 600, 1999):
    np.testing.assert_array_equal(QUANTIZED.encode(params, unseen[row : row + 1])[0], codes[row])


def test_blocks_of_rows_change_nothing(params, codes, joined, monkeypatch):
  monkeypatch.setattr(base, "BLOCK_SIZE", 77)
  again = QUANTIZED.fit(jax.random.key(0), joined)
  np.testing.assert_allclose(again["centroids_GxF"], params["centroids_GxF"], atol=1e-5)
  np.testing.assert_array_equal(QUANTIZED.encode(params, joined), codes)
  costs = QUANTIZED.costs(params, joined, codes, 3)
  np.testing.assert_array_equal(costs.argmin(1), codes[:, 3])


def test_a_memory_mapped_catalogue_is_not_copied(tmp_path):
  path, vectors = catalogue(60_000, width=62)
  file = tmp_path / "joined.npy"
  mapped = np.lib.format.open_memmap(file, "w+", np.float32, (60_000, 64))
  tracemalloc.start()
  mapped[:, :2], mapped[:, 2:] = path, vectors
  params = HASHED.fit(jax.random.key(0), mapped)
  codes = HASHED.encode(params, mapped)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < mapped.nbytes / 2
  np.testing.assert_array_equal(codes, HASHED.encode(params, np.array(mapped)))


@pytest.mark.parametrize("num_items", [1, 9])
def test_items_that_do_not_differ_get_one_code(num_items):
  joined = with_paths(np.full((num_items, 2), 3), np.zeros((num_items, 6), np.float32))
  params = QUANTIZED.fit(jax.random.key(0), joined)
  codes = QUANTIZED.encode(params, joined)
  assert (codes == codes[0]).all()
  np.testing.assert_array_equal(QUANTIZED.decode(params, codes), joined)


def test_bad_vectors_are_refused(params, joined):
  def spoilt(row, column, value):
    copy = joined.copy()
    copy[row, column] = value
    return copy

  with pytest.raises(ValueError, match="NaN or infinity in row 7"):
    QUANTIZED.fit(jax.random.key(0), spoilt(7, 4, np.nan))
  with pytest.raises(ValueError, match=r"the path of row 7 holds 1\.5 in column 1"):
    QUANTIZED.encode(params, spoilt(7, 1, 1.5))
  with pytest.raises(ValueError, match="the path of row 7 holds -1 in column 0"):
    QUANTIZED.fit(jax.random.key(0), spoilt(7, 0, -1))
  with pytest.raises(ValueError, match=r"16 at \[7, 0\] is outside 0\.\.15"):
    QUANTIZED.encode(params, spoilt(7, 0, 16))
  with pytest.raises(ValueError, match="fitted on width 8"):
    QUANTIZED.encode(params, joined[:, :7])
  with pytest.raises(ValueError, match="2 wide, but 2 columns are the path"):
    QUANTIZED.fit(jax.random.key(0), joined[:, :2])
  with pytest.raises(ValueError, match=r"give \[items, 4\]"):
    QUANTIZED.decode(params, np.zeros((3, 2), np.int32))


def test_bad_settings_are_refused():
  with pytest.raises(ValueError, match=r"16 codes per level, but 'lsh' after it has 8"):
    category(2, 16, lsh(2, 8))
  with pytest.raises(ValueError, match="base conversion numbers the whole catalogue"):
    category(2, 16, radix(2, 16))
  with pytest.raises(ValueError, match=r"at most 2\*\*24"):
    category(2, 2**25)
