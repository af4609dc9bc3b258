"""One history that the command line names: items, what is known of each, and of the user."""

import math
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from sidrec.core.printable import printable
from sidrec.data.dataset import TEXT, Dataset, Histories
from sidrec.data.inputs import InputsConfig
from sidrec.run.ask import NOBODY
from sidrec.run.given import actions_of, numbers_of


class Said(NamedTuple):
  """What is said of the items of a history, one for each; None where the model reads none."""

  times: list[float] | None = None  # seconds since 1970
  ratings: list[float] | None = None  # NaN where unknown
  actions: list[str] | None = None  # '' where unknown


NOTHING_SAID = Said()


def check_said(
  times: Sequence[str] | None,
  ratings: Sequence[str] | None,
  actions: Sequence[str] | None,
  attributes: Sequence[str] | None,
  inputs: InputsConfig,
  *,
  names_items: bool,
) -> None:
  """Raises ValueError if --times and so on are not what is read, or for whom.

  What --attributes does not say is unknown; all else has to be given.
  """
  for flag, texts, is_read, example in (
    ("times", times, inputs.times, "1700000000,1700000500, in seconds since 1970"),
    ("ratings", ratings, inputs.rating, "4,,5, with nothing where it is unknown"),
    ("actions", actions, bool(inputs.actions), f"{','.join(inputs.actions)}, or nothing"),
    ("attributes", attributes, bool(inputs.user_attributes), ""),
  ):
    if texts is not None and not names_items:
      raise ValueError(f"--{flag} goes with --items or --history; users have {flag} of their own")
    if texts is not None and not is_read:
      raise ValueError(f"--{flag} is given, and this model reads no {flag} (config.model.inputs)")
    if texts is None and is_read and names_items and flag != "attributes":
      raise ValueError(
        f"this model reads {flag} (config.model.inputs); give one for each item, such as "
        f"--{flag}={example}"
      )


def said_of(
  times: Sequence[str] | None,
  ratings: Sequence[str] | None,
  count: int,
  actions: Sequence[str] | None = None,
  known: Collection[str] = (),
) -> Said:
  """What --times, --ratings and --actions say of so many items.

  Args:
    times: lists with commas between; several add up.
    ratings: lists, too; nothing between two commas, or nan, is an unknown rating.
    count: items of the history.
    actions: lists of names, too; nothing between two commas is an unknown action.
    known: names of actions.

  Raises:
    ValueError: for what is no number, no time, rating or action, or another count.
  """
  found, names = {}, None
  for flag, texts in (("times", times), ("ratings", ratings)):
    if texts is not None:
      pieces = [piece.strip() for text in texts for piece in text.split(",")]
      found[flag] = numbers_of(flag, [_number(flag, piece) for piece in pieces], count)
  if actions is not None:
    pieces = [piece.strip() for text in actions for piece in text.split(",")]
    names = [name or "" for name in actions_of(pieces, count)]
    for name in filter(None, names):
      if name not in known:
        raise ValueError(f"--actions holds {name!r:.60}; there are {', '.join(sorted(known))}")
  return Said(found.get("times"), found.get("ratings"), names)


def said_of_user(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
  """What --attributes says: attribute → value, as text.

  Args:
    texts: lists of NAME=VALUE with commas between; several add up.
    names: of the attributes that the model reads.

  Raises:
    ValueError: for another form, a name that is not read, or one that is given twice.
  """
  said: dict[str, str] = {}
  for piece in (piece for text in texts for piece in text.split(",")):
    name, equals, value = (part.strip() for part in piece.partition("="))
    if not equals or name not in names or name in said:
      raise ValueError(
        f"--attributes holds '{printable(piece.strip())[:60]}'; give NAME=VALUE, each once, of "
        f"{', '.join(names)}"
      )
    said[name] = value
  return said


def with_user(
  histories: Histories, texts: Sequence[str], inputs: InputsConfig, dataset: Dataset
) -> Histories:
  """The history with what --attributes says of its user; what it does not say is unknown.

  Raises:
    ValueError: as `said_of_user` does, and for a number that is none.
  """
  said, users = said_of_user(texts, inputs.user_attributes), {}
  for name in inputs.user_attributes:
    value = said.get(name, "")
    if name in dataset.users and dataset.users[name].dtype == TEXT:
      users[name] = np.array([value], TEXT)
    else:
      number = _number("attributes", value) if value else math.nan
      users[name] = np.array([number], np.float32)
  return histories._replace(users=users)


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
  action_T = names = None
  if said.actions is not None:
    names = tuple(sorted({name for name in said.actions if name}))
    action_T = np.array([names.index(x) if x else -1 for x in said.actions], np.int16)
  return Histories(
    offsets_Up1=np.array([0, count]),
    item_T=np.asarray(item_rows, np.int32),
    time_T=times.astype(np.int64),
    rating_T=ratings.astype(np.float32),
    user_ids_U=np.array([NOBODY]),
    action_T=action_T,
    actions=names,
  )


def now_after(histories: Histories) -> int:
  """The time of a request for what comes now: the clock's, or the newest event's if it is ahead."""
  return max(int(time.time()), int(histories.time_T.max(initial=0)))
