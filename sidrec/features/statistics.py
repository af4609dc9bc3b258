"""Numeric item columns from behaviour, for the numeric part of the content vectors."""

import numpy as np

from sidrec.data.dataset import Histories
from sidrec.features.pairs import check_items


def item_statistics(histories: Histories, num_items: int) -> dict[str, np.ndarray]:
  """What interactions say about each item alone.

  The names fit into `Items.numeric`: `items._replace(numeric={**items.numeric, **statistics})`.

  Args:
    histories: packed histories; pass the training view, since this learns from all it is given.
    num_items: N.

  Returns:
    'mean_rating': float32 [N], NaN where an item has no rating;
    'log_popularity': float32 [N], log(1 + number of interactions).

  Raises:
    ValueError: for an interaction outside the catalogue.
  """
  check_items(histories, num_items)
  item_T = histories.item_T
  rated_T = np.isfinite(histories.rating_T)
  rated_item, rating = item_T[rated_T], histories.rating_T[rated_T]
  ratings_N = np.bincount(rated_item, minlength=num_items)
  total_N = np.bincount(rated_item, weights=rating, minlength=num_items)
  mean_N = np.where(ratings_N > 0, total_N / np.maximum(ratings_N, 1), np.nan)
  return {
    "mean_rating": mean_N.astype(np.float32),
    "log_popularity": np.log1p(np.bincount(item_T, minlength=num_items)).astype(np.float32),
  }
