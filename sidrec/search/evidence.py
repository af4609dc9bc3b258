"""What ranks the items that a search found, beside log p of their IDs.

That is the item head, what followed in other histories, and similarity to the latest items, where
the model has them. All are log p of items up to a number of each history. `joint` takes their
weighted mean as one score, whose weight is the sum of theirs.
"""

from collections.abc import Callable

import jax

from sidrec.catalogue.trie.trie import Trie
from sidrec.models import followers, similarity
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.settings import RecommenderConfig
from sidrec.search.levels import call
from sidrec.search.settings import SearchConfig


def weights(model: RecommenderConfig, config: SearchConfig) -> tuple[float, float, float]:
  """Of the item head, followers and similarity; 0 for what the model does not have."""
  return (
    config.item_weight if model.item_head else 0.0,
    config.follower_weight if model.followers else 0.0,
    config.similarity_weight if model.similarity else 0.0,
  )


def names(model: RecommenderConfig, config: SearchConfig) -> list[str]:
  """What is joined with the distribution by IDs, in words."""
  words = "the item head", "what followed in other histories", "similarity to the latest items"
  return [word for word, used in zip(words, weights(model, config), strict=True) if used]


def weight(model: RecommenderConfig, config: SearchConfig) -> float:
  """The weight of `scores` next to log p of IDs; 0 where IDs alone rank."""
  return sum(weights(model, config))


def scores(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  item_BxK: jax.Array | None,
) -> jax.Array:
  """The weighted mean of what ranks items: float32 [B, K].

  Args:
    model: with a `weight` above 0.
    params: its parameters.
    trie: the catalogue.
    encoded: the histories.
    config: of the search.
    item_BxK: int32 item rows; what is no item has any score. None for all, [B, N].
  """
  of_head = weights(model.config, config)[0]
  parts = counted(model.config, params, encoded, config, item_BxK)
  if of_head and item_BxK is None:
    parts.insert(0, of_head * call(model, params, "all_item_scores", encoded, trie.codes_NxL))
  elif of_head:
    asked = encoded, item_BxK, trie.codes_NxL
    parts.insert(0, of_head * call(model, params, "item_scores", *asked))
  return sum(parts[1:], start=parts[0]) / weight(model.config, config)


def counted(
  model: RecommenderConfig,
  params: dict,
  encoded: EncoderOutput,
  config: SearchConfig,
  item_BxK: jax.Array | None,
) -> list[jax.Array]:
  """What ranks items and is not trained, each with its weight: float32 [B, K], for `scores`."""
  _, of_followers, of_similarity = weights(model, config)
  parts = []
  if of_followers:
    parts.append(of_followers * follower_log_p(params, encoded, item_BxK))
  if of_similarity:
    parts.append(of_similarity * log_similarity(params, encoded, item_BxK))
  return parts


def num_candidates(model: RecommenderConfig, config: SearchConfig) -> int:
  """How many items that followed are ranked beside what the beams found; 0 without followers."""
  used = weights(model, config)[1] and not config.most_per_prefix
  return config.follower_candidates if used else 0


def strongest_followers(
  params: dict, encoded: EncoderOutput, may: Callable[[jax.Array], jax.Array], count: int
) -> jax.Array:
  """`followers.strongest` after encoded histories: int32 [B, F], NO_ITEM where there are fewer."""
  followers.check_counted(params)
  return followers.strongest(params, _latest(encoded), may, count)


def follower_log_p(params: dict, encoded: EncoderOutput, item_BxK: jax.Array | None) -> jax.Array:
  """`followers.log_p` after encoded histories, of all items for None: float32 [B, K].

  Raises:
    ValueError: for parameters, or the encoder output of a model, without followers.
  """
  followers.check_counted(params)
  return followers.log_p(params, _latest(encoded), encoded.again, item_BxK)


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
