"""The distribution of a model with repeats, item by item in NumPy, from the model without them."""

import dataclasses
import functools

import jax
import numpy as np
from tiny import log_likelihood

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.inputs import _LEAST_P
from sidrec.models.positions import buckets


def without_repeats(model):
  """The same model without repeats; it leaves their parameters unused."""
  inputs = dataclasses.replace(model.config.inputs, earlier=0)
  return model.clone(config=dataclasses.replace(model.config, repeats=False, inputs=inputs))


def probabilities(model, params, trie, path, history_S, seconds=None, temperature=1.0, earlier=()):
  """p of every item after one history, none of whose entries is NO_ITEM: float64 [N].

  Args:
    seconds: from each event to the request, where times are read; then `history_S` is `Events`.
    earlier: items that were met before the history, newest first.
  """
  item_S = np.asarray(getattr(history_S, "item_BxS", history_S)).reshape(-1)
  item_S = item_S[item_S != NO_ITEM]
  a, n = scores(model, params, trie, history_S, item_S, seconds)
  state_D = states_of(model, params, trie, history_S)[max(len(item_S) - 1, 0)]
  for place, item in enumerate(earlier):  # newest first
    bucket = np.searchsorted(_LEAST_P, place, side="right") - 1
    bias = weights(params, "earlier_bias")[bucket]
    a.setdefault(item, state_D @ weights(params, "earlier") + bias)
  weight = {item: np.exp(x / temperature) for item, x in a.items()}
  new = np.exp(n / temperature) if len(a) < trie.num_items else 0.0
  total = new + sum(weight.values())
  p_N = new / total * new_probabilities(model, params, trie, path, history_S, set(a), temperature)
  for item, x in weight.items():
    p_N[item] = x / total
  return p_N


def scores(model, params, trie, history, item_S, seconds):
  """{distinct item: a}, and n."""
  if not len(item_S):
    last_D = states_of(model, params, trie, history)[0]
    return {}, last_D @ weights(params, "new") + float(params["repeats"]["new_bias"])
  states_SxD, last, a = states_of(model, params, trie, history), len(item_S) - 1, {}
  bucket_S = buckets(len(item_S), bidirectional=False)[:, 0]
  for s, item in enumerate(item_S.tolist()):  # the latest one stays
    look = states_SxD[last] @ weights(params, "look") @ states_SxD[s] / model.config.width**0.5
    count = int((item_S[: s + 1] == item).sum())
    a[item] = look + weights(params, "recency")[bucket_S[last - s]]
    a[item] += weights(params, "count")[min(count, 16) - 1]
    if seconds is not None:
      a[item] += weights(params, "gap")[np.searchsorted(_LEAST_P, seconds[s], side="right") - 1]
  return a, states_SxD[last] @ weights(params, "new") + float(params["repeats"]["new_bias"])


def weights(params, name):
  return np.asarray(params["repeats"][name], np.float64)


@functools.partial(jax.jit, static_argnums=0)
def encode_states(model, params, history, codes_NxL):
  plain = without_repeats(model)
  return plain.apply({"params": params}, history, codes_NxL, method="encode_states")[0]


def states_of(model, params, trie, history):
  return np.asarray(encode_states(model, params, rows(model, history), trie.codes_NxL), float)[0]


def rows(model, history):
  """The history as a row of the model's length, so that few shapes are compiled."""
  if hasattr(history, "item_BxS"):
    return history
  item_S = np.asarray(history, np.int32).reshape(-1)
  more = model.config.history_length - len(item_S)
  return np.pad(item_S, (0, more), constant_values=NO_ITEM)[None]


def new_probabilities(model, params, trie, path, history, had, temperature):
  """p_new of every item, 0 for what was had: each level's softmax over the children left."""
  num_items, events = trie.num_items, rows(model, history)
  item_1xS = getattr(events, "item_BxS", events)
  last = max(int((item_1xS != NO_ITEM).sum()) - 1, 0)
  target = np.repeat(np.arange(num_items, dtype=np.int32)[:, None], item_1xS.shape[1], axis=1)
  every = jax.tree.map(lambda x: np.repeat(x, num_items, axis=0), events)
  plain = without_repeats(model)
  logp_NxL = np.asarray(log_likelihood(plain, params, every, target, trie, path))[:, last]
  p_NxL = np.exp(logp_NxL.astype(np.float64) / temperature)
  code_N = list(map(tuple, np.asarray(trie.codes_NxL).tolist()))
  p_N = np.zeros(num_items)
  for item in set(range(num_items)) - had:
    p = 1.0
    for level in range(trie.num_levels):
      left = {  # the children that lead to something new, each by one item below it
        code_N[other][: level + 1]: p_NxL[other, level]
        for other in set(range(num_items)) - had
        if code_N[other][:level] == code_N[item][:level]
      }
      p *= p_NxL[item, level] / sum(left.values())
    p_N[item] = p
  return p_N
