"""The search from encoder states, in two calls: `encode`, then `beam_search`."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie, rows_below
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.search import beam
from sidrec.search.checks import check_fit, checked_histories
from sidrec.search.filters import NO_FILTERS, Filters, checked
from sidrec.search.settings import SearchConfig


class Beams(NamedTuple):
  """The K most probable semantic IDs after each history, or their first tokens; best first."""

  code_BxKxL: jax.Array  # int32 tokens; -1 where fewer than K are allowed
  logp_BxK: jax.Array  # float32 log p(tokens | history); -inf where not valid
  valid_BxK: jax.Array  # bool

  @property
  def p_BxK(self) -> jax.Array:
    """p(tokens | history), 0 where not valid; over all IDs of a catalogue they add up to 1."""
    return jnp.exp(self.logp_BxK)


def encode(params: dict, trie: Trie, history_BxS: Any, *, model: SemanticIDModel) -> EncoderOutput:
  """The encoder's output for histories, which `beam_search` starts from; compiled.

  Args:
    params: the recommender's parameters.
    trie: the catalogue.
    history_BxS: as in `sidrec.recommend`.
    model: the recommender.

  Raises:
    TypeError, ValueError: as `sidrec.recommend` does for histories.
  """
  check_fit(model, params, trie)
  history_BxS = checked_histories(model, trie, history_BxS)
  return _encode(params, trie, history_BxS, model=model)


def beam_search(
  encoder_output: EncoderOutput,
  beam_size: int,
  max_length: int | None = None,
  *,
  params: dict,
  trie: Trie,
  model: SemanticIDModel,
  filters: Filters = NO_FILTERS,
  search: SearchConfig | None = None,
  key: jax.Array | None = None,
) -> Beams:
  """The K most probable IDs, from the encoder's output; compiled once for each shape.

  The item head has no part in it: scores are log probabilities of IDs.

  Args:
    encoder_output: from `encode`, or what another encoder gives.
    beam_size: K.
    max_length: tokens of each result, at most the levels of an ID; None for whole IDs, the only
      length of a model with repeats.
    params: the recommender's parameters.
    trie: the catalogue; only prefixes of its IDs come out.
    model: the recommender.
    filters: what each request may get.
    search: temperature, weights of levels and limits of prefixes; None for the defaults.
    key: for a random draw without replacement instead of the best; see `beam.search`.

  Returns:
    Beams with L = max_length.

  Raises:
    TypeError: for an encoder output or filters of another type.
    ValueError: for numbers that make no sense, or parameters of another catalogue.
  """
  if isinstance(model, SemanticIDModel) and not isinstance(encoder_output, EncoderOutput):
    raise TypeError(f"encoder_output is a {type(encoder_output).__name__}; see sidrec.encode")
  if beam_size < 1:
    raise ValueError(f"beam_size is {beam_size}; give at least 1")
  length = trie.num_levels if max_length is None else max_length
  if not 1 <= length <= trie.num_levels:
    raise ValueError(f"max_length is {length}; IDs have 1 to {trie.num_levels} tokens")
  if model.config.repeats and length < trie.num_levels:
    raise ValueError(
      "with model.repeats, items of the history are no continuations of prefixes, so a prefix has "
      "no log probability of its own; leave max_length out"
    )
  check_fit(model, params, trie)
  filters = checked(filters, jax.tree.leaves(encoder_output)[0].shape[0])
  config = dataclasses.replace(search or SearchConfig(), beams=beam_size, certify=False)
  return _search(
    params, trie, encoder_output, filters, key, model=model, config=config, length=length
  )


@functools.partial(jax.jit, static_argnames="model")
def _encode(params, trie, history_BxS, *, model):
  batch = history_BxS.shape[0]
  history_BxS = jax.tree.map(
    lambda x: jnp.pad(x, ((0, not batch), (0, 0)), constant_values=NO_ITEM), history_BxS
  )
  inputs = history_BxS, trie.codes_NxL, None, trie.used
  encoded = model.apply({"params": params}, *inputs, method="encode")
  return encoded if batch else jax.tree.map(lambda x: x[:0], encoded)


@functools.partial(jax.jit, static_argnames=("model", "config", "length"))
def _search(params, trie, encoded, filters, key, *, model, config, length):
  if not model.config.repeats:
    node_BxK, logp_BxK = beam.descend(model, params, trie, encoded, config, filters, key, length)
    row_BxK = rows_below(trie, node_BxK)[0]
  else:
    item_BxK, logp_BxK = beam.best_items(model, params, trie, encoded, config, filters, key)
    row_BxK = trie.row_of_N[jnp.maximum(item_BxK, 0)]
  valid_BxK = jnp.isfinite(logp_BxK)
  row_BxK = jnp.where(valid_BxK, row_BxK, 0)
  tokens = [trie.codes_NxL.token(row_BxK, level) for level in range(length)]
  code_BxKxL = jnp.where(valid_BxK[..., None], jnp.stack(tokens, axis=-1), -1)
  return Beams(code_BxKxL, logp_BxK, valid_BxK)
