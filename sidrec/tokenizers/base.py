"""The tokenizer contract: three pure functions over a pytree of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
Params = Any  # a pytree of arrays that Orbax can save


class Tokenizer(NamedTuple):
  """A way to turn item vectors into code tuples, after optax's GradientTransformation.

  Letters: N items, F vector width, L levels.

  Attributes:
    name: as in the config.
    num_levels: L.
    codebook_size: V; codes lie in [0, V).
    fit: (key, vectors_NxF float32) → params.
    encode: (params, vectors_NxF float32) → codes_NxL int32; works for unseen vectors.
    decode: (params, codes_NxL) → vectors_NxF float32, or None where no inverse exists.
  """

  name: str
  num_levels: int
  codebook_size: int
  fit: Callable[[jax.Array, Array], Params]
  encode: Callable[[Params, Array], jax.Array]
  decode: Callable[[Params, Array], jax.Array] | None = None
