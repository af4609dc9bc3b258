"""Tokenizers by name: settings, what is refused, what can be added, and category paths."""

import dataclasses

import jax
import numpy as np
import pytest

from sidrec.core.settings import from_dict
from sidrec.tokenizers import registry
from sidrec.tokenizers.lsh import lsh
from sidrec.tokenizers.registry import make_tokenizer, register_tokenizer
from sidrec.tokenizers.settings import CategorySettings, RQVAEConfig, TokenizerConfig


def train(config, task, key, vectors):
  raise AssertionError("only an RQ-VAE is trained")


def made(**changes):
  return make_tokenizer(TokenizerConfig(codebook_size=16, **changes), train)


def test_an_rqvae_is_trained_with_all_its_settings():
  given = {}

  def record(config, task, key, vectors):
    given.update(config=config)
    return {}

  settings = TokenizerConfig(num_levels=4, codebook_size=8)
  settings = dataclasses.replace(settings, rqvae=dataclasses.replace(settings.rqvae, steps=7))
  vectors = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
  make_tokenizer(settings, record).fit(jax.random.key(0), vectors)
  assert given["config"] == RQVAEConfig(num_levels=4, codebook_size=8, steps=7)


@pytest.mark.parametrize("rest", ["lsh", "residual_kmeans", "product_quantization"])
def test_the_rest_of_a_category_path_gets_the_levels_below_it(rest):
  tokenizer = made(name="category", num_levels=5, category=CategorySettings(("decade",), rest))
  assert (tokenizer.name, tokenizer.num_levels) == ("category", 5)
  vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
  vectors[:, 0] = 3
  params = tokenizer.fit(jax.random.key(0), vectors)
  codes = tokenizer.encode(params, vectors)
  assert codes.shape == (40, 5)
  assert (codes[:, 0] == 3).all()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"name": "lhs"},
      r"unknown tokenizer.name 'lhs'; did you mean 'lsh'\? choose from rqvae, .*file",
    ),
    ({"name": "category", "num_levels": 1}, r"num_levels is 1, less than the 2 levels of .*path"),
    (
      {"name": "category", "num_levels": 3, "category": CategorySettings(rest="category")},
      "rest cannot be 'category' again",
    ),
    (
      {"name": "category", "num_levels": 3, "category": CategorySettings(rest="radix")},
      "knows no categories",
    ),
  ],
)
def test_settings_that_make_no_sense(changes, message):
  with pytest.raises(ValueError, match=message):
    made(**changes)


def test_settings_are_checked_when_they_come_as_dicts():
  with pytest.raises(ValueError, match=r"unknown collisions 'none'; choose from extra_digit, rea"):
    from_dict(TokenizerConfig, {"collisions": "none"})
  with pytest.raises(ValueError, match="unknown distance 'cosin'; did you mean 'cosine'"):
    from_dict(TokenizerConfig, {"rqvae": {"distance": "cosin"}})


def test_a_tokenizer_can_be_added_once(monkeypatch):
  monkeypatch.setattr(registry, "TOKENIZERS", dict(registry.TOKENIZERS))
  register_tokenizer("mine", lambda config, train: lsh(config.num_levels, 4))
  assert made(name="mine", num_levels=3).codebook_size == 4
  for name in ("mine", "lsh", "file"):
    with pytest.raises(ValueError, match=f"there is a tokenizer '{name}' already"):
      register_tokenizer(name, lambda config, train: lsh(1, 4))
