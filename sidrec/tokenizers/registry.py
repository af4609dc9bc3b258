"""Tokenizers by the name that the config gives."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from sidrec.core.plugged import check_settings, check_signature
from sidrec.core.settings import from_dict, to_dict, unknown_name
from sidrec.core.source_code import code_hashes
from sidrec.tokenizers.base import Array, Params, Tokenizer
from sidrec.tokenizers.category import category
from sidrec.tokenizers.kmeans.hierarchical import hierarchical_kmeans
from sidrec.tokenizers.kmeans.residual import residual_kmeans
from sidrec.tokenizers.lsh import lsh
from sidrec.tokenizers.product_quantization import product_quantization
from sidrec.tokenizers.radix import radix
from sidrec.tokenizers.rqvae.rqvae import rqvae
from sidrec.tokenizers.settings import KMeansSettings, RQVAEConfig, TokenizerConfig
from sidrec.training.task import Task

# (config, task, key, vectors_NxF) → params: trains an RQ-VAE.
Train = Callable[[RQVAEConfig, Task, jax.Array, Array], Params]
# (config, train), and the mesh for sidrec's own; the settings of a registered one that has any.
Make = Callable[..., Tokenizer]


def make_tokenizer(config: TokenizerConfig, train: Train, mesh: Mesh | None = None) -> Tokenizer:
  """The tokenizer that the config names.

  Args:
    config: its settings.
    train: trains an RQ-VAE, which is the only tokenizer that does not fit itself.
    mesh: devices that items are spread over by an RQ-VAE or residual k-means. Its codes then depend
      on their number, by the order of sums. None for one device.

  Raises:
    ValueError: for an unknown name, or settings that make no sense.
  """
  check_name(config.name)
  more: list[Any] = [mesh] if config.name in _BUILT_IN else []
  if config.name in SETTINGS:
    more.append(from_dict(type(SETTINGS[config.name]), own_settings(config)))
  return TOKENIZERS[config.name](config, train, *more)._replace(settings=config)


def check_name(name: str) -> None:
  """Raises ValueError for a tokenizer that is not registered."""
  if name not in (*TOKENIZERS, "file"):
    error = unknown_name("tokenizer.name", name, (*TOKENIZERS, "file"))
    raise ValueError(f"{error}, or load the plugin that registers it (--plugin=FILE)")


def register_tokenizer(name: str, make: Make | None = None, settings: Any = None) -> Any:
  """Makes a tokenizer known by a name: `@register_tokenizer("signs")`, or with the function.

  Args:
    name: for `config.tokenizer.name`.
    make: (config, train) → a `Tokenizer`. `config.num_levels` and `config.codebook_size` say how
      many codes it has to give; `train` trains an RQ-VAE, if it wants one.
    settings: a frozen dataclass of its own settings with their defaults. Configs made after this
      call have them as `config.tokenizer.plugins.<name>`, and `make` gets them as a third argument.

  Raises:
    ValueError: if the name is taken, or `make` takes other arguments.
    TypeError: for settings that are no dataclass.
  """
  if name in TOKENIZERS or name == "file":
    raise ValueError(f"there is a tokenizer {name!r} already; choose another name")
  check_settings("tokenizer", name, settings)
  if make is None:
    return lambda decorated: register_tokenizer(name, decorated, settings)
  own = ("settings",) * (settings is not None)
  check_signature(f"the tokenizer {name!r}", make, ("config", "train", *own))
  if settings is not None:
    SETTINGS[name] = settings
  TOKENIZERS[name] = make
  return make


def registered_tokenizers() -> list[str]:
  """The names of those that are not sidrec's own."""
  return [name for name in TOKENIZERS if name not in _BUILT_IN]


def own_settings(config: TokenizerConfig) -> dict[str, Any]:
  """Those of a registered tokenizer, all of them; {} if it has none.

  Raises:
    ValueError: for a setting that it does not have.
  """
  if config.name not in SETTINGS:
    return {}
  given = config.plugins.get(config.name, {})
  return to_dict(
    from_dict(type(SETTINGS[config.name]), {**to_dict(SETTINGS[config.name]), **given})
  )


def code_of(name: str) -> list[str]:
  """What changes with the code of a registered tokenizer; nothing for sidrec's own."""
  return code_hashes(TOKENIZERS[name]) if name in TOKENIZERS else []


def _rqvae(config: TokenizerConfig, train: Train, mesh: Mesh | None) -> Tokenizer:
  shape = RQVAEConfig(
    num_levels=config.num_levels, codebook_size=config.codebook_size, **to_dict(config.rqvae)
  )
  return rqvae(shape, functools.partial(train, shape), mesh)


def _product_quantization(config: TokenizerConfig, train: Train, mesh: Mesh | None) -> Tokenizer:
  del train, mesh
  balance, default = config.kmeans.balance, KMeansSettings().balance
  if balance not in (0, default):
    raise ValueError(
      f"tokenizer.kmeans.balance is {balance}, but product quantization balances nothing; leave it "
      f"at {default}, or choose residual_kmeans or hierarchical_kmeans"
    )
  return product_quantization(
    config.num_levels,
    config.codebook_size,
    config.kmeans.iterations,
    rotation=config.product_quantization.rotation,
  )


def _category(config: TokenizerConfig, train: Train, mesh: Mesh | None) -> Tokenizer:
  """The path, and for the levels below it the tokenizer of `category.rest`."""
  path, below = config.category.path, config.num_levels - len(config.category.path)
  if below < 0:
    raise ValueError(
      f"tokenizer.num_levels is {config.num_levels}, less than the {len(path)} levels of "
      f"tokenizer.category.path {path}; give at least as many"
    )
  if below == 0:
    return category(len(path), config.codebook_size)
  if config.category.rest == "category":
    raise ValueError("tokenizer.category.rest cannot be 'category' again; choose another one")
  rest = dataclasses.replace(config, name=config.category.rest, num_levels=below)
  return category(len(path), config.codebook_size, make_tokenizer(rest, train, mesh))


SETTINGS: dict[str, Any] = {}  # registered tokenizer → its settings, a dataclass with its defaults
TOKENIZERS: dict[str, Make] = {
  "rqvae": _rqvae,
  "residual_kmeans": lambda c, _, mesh: residual_kmeans(
    c.num_levels, c.codebook_size, c.kmeans.iterations, c.kmeans.balance, mesh
  ),
  "hierarchical_kmeans": lambda c, *_: hierarchical_kmeans(
    c.num_levels, c.codebook_size, c.kmeans.iterations, c.kmeans.balance
  ),
  "product_quantization": _product_quantization,
  "lsh": lambda c, *_: lsh(c.num_levels, c.codebook_size, centre=c.lsh.centre),
  "category": _category,
  "radix": lambda c, *_: radix(c.num_levels, c.codebook_size),
}
_BUILT_IN = frozenset(TOKENIZERS)
