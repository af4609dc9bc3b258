"""A recommender of a few lines, whose scores are a table: for tests of the search alone."""

import types

import jax
import jax.numpy as jnp
import numpy as np

LEVELS, CODES = 3, 4


class TableModel:
  """log p(token | history, token before) ∝ exp(table[level, token before, token] · history)."""

  config = types.SimpleNamespace(
    constrained_softmax=True, item_head=False, followers=0, similarity=False, repeats=False
  )
  sizes = types.SimpleNamespace(num_levels=LEVELS, num_items=None, num_nodes=None, origin=None)

  def apply(self, variables, *args, method):
    return getattr(self, method)(variables["params"]["table"], *args)

  def encode(self, table, history_BxS, codes_NxL, beams, num_items):
    return history_BxS[:, 0].astype(jnp.float32)

  def empty_caches(self, table, batch, beams):
    return ()

  def step(self, table, encoded_B, caches, token, level, children, temperature):
    before = jnp.where(level == 0, 0, token)[..., None]
    logits = jnp.asarray(table)[level, before, children.token] * encoded_B[:, None, None]
    logits = jnp.where(children.real, logits / temperature, -jnp.inf)
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return logits - jnp.where(jnp.isfinite(total), total, 0.0), ()


def make_table(seed=0):
  return np.random.default_rng(seed).normal(size=(LEVELS, CODES, CODES)).astype(np.float32)


def log_p(table, scale, codes, levels=None, temperature=1.0):
  """log p of all IDs [N], summed over levels with these weights; by plain loops."""
  weights = [1.0] * codes.shape[1] if levels is None else levels
  score = np.zeros(len(codes))
  for at, code in enumerate(codes):
    for level in range(codes.shape[1]):
      siblings = codes[(codes[:, :level] == code[:level]).all(axis=1), level]
      before = code[level - 1] if level else 0
      logits = table[level, before] * scale / temperature
      total = np.logaddexp.reduce(logits[np.unique(siblings)])
      score[at] += weights[level] * (logits[code[level]] - total)
  return score


def beam_by_hand(table, scale, codes, may, beams):
  """The beam search with a filter, by plain loops over prefixes: item rows, best first."""
  prefixes = {(): 0.0}
  for level in range(codes.shape[1]):
    grown = {}
    for prefix, score in prefixes.items():
      below = (codes[:, :level] == np.array(prefix, int)).all(axis=1)
      logits = table[level, prefix[-1] if prefix else 0] * scale
      total = np.logaddexp.reduce(logits[np.unique(codes[below, level])])
      for token in np.unique(codes[below & may, level]):
        grown[(*prefix, token)] = score + logits[token] - total
    prefixes = dict(sorted(grown.items(), key=lambda pair: -pair[1])[:beams])
  rows = {tuple(code): row for row, code in enumerate(codes)}
  return [rows[prefix] for prefix in prefixes]
