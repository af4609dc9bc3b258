"""One history that the command line names: items, and their times and ratings as text."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sidrec.core.printable import printable
from sidrec.data.dataset import Histories
from sidrec.data.events import InputsConfig
from sidrec.run.ask import NOBODY
from sidrec.run.given import numbers_of


class Said(NamedTuple):
  """Numbers of the items of a history, one for each; None where the model reads none."""

  times: list[float] | None = None  # seconds since 1970
  ratings: list[float] | None = None  # NaN where unknown


NOTHING_SAID = Said()


def check_said(
  times: Sequence[str] | None,
  ratings: Sequence[str] | None,
  inputs: InputsConfig,
  *,
  names_items: bool,
) -> None:
  """Raises ValueError if --times and --ratings are not what the model reads, or for whom."""
  for flag, texts, is_read, example in (
    ("times", times, inputs.times, "1700000000,1700000500, in seconds since 1970"),
    ("ratings", ratings, inputs.rating, "4,,5, with nothing where it is unknown"),
  ):
    if texts is not None and not names_items:
      raise ValueError(f"--{flag} goes with --items or --history; users have {flag} of their own")
    if texts is not None and not is_read:
      raise ValueError(f"--{flag} is given, and this model reads no {flag} (config.model.inputs)")
    if texts is None and is_read and names_items:
      raise ValueError(
        f"this model reads {flag} (config.model.inputs); give one for each item, such as "
        f"--{flag}={example}"
      )


def said_of(times: Sequence[str] | None, ratings: Sequence[str] | None, count: int) -> Said:
  """The numbers of --times and --ratings for so many items.

  Args:
    times: lists with commas between; several add up.
    ratings: lists, too; nothing between two commas, or nan, is an unknown rating.
    count: items of the history.

  Raises:
    ValueError: for what is no number, no time or no rating, or another count.
  """
  found = {}
  for flag, texts in (("times", times), ("ratings", ratings)):
    if texts is not None:
      pieces = [piece.strip() for text in texts for piece in text.split(",")]
      found[flag] = numbers_of(flag, [_number(flag, piece) for piece in pieces], count)
  return Said(**found)


def _number(flag: str, piece: str) -> float:
  if flag == "ratings" and not piece:
    return math.nan
  try:
    return float(piece)
  except ValueError:
    raise ValueError(f"--{flag} holds '{printable(piece)[:40]}', which is no number") from None


def history_of_items(item_rows: Sequence[int], said: Said = NOTHING_SAID) -> Histories:
  """One made-up user with these items, oldest first."""
  count = len(item_rows)
  times = np.zeros(count) if said.times is None else np.array(said.times)
  ratings = np.full(count, np.nan) if said.ratings is None else np.array(said.ratings)
  return Histories(
    offsets_Up1=np.array([0, count]),
    item_T=np.asarray(item_rows, np.int32),
    time_T=times.astype(np.int64),
    rating_T=ratings.astype(np.float32),
    user_ids_U=np.array([NOBODY]),
  )


def now_after(histories: Histories) -> int:
  """The time of a request for what comes now: the clock's, or the newest event's if it is ahead."""
  return max(int(time.time()), int(histories.time_T.max(initial=0)))
