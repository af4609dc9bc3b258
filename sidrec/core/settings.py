"""Settings: frozen dataclasses in the code, nested dicts in configs and run folders."""

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_dict(settings: Any) -> dict[str, Any]:
  """A settings dataclass as nested dicts; tuples and dicts among its values stay as they are."""
  return {
    field.name: to_dict(value) if dataclasses.is_dataclass(value) else value
    for field in dataclasses.fields(settings)
    for value in [getattr(settings, field.name)]
  }


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
  """The settings dataclass of nested mappings, the inverse of `to_dict`; lists become tuples.

  Args:
    cls: a dataclass whose fields all have types that are known at run time.
    values: by field; a field that is absent keeps its default.

  Raises:
    ValueError: for a name that is no field, or as the dataclass checks its values.
  """
  types = typing.get_type_hints(cls)
  unknown = sorted(set(values) - set(types))
  if unknown:
    raise ValueError(f"{cls.__name__} has no setting {unknown[0]!r}; known: {', '.join(types)}")

  def convert(name: str, value: Any) -> Any:
    if dataclasses.is_dataclass(types[name]) and isinstance(value, Mapping):
      return from_dict(typing.cast(type, types[name]), value)
    return _frozen(value)

  return cls(**{name: convert(name, value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
  """A value with tuples in place of lists, in mappings, too: JSON makes lists of tuples."""
  if isinstance(value, Mapping):
    return {name: _frozen(one) for name, one in value.items()}
  return tuple(value) if isinstance(value, list) else value


def flatten(tree: Mapping[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
  """{'a': {'b': 1}} → {'a.b': 1}, or another separator than the dot."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat.update(flatten(value, f"{prefix}{key}{separator}", separator))
    else:
      flat[prefix + key] = value
  return flat


def unknown_name(what: str, name: object, known: Iterable[str]) -> ValueError:
  """The error for a name that is none of the known ones, with the nearest of them."""
  known = tuple(known)
  nearest = difflib.get_close_matches(str(name), known, n=1)
  hint = f"did you mean {nearest[0]!r}? " if nearest else ""
  return ValueError(f"unknown {what} {name!r}; {hint}choose from {', '.join(known)}")


def check_choices(settings: Any) -> None:
  """Raises ValueError if a field whose type is a `Literal` has none of its values."""
  for name, hint in typing.get_type_hints(type(settings)).items():
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal and getattr(settings, name) not in choices:
      raise unknown_name(name, getattr(settings, name), choices)
