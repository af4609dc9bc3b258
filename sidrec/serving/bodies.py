"""Bodies of requests, read strictly: no NaN, no repeated or unknown names, no wrong types."""

import dataclasses
import json
import math
import sys
import time
from typing import Any, NamedTuple

from sidrec.run.answers import OPTIONS, Id, Wanted
from sidrec.serving.settings import Limits
from sidrec.serving.store import Event

WHOM = ("user", "items", "titles")


class RequestError(Exception):
  """A request that is answered with a status and one sentence."""

  def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None):
    """Takes what is answered."""
    super().__init__(sentence)
    self.status, self.sentence, self.headers = status, sentence, headers or {}


class Wished(NamedTuple):
  """A change of the catalogue that a client wants."""

  add: list[dict[str, Any]]  # 'id', and what else is said of an item
  remove: list[str]
  base: str  # version that it starts from


class Asked(NamedTuple):
  """One request: whom for, and its options."""

  whom: str  # in WHOM
  value: Any
  wanted: Wanted


def parsed(body: bytes) -> dict[str, Any]:
  """The object of a body.

  Raises:
    RequestError: 400 for what is no JSON, 422 if it is no object.
  """

  def refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
      raise ValueError("a name is given twice in one object")
    return dict(pairs)

  try:
    value = json.loads(body.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
  except UnicodeDecodeError:
    raise RequestError(400, "the body is not UTF-8") from None
  except RecursionError:
    raise RequestError(400, "the body is nested too deeply") from None
  except json.JSONDecodeError as error:
    raise RequestError(400, f"the body is no JSON: {error}") from None
  except ValueError as error:
    raise RequestError(400, f"the body cannot be read: {str(error)[:200]}") from None
  if not isinstance(value, dict):
    raise RequestError(422, "the body is no object; give {…}")
  return value


def requests_of(body: dict[str, Any], limits: Limits) -> list[Asked]:
  """The requests of POST /v1/recommend; raises RequestError 422 for what they may not be."""
  _only(body, ("requests",), "the body")
  requests = _list(body.get("requests"), "requests", limits.requests)
  return [_asked(request, f"requests[{at}]", limits) for at, request in enumerate(requests)]


def request_of(body: dict[str, Any], limits: Limits) -> Asked:
  """The request of POST /v1/explain; raises RequestError 422 for what it may not be."""
  return _asked(body, "request", limits)


def events_of(body: dict[str, Any], limits: Limits) -> list[Event]:
  """The events of POST /v1/events; raises RequestError 422 for what they may not be."""
  _only(body, ("events",), "the body")
  now, events = time.time(), []
  for at, event in enumerate(_list(body.get("events"), "events", limits.events)):
    where = f"events[{at}]"
    _only(event, ("user", "item", "time", "rating", "action"), where)
    user, item = (_id(event.get(name), f"{where}.{name}", limits) for name in ("user", "item"))
    at_time = event.get("time", now)
    if not _is_number(at_time) or not 0 <= at_time < 1e12:
      raise RequestError(422, f"{where}.time is no number of seconds since 1970")
    rating = event.get("rating")
    if rating is not None and not _is_float(rating):
      raise RequestError(422, f"{where}.rating is no number; leave it out where it is unknown")
    action = event.get("action")
    if action is not None:
      _text(action, f"{where}.action", limits)
    rating = None if rating is None else float(rating)
    events.append(Event(str(user), str(item), float(at_time), rating, action))
  return events


def change_of(body: dict[str, Any], limits: Limits) -> Wished:
  """The change of POST /v1/catalogue; raises RequestError 422 for what it may not be."""
  _only(body, ("add", "remove", "base"), "the body")
  add = _list(body.get("add", []), "add", limits.changed)
  for at, item in enumerate(add):
    _check_described(item, f"add[{at}]", limits)
  remove = [str(x) for x in _ids(body.get("remove", []), "remove", limits.changed, limits)]
  if not add and not remove:
    raise RequestError(422, "the body changes nothing; give items to add, ids to remove, or both")
  seen: set[str] = set()
  for name in (*(str(item["id"]) for item in add), *remove):
    if name in seen:
      raise RequestError(422, f"item {name[:80]!r} is given twice")
    seen.add(name)
  return Wished(add, remove, base_of(body, limits))


def base_of(body: dict[str, Any], limits: Limits) -> str:
  """The version that a change starts from."""
  if "base" not in body:
    raise RequestError(422, "base is missing; give the version that GET /v1/catalogue shows")
  return _text(body["base"], "base", limits)


def rollback_of(body: dict[str, Any], limits: Limits) -> str:
  """The version that POST /v1/catalogue/rollback leaves; raises RequestError 422."""
  _only(body, ("base",), "the body")
  return base_of(body, limits)


def _check_described(item: Any, where: str, limits: Limits) -> None:
  """Checks the types of what is said of an item; which names there may be, the run decides."""
  if not isinstance(item, dict):
    raise RequestError(422, f"{where} is no object; give {{…}}")
  _id(item.get("id"), f"{where}.id", limits)
  for name, value in item.items():
    if name in ("title", "text"):
      _described_text(value, f"{where}.{name}", limits)
    elif name == "categories":
      names = _list(value, f"{where}.categories", limits.categories)
      for at, category in enumerate(names):
        _text(category, f"{where}.categories[{at}]", limits)
    elif name != "id" and not _is_float(value):
      raise RequestError(422, f"{where}.{name[:60]} is no number")


def _described_text(value: Any, where: str, limits: Limits) -> None:
  if value != "":
    _text(value, where, dataclasses.replace(limits, text=limits.described))


def _asked(request: Any, where: str, limits: Limits) -> Asked:
  _only(request, (*WHOM, *OPTIONS), where)
  whom = [name for name in WHOM if name in request]
  if len(whom) != 1:
    raise RequestError(422, f"{where} needs exactly one of {', '.join(WHOM)}")
  (name,), value = whom, request[whom[0]]
  if name == "user":
    value = _id(value, f"{where}.user", limits)
  elif name == "items":
    value = _ids(value, f"{where}.items", limits.history, limits)
  else:
    titles = _list(value, f"{where}.titles", limits.history)
    value = [_text(t, f"{where}.titles[{at}]", limits) for at, t in enumerate(titles)]
  options = {option: request[option] for option in OPTIONS if option in request}
  for option in ("forbidden", "allowed"):
    if option in options and not (option == "allowed" and options[option] is None):
      options[option] = _ids(options[option], f"{where}.{option}", limits.listed, limits)
  for option in ("categories", "forbidden_categories"):
    if option in options and not (option == "categories" and options[option] is None):
      names = _list(options[option], f"{where}.{option}", limits.categories)
      options[option] = [_text(x, f"{where}.{option}[{at}]", limits) for at, x in enumerate(names)]
  for option, least in (("times", 1), ("ratings", 0)):
    for at, number in enumerate(
      _list(options.get(option, []), f"{where}.{option}", limits.history)
    ):
      if not (_is_float(number) or (number is None and not least)):
        raise RequestError(422, f"{where}.{option}[{at}] is no number")
  actions = _list(options.get("actions", []), f"{where}.actions", limits.history)
  for at, action in enumerate(actions):
    if action is not None:
      _text(action, f"{where}.actions[{at}]", limits)
  if "attributes" in options:
    _check_attributes(options["attributes"], f"{where}.attributes", limits)
  asked = options.get("request_time", 0)
  if not (_is_number(asked) and isinstance(asked, int)):
    raise RequestError(422, f"{where}.request_time is no whole number of seconds since 1970")
  if "k" in options and not (_is_number(options["k"]) and isinstance(options["k"], int)):
    raise RequestError(422, f"{where}.k is no whole number")
  try:
    return Asked(name, value, Wanted(**options))
  except (TypeError, ValueError) as error:
    raise RequestError(422, f"{where}: {error}") from None


def _check_attributes(given: Any, where: str, limits: Limits) -> None:
  """Checks the types of what is said of a user; which names there may be, the run decides."""
  if not isinstance(given, dict):
    raise RequestError(422, f"{where} is no object; give {{…}}")
  if len(given) > limits.categories:
    raise RequestError(422, f"{where} holds {len(given)}; give at most {limits.categories}")
  for name, value in given.items():
    if value is not None and not _is_number(value):
      _text(value, f"{where}.{name[:60]}", limits)


def _only(value: Any, names: tuple[str, ...], where: str) -> None:
  if not isinstance(value, dict):
    raise RequestError(422, f"{where} is no object; give {{…}}")
  for name in value:
    if name not in names:
      raise RequestError(422, f"{where} has {name[:60]!r}; there are {', '.join(names)}")


def _list(value: Any, where: str, most: int) -> list[Any]:
  if not isinstance(value, list):
    raise RequestError(422, f"{where} is no list; give […]")
  if len(value) > most:
    raise RequestError(422, f"{where} holds {len(value)}; give at most {most}")
  return value


def _ids(value: Any, where: str, most: int, limits: Limits) -> list[Id]:
  return [_id(item, f"{where}[{at}]", limits) for at, item in enumerate(_list(value, where, most))]


def _id(value: Any, where: str, limits: Limits) -> Id:
  """An original id: text or a whole number; true is neither."""
  if _is_number(value) and isinstance(value, int):
    if abs(value) >= 1 << 63:
      raise RequestError(422, f"{where} is too large for an id; give such ids as text")
    return value
  return _text(value, where, limits)


def _text(value: Any, where: str, limits: Limits) -> str:
  if not isinstance(value, str):
    raise RequestError(422, f"{where} is neither text nor a whole number")
  if not 1 <= len(value) <= limits.text:
    raise RequestError(422, f"{where} has {len(value)} characters; give 1 to {limits.text}")
  if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
    raise RequestError(422, f"{where} holds characters that no text has")
  return value


def _is_number(value: Any) -> bool:
  if isinstance(value, float):
    return math.isfinite(value)
  return isinstance(value, int) and not isinstance(value, bool)


def _is_float(value: Any) -> bool:
  """Whether it is a number that a float holds: JSON has whole ones of any size."""
  return _is_number(value) and abs(value) <= sys.float_info.max
