"""The tokenizers as scikit-learn's transformers."""

import dataclasses
import functools
import pickle

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import sidrec
from sidrec import (
  LSH,
  RQVAE,
  HierarchicalKMeans,
  ProductQuantization,
  ResidualKMeans,
  SemanticIDManager,
)
from sidrec.catalogue.collisions import add_extra_digit
from sidrec.parallel.mesh import make_mesh
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.settings import RQVAESettings, TokenizerConfig
from sidrec.trainers.tokenizer import train_rqvae

SHORT = RQVAESettings(hidden=(8,), steps=4, steps_per_call=2, validate_every=4, batch_size=16)
VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
MADE = {
  "rqvae": RQVAE(6, 4, 2, 8, settings=SHORT),
  "hierarchical_kmeans": HierarchicalKMeans(2, 8),
  "residual_kmeans": ResidualKMeans(2, 8),
  "product_quantization": ProductQuantization(2, 8),
  "lsh": LSH(2, 8),
}


@parametrize_with_checks(
  [
    HierarchicalKMeans(1, 4, iterations=3),  # more levels compile more, for every shape
    ResidualKMeans(2, 4, iterations=3),
    ProductQuantization(1, 4, iterations=3),
    LSH(2, 4),
  ]
)
def test_scikit_learn_is_content(estimator, check):
  check(estimator)


@pytest.mark.parametrize("name", MADE)
def test_codes_are_those_of_the_tokenizer(name):
  made = clone(MADE[name])
  codes = made.fit_transform(VECTORS)
  assert codes.dtype == np.int32
  assert codes.shape == (40, 2)
  assert made.get_feature_names_out().tolist() == [
    f"{type(made).__name__.lower()}{level}" for level in range(2)
  ]
  if name != "rqvae":
    config = TokenizerConfig(name, num_levels=2, codebook_size=8)
    tokenizer = make_tokenizer(config, lambda *_: None)
    params = tokenizer.fit(jax.random.key(0), VECTORS)
    np.testing.assert_array_equal(codes, tokenizer.encode(params, VECTORS))
  # One item or many, and after pickling.
  again = pickle.loads(pickle.dumps(made))
  np.testing.assert_array_equal(again.encode(VECTORS[3]), codes[3])
  np.testing.assert_array_equal(again.encode(VECTORS[:5]), codes[:5])
  # Other settings count from the next fit on.
  np.testing.assert_array_equal(again.set_params(codebook_size=4).transform(VECTORS), codes)
  if name == "lsh":
    with pytest.raises(AttributeError, match="LSH cannot turn codes back"):
      made.inverse_transform(codes)
    return
  decoded = made.inverse_transform(codes)
  assert decoded.shape == VECTORS.shape
  if name != "rqvae":  # which was hardly trained
    assert np.square(decoded - VECTORS).sum() < np.square(VECTORS - VECTORS.mean(0)).sum()


def test_settings_are_scikit_learns():
  made = RQVAE(feature_dim=6, embedding_dim=4, num_codebooks=2, codebook_size=8)
  assert made.get_params()["num_codebooks"] == 2
  assert made.set_params(num_codebooks=5, random_state=3).num_codebooks == 5
  assert repr(HierarchicalKMeans(2, 8)) == "HierarchicalKMeans(codebook_size=8, num_levels=2)"
  with pytest.raises(NotFittedError):
    made.encode(VECTORS)
  with pytest.raises(ValueError, match="vectors are 6 wide, but feature_dim is 7"):
    RQVAE(7, settings=SHORT).fit(VECTORS)
  with pytest.raises(ValueError, match="hashing needs a power of two"):
    LSH(2, 9).fit(VECTORS)
  with pytest.raises(ValueError, match="latent_dim must be at least 1"):
    RQVAE(embedding_dim=0).fit(VECTORS)


def test_the_random_state_decides():
  codes = [LSH(2, 8, random_state=seed).fit_transform(VECTORS) for seed in (0, 0, 1)]
  np.testing.assert_array_equal(codes[0], codes[1])
  assert (codes[0] != codes[2]).any()
  drawn = [
    LSH(2, 8, random_state=np.random.RandomState(7)).fit_transform(VECTORS) for _ in range(2)
  ]
  np.testing.assert_array_equal(*drawn)


def films():
  rng = np.random.default_rng(0)
  return [
    {
      "genre": ["Drama", "War"] if n % 2 else "Comedy",
      "year": 1950 + n,
      "rating": None if n == 3 else 3 + n / 40,
      "tags": [f"tag{n % 5}"],
      "embedding": None if n == 5 else rng.normal(size=4) + 3 * (n % 2),
    }
    for n in range(40)
  ]


@pytest.mark.parametrize("name", ["rqvae", "residual_kmeans"])
def test_items_may_be_dicts(name):
  made = clone(MADE[name])
  if name == "rqvae":
    made.set_params(feature_dim=32)
  codes = made.fit(films()).transform(films())
  assert codes.shape == (40, 2)
  assert made.n_features_in_ == (32 if name == "rqvae" else 71)
  one = made.encode(films()[7])
  np.testing.assert_array_equal(one, codes[7])
  assert made.encode({"genre": "Comedy"}).shape == (2,)  # all else is unknown
  # What differs in genre and embedding does not share its first code.
  kinds = HierarchicalKMeans(1, 2, balance=0).fit_transform(films())[:, 0]
  assert set(kinds[::2]) == {kinds[0]}
  assert (kinds[1::2] == kinds[1]).sum() >= 19  # film 5 has no embedding
  assert kinds[0] != kinds[1]


@pytest.mark.parametrize(
  ("items", "message"),
  [
    ([{"genres": "Drama"}], "item 0 has the feature 'genres'; known ones: genre, year, rating"),
    ([{"year": "1994"}], "'year' of an item is '1994'; give a number"),
    ([{"genre": 3}], "'genre' of an item is 3; give a text or a list"),
    ([{"embedding": [1, 2]}, {"embedding": [1]}], "an embedding has shape"),
    ([{"year": 1994}, [1.0, 2.0]], "item 1 is no dict"),
    ([{"year": 1994}, {"year": 1995, "rating": 2}], "feature_dim is 2, but numbers and embeddings"),
  ],
)
def test_dicts_that_make_no_sense(items, message):
  with pytest.raises(ValueError, match=message):
    RQVAE(feature_dim=2, settings=SHORT).fit(items)


def test_dicts_after_a_fit_to_vectors_are_refused():
  with pytest.raises(ValueError, match="fitted to vectors, so it cannot read dicts"):
    LSH(2, 8).fit(VECTORS).encode({"genre": "Drama"})


def test_from_an_estimator_to_a_file_of_ids_and_new_items(tmp_path):
  made = sidrec.ResidualKMeans(num_levels=2, codebook_size=8).fit(VECTORS)
  codes = add_extra_digit(made.transform(VECTORS), 8)
  ids = SemanticIDManager.from_codes(codes, 8, fitted=made.fitted_)
  ids.save_to_file(tmp_path / "ids.json", with_tokenizer=True)
  grown = SemanticIDManager.load_from_file(tmp_path / "ids.json").add_items(VECTORS[:1], [40])
  np.testing.assert_array_equal(grown.get_semantic_id(40)[:2], codes[0, :2])


def test_training_spread_over_a_model_axis_gives_nearly_the_same(tmp_path):
  """Two devices hold half of the codewords each."""

  def params(devices):
    train = functools.partial(
      train_rqvae, seed=0, workdir=tmp_path / str(devices), mesh=make_mesh(model=devices)
    )
    settings = dataclasses.replace(SHORT, latent_dim=4, learning_rate=1e-3)
    config = TokenizerConfig("rqvae", 2, 8, rqvae=settings)
    return make_tokenizer(config, train).fit(jax.random.key(0), VECTORS)

  one, two = params(1), params(2)
  assert two["codebooks_LxVxD"].sharding.spec == P(None, "model")
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), one, two)


def test_revival_of_codes_is_a_setting():
  given = []
  config = TokenizerConfig("rqvae", 2, 8, rqvae=dataclasses.replace(SHORT, revive_below=0.0))
  make_tokenizer(config, lambda shape, *_: given.append(shape)).fit(jax.random.key(0), VECTORS)
  assert given[0].revive_below == 0.0
