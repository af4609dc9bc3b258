"""What ranks the items that a search found, beside log p of their IDs.

That is the item head, what followed in other histories, and similarity to the latest items, where
the model has them. All are log p of items up to a number of each history, and items are ranked by
their weighted sum, see `joint`. The weights are those of the settings, or those that a run fitted.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.models import followers, similarity
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.counted import FITTED
from sidrec.models.settings import RecommenderConfig
from sidrec.search.levels import call
from sidrec.search.settings import SearchConfig

Weight = float | jax.Array


class Weights(NamedTuple):
  """The factor of each log p in the score of an item; 0.0 for what is not used."""

  ids: Weight
  item_head: Weight
  followers: Weight
  similarity: Weight


class Used(NamedTuple):
  """Whether a search ranks by each of them."""

  item_head: bool
  followers: bool
  similarity: bool


def uses(model: RecommenderConfig, config: SearchConfig) -> Used:
  """What a search ranks by beside IDs."""
  fitted = config.is_fitted
  return Used(
    model.item_head and (fitted or config.item_weight > 0),
    model.followers > 0 and (fitted or config.follower_weight > 0),
    model.similarity and (fitted or config.similarity_weight > 0),
  )


def is_used(model: RecommenderConfig, config: SearchConfig) -> bool:
  """Whether anything but IDs ranks the items."""
  return any(uses(model, config))


def names(model: RecommenderConfig, config: SearchConfig) -> list[str]:
  """What is joined with the distribution by IDs, in words."""
  words = "the item head", "what followed in other histories", "similarity to the latest items"
  return [word for word, used in zip(words, uses(model, config), strict=True) if used]


def given(model: RecommenderConfig, config: SearchConfig) -> Weights:
  """The weights of the settings."""
  weights = config.item_weight, config.follower_weight, config.similarity_weight
  used = uses(model, config)
  return Weights(1.0, *(w if use else 0.0 for w, use in zip(weights, used, strict=True)))


def weights(model: RecommenderConfig, config: SearchConfig, params: dict) -> Weights:
  """The weights that count.

  Raises:
    ValueError: for parameters without fitted weights, where they count.
  """
  used = uses(model, config)
  if not config.is_fitted or not any(used):
    return given(model, config)
  if FITTED not in params:
    raise ValueError(
      f"the search takes fitted weights, and the parameters lack {FITTED!r}; train the run with "
      "search.weights='fitted', or set search.weights to 'given'"
    )
  of_ids, *of_others = (params[FITTED][place] for place in range(1 + len(used)))
  return Weights(of_ids, *(w if use else 0.0 for w, use in zip(of_others, used, strict=True)))


def numbers(model: RecommenderConfig, config: SearchConfig, params: dict) -> Weights:
  """The weights that count as numbers, that of IDs 1; for people to read."""
  found = Weights(*(float(np.asarray(weight)) for weight in weights(model, config, params)))
  return Weights(*(weight / found.ids for weight in found))


def sharpness(model: RecommenderConfig, config: SearchConfig, params: dict) -> Weight:
  """The factor of the weighted sum, in `joint.pooled`: given weights make a mean of it."""
  return 1.0 if config.is_fitted else 1 / sum(weights(model, config, params))


def sums(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  item_BxK: jax.Array | None,
  logp_BxK: jax.Array | float,
) -> jax.Array:
  """The weighted sum of what ranks items: float32 [B, K].

  Args:
    model: of a search where it `is_used`.
    params: its parameters.
    trie: the catalogue.
    encoded: the histories.
    config: of the search.
    item_BxK: int32 item rows; what is no item has any score. None for all, [B, N].
    logp_BxK: log p of the items by their IDs; 0 for the sum of all else.
  """
  weight = weights(model.config, config, params)
  total = jnp.asarray(weight.ids * logp_BxK)
  if uses(model.config, config).item_head:
    total = total + weight.item_head * _of_head(model, params, trie, encoded, item_BxK)
  return total + counted(model.config, params, encoded, config, item_BxK)


def parts(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  item_BxK: jax.Array,
) -> list[jax.Array]:
  """What ranks items beside IDs, each alone: float32 [B, K], of 0 for what is not used."""
  asks = (
    functools.partial(_of_head, model, params, trie),
    functools.partial(follower_log_p, params, config),
    functools.partial(log_similarity, params),
  )
  nothing = jnp.zeros(item_BxK.shape)
  used = uses(model.config, config)
  return [ask(encoded, item_BxK) if use else nothing for ask, use in zip(asks, used, strict=True)]


def counted(
  model: RecommenderConfig,
  params: dict,
  encoded: EncoderOutput,
  config: SearchConfig,
  item_BxK: jax.Array | None,
) -> jax.Array | float:
  """The weighted sum of what is not trained: float32 [B, K], or 0 where there is nothing."""
  used = uses(model, config)
  weight, total = weights(model, config, params), 0.0
  if used.followers:
    total = total + weight.followers * follower_log_p(params, config, encoded, item_BxK)
  if used.similarity:
    total = total + weight.similarity * log_similarity(params, encoded, item_BxK)
  return total


def num_candidates(model: RecommenderConfig, config: SearchConfig) -> int:
  """How many items that followed are ranked beside what the beams found; 0 without followers."""
  used = uses(model, config).followers and not config.most_per_prefix
  return config.follower_candidates if used else 0


def _of_head(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  item_BxK: jax.Array | None,
) -> jax.Array:
  """The item head's log p of items, of all for None: float32 [B, K]."""
  if item_BxK is None:
    return call(model, params, "all_item_scores", encoded, trie.codes_NxL)
  return call(model, params, "item_scores", encoded, item_BxK, trie.codes_NxL)


def strongest_followers(
  params: dict, encoded: EncoderOutput, may: Callable[[jax.Array], jax.Array], count: int
) -> jax.Array:
  """`followers.strongest` after encoded histories: int32 [B, F], NO_ITEM where there are fewer."""
  followers.check_counted(params)
  return followers.strongest(params, _latest(encoded), may, count)


def follower_log_p(
  params: dict, config: SearchConfig, encoded: EncoderOutput, item_BxK: jax.Array | None
) -> jax.Array:
  """`followers.log_p` after encoded histories, of all items for None: float32 [B, K].

  Where weights are fitted, and a floor with them, it has that floor.

  Raises:
    ValueError: for parameters, or the encoder output of a model, without followers.
  """
  followers.check_counted(params)
  floor = params.get(followers.FLOOR) if config.is_fitted else None
  return followers.log_p(params, _latest(encoded), encoded.again, item_BxK, floor)


def log_similarity(params: dict, encoded: EncoderOutput, item_BxK: jax.Array | None) -> jax.Array:
  """`similarity.log_similarity` after encoded histories, of all items for None: float32 [B, K].

  Raises:
    ValueError: for parameters, or the encoder output of a model, without similarity.
  """
  similarity.check_kept(params)
  return similarity.log_similarity(params, _latest(encoded), item_BxK)


def _latest(encoded: EncoderOutput) -> jax.Array:
  """The latest items of encoded histories: int32 [B, A]."""
  if encoded.latest_BxA is None:
    raise ValueError(
      "the encoder output does not hold the latest items; make it by sidrec.encode with this "
      "model, whose search reads them"
    )
  return encoded.latest_BxA
