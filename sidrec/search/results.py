"""What a search returns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Recommendations(NamedTuple):
  """The K best items of each history, best first."""

  item_BxK: jax.Array  # int32 item rows; -1 where fewer than K items are allowed
  # float32 log p(item | history), plus the item head's score if there is one; -inf if not valid
  score_BxK: jax.Array
  valid_BxK: jax.Array  # bool


def nothing(count: int) -> Recommendations:
  """The results of no requests, `count` each."""
  empty_BxK = jnp.zeros((0, count))
  return Recommendations(empty_BxK.astype(jnp.int32), empty_BxK, empty_BxK.astype(bool))
