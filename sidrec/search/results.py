"""What a search returns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Recommendations(NamedTuple):
  """The K best items of each history, best first."""

  item_BxK: jax.Array  # int32 item rows; -1 where fewer than K items are allowed
  # float32 log p(item | history), plus the item head's score if there is one; -inf if not valid
  score_BxK: jax.Array
  valid_BxK: jax.Array  # bool

  @property
  def bound_B(self) -> jax.Array | None:
    """No allowed item that is not among the K results scores more: float32 [B].

    It is -inf where all allowed items are, and None where `search.certify` is off.
    """
    return None

  def certified_B(self, k: int) -> jax.Array:
    """Whether the first k results are the best k items under the model: bool [B].

    False says nothing: the list may be exact all the same. On a tie at the k-th place other items
    may be as good, but none is better. Where fewer than k items are allowed, a certified list has
    all of them.

    Raises:
      ValueError: where `search.certify` was off, or for more than K results.
    """
    if self.bound_B is None:
      raise ValueError(
        "these lists were searched without a certificate; set search.certify to have one"
      )
    if not 1 <= k <= self.score_BxK.shape[1]:
      raise ValueError(f"k is {k}; these lists have 1 to {self.score_BxK.shape[1]} results")
    return self.score_BxK[:, k - 1] >= self.bound_B


@jax.tree_util.register_pytree_node_class
class Certified(Recommendations):
  """Recommendations with a bound. As a tuple, they have the same three parts; as a pytree, four."""

  _bound_B: Any = None

  def __new__(cls, item_BxK: Any, score_BxK: Any, valid_BxK: Any, bound_B: Any) -> "Certified":
    """Takes the parts of `Recommendations`, and the bound."""
    self = super().__new__(cls, item_BxK, score_BxK, valid_BxK)
    self._bound_B = bound_B
    return self

  @property
  def bound_B(self) -> jax.Array | None:
    """See `Recommendations`."""
    return self._bound_B

  def first(self, k: int) -> "Certified":
    """The first k results; the next one bounds what is left out, too."""
    bound_B = self._bound_B
    if k < self.score_BxK.shape[1]:
      bound_B = jnp.maximum(bound_B, self.score_BxK[:, k])
    item_BxK, score_BxK, valid_BxK = (x_BxK[:, :k] for x_BxK in self)
    return Certified(item_BxK, score_BxK, valid_BxK, bound_B)

  def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
    """The leaves."""
    return (*self, self._bound_B), None

  @classmethod
  def tree_unflatten(cls, _: None, leaves: Any) -> "Certified":
    """The inverse of `tree_flatten`."""
    return cls(*leaves)


def first(found: Recommendations, k: int) -> Recommendations:
  """The first k results of each list."""
  if isinstance(found, Certified):
    return found.first(k)
  return jax.tree.map(lambda x_BxK: x_BxK[:, :k], found)


def nothing(count: int, *, certify: bool = False) -> Recommendations:
  """The results of no requests, `count` each."""
  empty_BxK = jnp.zeros((0, count))
  found = Recommendations(empty_BxK.astype(jnp.int32), empty_BxK, empty_BxK.astype(bool))
  return Certified(*found, jnp.zeros(0)) if certify else found
