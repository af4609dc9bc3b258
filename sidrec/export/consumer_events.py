"""Times, ratings and actions of requests, as the programs of a bundle take them, for `run.py`.

`Bundle.recommend(histories, times=…, ratings=…, actions=…, request_times=…, attributes=…)`: times
are seconds since 1970, ratings numbers and actions names, None where unknown; a list for each
history, with one for each item, oldest first. Request times are whole seconds, one for each
history, or None for now. Attributes are of users: names and values, or None, for each history.
"""

import math
import numbers
import time

import numpy as np


def parts(count, most, events):
  """Slices of so many requests, and what each brings; raises ValueError for other counts."""
  for name, values in events.items():
    if values is not None and len(values) != count:
      raise ValueError(f"{len(values)} {name} are given for {count} histories; give one for each")
  for at in range(0, count, most):
    part = slice(at, at + most)
    yield part, {name: x if x is None else x[part] for name, x in events.items()}


def columns(manifest, rows, shape, attributes=None, **events):
  """What a program takes after the temperatures.

  Args:
    manifest: of the bundle.
    rows: item rows of each history, those that are not read, too.
    shape: how many requests and items a program takes.
    attributes: of the user of each history, where the model reads them; None where unknown.
    **events: as `columns_of_events` takes them.

  Raises:
    ValueError: for what is missing, not read, or cannot be.
  """
  arrays = columns_of_events(manifest, rows, shape, **events)
  known = manifest["reads"].get("user_attributes", [])
  if attributes is not None and not known:
    raise ValueError("this model reads nothing of users; leave attributes out")
  if known:
    user_BxX = np.zeros((shape[0], len(known)), np.int32)
    for b, given in enumerate(attributes or []):
      user_BxX[b] = _user(given or {}, known)
    arrays.append(user_BxX)
  return arrays


def columns_of_events(
  manifest, rows, shape, times=None, ratings=None, request_times=None, actions=None
):
  """What a program takes after the temperatures: arrays of this shape, [requests, items].

  Args:
    manifest: of the bundle.
    rows: item rows of each history, those that are not read, too.
    shape: how many requests and items a program takes.
    times, ratings, request_times, actions: of the histories, where the model reads them.

  Raises:
    ValueError: for what is missing, not read, or cannot be.
  """
  reads, length = manifest["reads"], manifest["history_length"]
  times = _checked("times", times, reads["times"], rows)
  ratings = _checked("ratings", ratings, reads["ratings"], rows)
  names = reads.get("actions", [])
  actions = _checked("actions", actions, bool(names), rows)
  if request_times is not None and not reads["request_time"]:
    raise ValueError("this model does not read when it is asked; leave request_times out")
  arrays = []
  if reads["times"]:
    time_BxS, asked_BxS = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for b, values in enumerate(times):
      seconds = _seconds(values)[-length:]
      end = seconds[-1] if seconds else 0
      if reads["request_time"]:
        end = _asked(None if request_times is None else request_times[b], values)
      time_BxS[b, : len(seconds)] = _before(end, seconds)
      asked_BxS[b, : max(len(seconds) - 1, 0)] = time_BxS[b, 1 : len(seconds)]
    arrays += [time_BxS, asked_BxS] if reads["request_time"] else [time_BxS]
  if reads["ratings"]:
    rating_BxS = np.zeros(shape, np.float32)
    for b, values in enumerate(ratings):
      latest = [_rating(value, reads["rating_step"]) for value in values[-length:]]
      rating_BxS[b, : len(latest)] = latest
    arrays.append(rating_BxS)
  if names:
    action_BxS = np.zeros(shape, np.int32)
    for b, values in enumerate(actions):
      latest = [_action(value, names) for value in values[-length:]]
      action_BxS[b, : len(latest)] = latest
    arrays.append(action_BxS)
  if reads["earlier"]:
    earlier_BxX = np.full((shape[0], reads["earlier"]), -1, np.int32)
    for b, row in enumerate(rows):
      before = dict.fromkeys(reversed(row[:-length][-reads["earlier"] :]))  # each once
      earlier_BxX[b, : len(before)] = list(before)
    arrays.append(earlier_BxX)
  return arrays


def _user(given, known):
  """The row of each attribute of a user; 0 where it is unknown."""
  names = [attribute["name"] for attribute in known]
  for name in given:
    if name not in names:
      raise ValueError(f"this model reads no attribute {name!r}; there are {', '.join(names)}")
  return [_row(given.get(attribute["name"]), attribute) for attribute in known]


def _row(value, attribute):
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if value is None or (is_number and value != value):
    return 0
  if attribute["values"] is None:
    if not is_number:
      raise ValueError(f"attribute {attribute['name']!r} is {value!r}; give a number, or None")
    try:
      value = np.float32(value)
    except OverflowError:  # of a whole number with hundreds of digits
      return 0
    if not math.isfinite(value):
      return 0
    edges = np.array(attribute["edges"], np.float32)
    return 1 + int(np.searchsorted(edges, value, side="right"))
  if is_number and isinstance(value, numbers.Integral):
    value = str(int(value))
  if not isinstance(value, str):
    raise ValueError(f"attribute {attribute['name']!r} is {value!r}; give text, or None")
  return 1 + attribute["values"].index(value) if value in attribute["values"] else 0


def _checked(name, lists, is_read, rows):
  if is_read and lists is None:
    raise ValueError(f"this model reads {name}; give a list for each history, one for each item")
  if not is_read and lists is not None:
    raise ValueError(f"this model reads no {name}; leave them out")
  lists = lists or []
  if is_read and [len(values) for values in lists] != [len(row) for row in rows]:
    raise ValueError(f"{name} are lists of other lengths than the histories; give one an item")
  return lists


def _seconds(values):
  if not all(0 <= value < 1e12 for value in values):
    raise ValueError(f"times hold {values}; give seconds since 1970")
  return [int(value) for value in values]


def _asked(asked, values):
  """When a request is made: now, unless it says so; a clock may be ahead of this one."""
  if asked is None:
    return max(int(time.time()), math.ceil(max(values, default=0)))
  if int(asked) != asked:
    raise ValueError(f"a request is made at {asked}; give whole seconds since 1970")
  return int(asked)


def _before(end, seconds):
  """Seconds before the end, at most 0."""
  if seconds != sorted(seconds):
    raise ValueError(f"times decrease in {seconds}; give the oldest item first")
  if seconds and not 0 <= end - seconds[-1] <= end - seconds[0] < 2**31:
    raise ValueError(
      f"a request is made at {end}, and its history goes from {seconds[0]} to {seconds[-1]}; give "
      "seconds, a history that ends before the request, and at most 68 years of it"
    )
  return [second - end for second in seconds]


def _action(value, names):
  if value is not None and value not in names:
    raise ValueError(f"an action is {value!r}; there are {', '.join(names)}, and None for others")
  return 0 if value is None else 1 + names.index(value)


def _rating(value, step):
  if value is None or math.isnan(value):
    return math.nan
  steps = value / step
  if not -1e-3 <= steps <= 14 + 1e-3 or abs(steps - round(steps)) > 1e-3:
    raise ValueError(f"a rating is {value}; give a multiple of {step} from 0 to {14 * step}")
  return value
