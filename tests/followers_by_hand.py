"""The distribution by what followed the latest items in other histories, in NumPy."""

import numpy as np

from sidrec.models.packed_followers import unpack

LATEST = 10


def probabilities(params, history, shares=None, floor=None):
  """p_follows of every item after one history: float64 [N].

  Args:
    history: item rows, oldest first.
    shares: items that may come again → p of each by the model; None for a model without repeats.
    floor: what new items have beside their share of the sums; None for 1 / N.
  """
  num_items, sums = len(params["follower"]), sums_of(params, history)
  floor_N = np.full(num_items, 1 / num_items if floor is None else floor)
  if shares is None:
    return half(sums, floor_N)
  met = np.isin(np.arange(num_items), list(shares))
  p_met = sum(shares.values())
  of_met = half(np.where(met, sums, 0.0), met / max(met.sum(), 1))
  of_new = half(np.where(met, 0.0, sums), floor_N)
  return np.where(met, p_met * of_met, (1 - p_met) * of_new)


def sums_of(params, history):
  """What the followers of the latest items add up to, of every item: float64 [N]."""
  sums = np.zeros(len(params["follower"]))
  for age, item in enumerate(history[::-1][:LATEST], start=1):
    kept = unpack(params["follower"][item], params["follower_similarity"][item])
    for follower, similarity in zip(*map(np.asarray, kept), strict=True):
      if follower >= 0:
        sums[follower] += float(similarity) / age
  return sums


def half(sums, even):
  return (sums / sums.sum() + even) / 2 if sums.sum() else even
