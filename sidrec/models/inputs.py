"""What models read beside items: times, ratings and actions of events, the request's time, users.

A gap is seconds between two events, in buckets of ⌊2.5 · ln(1 + seconds)⌋. Attention gets a bias by
the bucket of the time from an event to the request that the looking position answers, as in HSTU
(Zhai et al., ICML 2024, arXiv:2402.17152). In training a position answers the request at the time
of its target; it sees no rating or action of the target, and nothing later.

What is known of a user is one state more, in front of the history: the sum of an embedding of each
attribute. In training each attribute is unknown now and then, so that the model has learnt what to
make of a request that does not say it.

Here X counts buckets of times, and users' attributes; W counts the windows that share a row.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import NUM_RATINGS, Events
from sidrec.data.inputs import InputsConfig, known_inputs
from sidrec.models.dropout import keep_mask
from sidrec.models.positions import positions

NUM_GAPS = 64  # rows of the table; seconds in int32 reach bucket 53
HIDDEN = 0.1  # the probability that training does not say a user's attribute
FIRST = NUM_GAPS - 1  # the row of an event with none before it
_PER_NAT = 2.5
_LARGEST = math.floor(_PER_NAT * math.log(2**31))
# The least seconds of each bucket, so that no rounding of a logarithm decides.
_LEAST_P = np.array([math.ceil(math.exp(p / _PER_NAT) - 1) for p in range(_LARGEST + 1)], np.int32)


def buckets(seconds: jax.Array) -> jax.Array:
  """⌊2.5 · ln(1 + seconds)⌋, exactly, and 0 for less than 0: int32 of the same shape."""
  seconds = jnp.maximum(seconds, 0)
  guess = (_PER_NAT * jnp.log1p(seconds.astype(jnp.float32))).astype(jnp.int32)
  guess = jnp.clip(guess, 0, _LARGEST)
  least_X = jnp.asarray(_LEAST_P)
  guess = guess - (seconds < least_X[guess])
  above = jnp.minimum(guess + 1, _LARGEST)
  return jnp.where(seconds >= least_X[above], above, guess)


def events_of(history_BxS: jax.Array | Events, inputs: InputsConfig) -> Events:
  """The history as events with just what the model reads; item rows alone where that is all.

  Raises:
    ValueError: if it lacks what the model reads.
    TypeError: for times or actions that are not int32, or ratings that are not float32.
  """
  events = history_BxS if isinstance(history_BxS, Events) else Events(history_BxS)
  read = {
    "time_BxS": (inputs.times, "times"),
    "asked_BxS": (inputs.asks, "the request's time"),
    "rating_BxS": (inputs.rating, "ratings"),
    "action_BxS": (bool(inputs.actions), "actions"),
    "earlier_BxX": (inputs.earlier > 0, "items before what it reads"),
    "user_BxX": (bool(inputs.user_attributes), "users' attributes"),
  }
  columns = {name: getattr(events, name) for name in read}
  for name, column in columns.items():
    wanted, what = read[name]
    if wanted and column is None:
      raise ValueError(
        f"the model reads {what} and the histories have none; make them with "
        "sidrec.Events.of(items, times, ratings, request_time, actions, inputs, earlier, "
        "attributes)"
      )
    dtype = np.float32 if name == "rating_BxS" else np.int32
    if wanted and column.dtype != dtype:  # wider times would lose their upper bits
      raise TypeError(
        f"{name} is {column.dtype} and has to be {np.dtype(dtype)}; make it with sidrec.Events.of"
      )
  return Events(events.item_BxS, *(columns[name] if read[name][0] else None for name in read))


def example_events(item_BxS: jax.Array, config: Any) -> Events:
  """Events of whole rows of items that all happen at once, to make parameters with.

  Args:
    item_BxS: as the model takes them, users' tokens included.
    config: the model's, with its `history_length` and `inputs`.
  """
  second_BxS = jnp.zeros((item_BxS.shape[0], config.history_length), jnp.int32)
  earlier_BxX = jnp.full((item_BxS.shape[0], config.inputs.earlier), NO_ITEM, jnp.int32)
  rating_BxS = second_BxS.astype(jnp.float32)
  user_BxX = jnp.zeros((item_BxS.shape[0], len(config.inputs.user_attributes)), jnp.int32)
  columns = second_BxS, second_BxS, rating_BxS, second_BxS, earlier_BxX, user_BxX
  events = Events(item_BxS, *columns)
  return events_of(events, config.inputs)


class EventInputs(nn.Module):
  """The tables of what is read; a model that reads items alone has none."""

  config: InputsConfig
  width: int
  heads: int
  layers: int

  def setup(self):  # noqa: D102
    c, table = self.config, nn.initializers.normal(0.02)
    if c.gap:
      self.gap_XxD = self.param("gap", table, (NUM_GAPS, self.width))
    if c.rating:
      self.rating_XxD = self.param("rating", table, (NUM_RATINGS, self.width))
    if c.actions:
      self.action_XxD = self.param("action", table, (1 + len(c.actions), self.width))
    if c.time_bias:
      shape = (self.layers, self.heads, NUM_GAPS)
      self.bias = self.param("time_bias", nn.initializers.zeros, shape)
    if c.user_attributes:
      rows = sum(attribute.rows for attribute in known_inputs(c).known)
      self.attribute_XxD = self.param("user_attribute", table, (rows, self.width))

  def embed(self, events: Events, segment_BxS: jax.Array | None = None) -> jax.Array:
    """What is added to each position: float32 [B, S, D], 0 where no event is.

    Args:
      events: without users' tokens.
      segment_BxS: which history of its row each position belongs to; None for one a row.
    """
    real_BxS = events.item_BxS != NO_ITEM
    x_BxSxD = jnp.zeros((*real_BxS.shape, self.width))
    if self.config.gap:
      x_BxSxD = x_BxSxD + self.gap_XxD[self._gaps(events, segment_BxS)]
    if self.config.rating:
      x_BxSxD = x_BxSxD + self.rating_XxD[_rating_rows(events.rating_BxS, self.config.rating_step)]
    if self.config.actions:
      x_BxSxD = x_BxSxD + self.action_XxD[events.action_BxS]
    return jnp.where(real_BxS[..., None], x_BxSxD, 0.0)

  def _gaps(self, events: Events, segment_BxS: jax.Array | None) -> jax.Array:
    """The bucket to the next event, or from the one before it: int32 [B, S]."""
    time_BxS = events.time_BxS
    if self.config.asks:
      return buckets(events.asked_BxS - time_BxS)
    segment_BxS = jnp.zeros_like(time_BxS) if segment_BxS is None else segment_BxS
    gap_BxS = buckets(jnp.diff(time_BxS, axis=1, prepend=time_BxS[:, :1]))
    return jnp.where(positions(segment_BxS) == 0, FIRST, gap_BxS)

  def of_users(self, user_BxX: jax.Array, train: bool = False) -> jax.Array:
    """A state for each window's user: float32 [B, W, D].

    Args:
      user_BxX: int32 rows of attributes, those of one window after another; rows that there are
        not count as unknown.
      train: whether to hide attributes; needs the random stream 'dropout'.
    """
    size_X = np.array([attribute.rows for attribute in known_inputs(self.config).known])
    row_BxWxX = user_BxX.reshape(user_BxX.shape[0], -1, len(size_X))
    is_row_BxWxX = (row_BxWxX >= 0) & (row_BxWxX < size_X[None, None])
    row_BxWxX = jnp.where(is_row_BxWxX, row_BxWxX, 0)
    if train:
      said_BxWxX = keep_mask(self.make_rng("dropout"), 1 - HIDDEN, row_BxWxX)
      row_BxWxX = jnp.where(said_BxWxX, row_BxWxX, 0)
    first_X = np.cumsum(size_X) - size_X
    return self.attribute_XxD[row_BxWxX + first_X[None, None]].sum(axis=2)

  def biases(self, events: Events) -> list[jax.Array | None]:
    """What each layer adds to its logits of attention: float32 [B, H, S, S], or None.

    Row: the position that looks, at its request's time where that is read; column: the event that
    it looks at.
    """
    if not self.config.time_bias:
      return [None] * self.layers
    now_BxS = events.asked_BxS if self.config.asks else events.time_BxS
    bucket_BxSxS = buckets(now_BxS[:, :, None] - events.time_BxS[:, None, :])
    return [jnp.swapaxes(bias_HxX[:, bucket_BxSxS], 0, 1) for bias_HxX in self.bias]


def added(bias_HxSxS: jax.Array | None, bias: jax.Array | None) -> jax.Array | None:
  """A bias that histories share and one [B, H, S, S] of each, as one; None where neither is."""
  if bias_HxSxS is None or bias is None:
    return bias_HxSxS if bias is None else bias
  return bias_HxSxS[None] + bias


def _rating_rows(rating_BxS: jax.Array, step: float) -> jax.Array:
  """The row of each rating; 0 where it is unknown. On the host, others than these are refused."""
  row_BxS = 1 + jnp.clip(jnp.round(rating_BxS / step), 0, NUM_RATINGS - 2)
  return jnp.where(jnp.isnan(rating_BxS), 0, row_BxS).astype(jnp.int32)
