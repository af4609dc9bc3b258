"""Tokenizers as scikit-learn's transformers: item vectors, or dicts, in; codes out.

Thin fronts of `tokenizers.registry`: with `random_state=0` codes are those of a run with seed 0.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import numpy as np
from etils import epath
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
  check_is_fitted,
  validate_data,  # pyrefly: ignore - not in the stubs
)

from sidrec.core.codes import check_codes
from sidrec.estimators.descriptions import (
  are_descriptions,
  describe,
  fit_describer,
  is_description,
)
from sidrec.tokenizers.base import Fitted, Tokenizer
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.settings import (
  KMeansSettings,
  LSHSettings,
  ProductQuantizationSettings,
  RQVAESettings,
  TokenizerConfig,
)
from sidrec.trainers.tokenizer import train_rqvae

# Item vectors, float [N, F]; or a dict for each item, see `descriptions.fit_describer`.
Features = ArrayLike | Sequence[Mapping[str, Any]]


class TokenizerEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
  """What all of them do.

  After `fit`: `config_`, the tokenizer's settings, `params_`, its parameters, and
  `n_features_in_`, F.
  """

  random_state: int | np.random.RandomState | None

  def fit(self, X: Features, y: None = None) -> Self:
    """Fits the tokenizer.

    Args:
      X: float [N, F], or N dicts of 'genre', 'year', 'rating', 'tags' and 'embedding'.
      y: nothing.

    Raises:
      ValueError: for settings that make no sense, or vectors that cannot be encoded.
    """
    del y
    config, seed = self._config(), _seed(self.random_state)
    self.describer_ = None
    if are_descriptions(X):
      self.describer_ = fit_describer(X, self._width())  # pyrefly: ignore
    vectors_NxF = self._vectors(X, fitting=True)
    with tempfile.TemporaryDirectory() as folder:  # of a training's checkpoints
      train = functools.partial(train_rqvae, seed=seed, workdir=epath.Path(folder))
      params = make_tokenizer(config, train).fit(jax.random.key(seed), vectors_NxF)
      self.params_ = jax.tree.map(np.asarray, params)
    self.config_ = config
    return self

  def transform(self, X: Features) -> np.ndarray:
    """The codes of items, of the fit or not: int32 [N, L]; ValueError for other vectors."""
    check_is_fitted(self)
    return np.asarray(self._tokenizer().encode(self.params_, self._vectors(X)))

  def encode(self, features: Features | Mapping[str, Any]) -> np.ndarray:
    """The codes of one item, int32 [L], or of several, int32 [N, L].

    Args:
      features: a dict or a vector [F]; or several, as `transform` takes them.
    """
    check_is_fitted(self)
    vector = not are_descriptions(features) and np.ndim(features) == 1  # pyrefly: ignore
    if is_description(features) or vector:
      return self.transform([features])[0]  # pyrefly: ignore
    return self.transform(features)  # pyrefly: ignore

  def vectors(self, features: Features) -> np.ndarray:
    """What the tokenizer encodes, float32 [N, F]: the vectors, or those of dicts.

    `SemanticIDManager.add_items` takes them.
    """
    check_is_fitted(self)
    return self._vectors(features)

  def inverse_transform(self, codes: ArrayLike) -> np.ndarray:
    """The vectors that codes [N, L] stand for, float32 [N, F]; AttributeError if none are known."""
    check_is_fitted(self)
    tokenizer = self._tokenizer()
    if tokenizer.decode is None:
      raise AttributeError(f"{type(self).__name__} cannot turn codes back into vectors")
    codes_NxL = check_codes(codes, tokenizer.codebook_size, tokenizer.num_levels)
    return np.asarray(tokenizer.decode(self.params_, codes_NxL))

  @property
  def fitted_(self) -> Fitted:
    """The tokenizer with its parameters, as `SemanticIDManager.from_codes` takes it."""
    check_is_fitted(self)
    return Fitted(self._tokenizer(), self.params_)

  @property
  def _n_features_out(self) -> int:
    return self.config_.num_levels

  def __sklearn_tags__(self) -> Any:
    """Codes are integers, whatever the vectors are."""
    tags = super().__sklearn_tags__()  # pyrefly: ignore - not in the stubs
    tags.transformer_tags.preserves_dtype = []
    return tags

  def _config(self) -> TokenizerConfig:
    """The tokenizer's settings, checked."""
    raise NotImplementedError

  def _width(self) -> int | None:
    """F that vectors must have; None for any."""
    return None

  def _tokenizer(self) -> Tokenizer:
    return make_tokenizer(self.config_, train_rqvae)  # pyrefly: ignore - encodes only

  def _vectors(self, X: Features, *, fitting: bool = False) -> np.ndarray:
    """float32 [N, F], checked."""
    if are_descriptions(X):
      if self.describer_ is None:
        raise ValueError("this was fitted to vectors, so it cannot read dicts; fit it to dicts")
      X = describe(self.describer_, X)  # pyrefly: ignore
    vectors_NxF = validate_data(self, X, reset=fitting, dtype=np.float32)
    if self._width() not in (None, vectors_NxF.shape[1]):
      raise ValueError(
        f"vectors are {vectors_NxF.shape[1]} wide, but feature_dim is {self._width()}"
      )
    return vectors_NxF


class RQVAE(TokenizerEstimator):
  """An RQ-VAE: see `tokenizers/rqvae/`.

  Args:
    feature_dim: F; None for any.
    embedding_dim: width of the latents.
    num_codebooks: L.
    codebook_size: V.
    settings: how it learns; its `latent_dim` is not looked at. None for the defaults.
    random_state: of the fit.
  """

  def __init__(
    self,
    feature_dim: int | None = None,
    embedding_dim: int = RQVAESettings().latent_dim,
    num_codebooks: int = 3,
    codebook_size: int = 256,
    *,
    settings: RQVAESettings | None = None,
    random_state: int | np.random.RandomState | None = 0,
  ):
    """Keeps the settings."""
    self.feature_dim = feature_dim
    self.embedding_dim = embedding_dim
    self.num_codebooks = num_codebooks
    self.codebook_size = codebook_size
    self.settings = settings
    self.random_state = random_state

  def _config(self) -> TokenizerConfig:
    settings = dataclasses.replace(self.settings or RQVAESettings(), latent_dim=self.embedding_dim)
    return TokenizerConfig("rqvae", self.num_codebooks, self.codebook_size, rqvae=settings)

  def _width(self) -> int | None:
    return self.feature_dim


class _KMeans(TokenizerEstimator):
  """The settings of those that are made of k-means; `balance` as in `KMeansSettings`."""

  name: str

  def __init__(
    self,
    num_levels: int = 3,
    codebook_size: int = 256,
    *,
    iterations: int = KMeansSettings().iterations,
    balance: float = KMeansSettings().balance,
    random_state: int | np.random.RandomState | None = 0,
  ):
    """Keeps the settings."""
    self.num_levels = num_levels
    self.codebook_size = codebook_size
    self.iterations = iterations
    self.balance = balance
    self.random_state = random_state

  def _config(self) -> TokenizerConfig:
    kmeans = KMeansSettings(self.iterations, self.balance)
    return TokenizerConfig(self.name, self.num_levels, self.codebook_size, kmeans=kmeans)


class HierarchicalKMeans(_KMeans):
  """Nested clusters: see `tokenizers/kmeans/hierarchical.py`."""

  name = "hierarchical_kmeans"


class ResidualKMeans(_KMeans):
  """Clusters of what the levels before left: see `tokenizers/kmeans/residual.py`."""

  name = "residual_kmeans"


class ProductQuantization(TokenizerEstimator):
  """A codebook for each part of the vector: see `tokenizers/product_quantization.py`."""

  def __init__(
    self,
    num_levels: int = 3,
    codebook_size: int = 256,
    *,
    iterations: int = KMeansSettings().iterations,
    rotation: bool = True,
    random_state: int | np.random.RandomState | None = 0,
  ):
    """Keeps the settings."""
    self.num_levels = num_levels
    self.codebook_size = codebook_size
    self.iterations = iterations
    self.rotation = rotation
    self.random_state = random_state

  def _config(self) -> TokenizerConfig:
    return TokenizerConfig(
      "product_quantization",
      self.num_levels,
      self.codebook_size,
      kmeans=KMeansSettings(self.iterations),
      product_quantization=ProductQuantizationSettings(self.rotation),
    )


class LSH(TokenizerEstimator):
  """Sides of random hyperplanes: see `tokenizers/lsh.py`; V is a power of two."""

  def __init__(
    self,
    num_levels: int = 3,
    codebook_size: int = 256,
    *,
    centre: bool = True,
    random_state: int | np.random.RandomState | None = 0,
  ):
    """Keeps the settings."""
    self.num_levels = num_levels
    self.codebook_size = codebook_size
    self.centre = centre
    self.random_state = random_state

  def _config(self) -> TokenizerConfig:
    return TokenizerConfig("lsh", self.num_levels, self.codebook_size, lsh=LSHSettings(self.centre))


def _seed(random_state: int | np.random.RandomState | None) -> int:
  """A number as it is, else one that the generator draws."""
  if isinstance(random_state, int | np.integer):
    return int(random_state)
  return int(check_random_state(random_state).randint(2**31 - 1))
