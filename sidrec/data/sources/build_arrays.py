"""`build` from arrays; until every reader has frames."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from sidrec.data import dataset
from sidrec.data.sources.build import apply_rules, item_frame


def build_arrays(
  name: str,
  user_T: np.ndarray,
  item_T: np.ndarray,
  time_T: np.ndarray,
  rating_T: np.ndarray,
  metadata: dataset.Items,
  min_interactions: int = 3,
  notes: Sequence[str] = (),
  ticks: int = 1,
  repeats: str = "",
) -> dataset.Dataset:
  """As `build`, without looking for duplicates."""
  log = pl.DataFrame(
    {
      "user": np.asarray(user_T),
      "item": np.asarray(item_T),
      "time": np.asarray(time_T, np.int64),
      "rating": np.asarray(rating_T, np.float32),
    }
  )
  return apply_rules(
    name, log, item_frame(metadata), min_interactions, notes, ticks=ticks, repeats=repeats
  )
