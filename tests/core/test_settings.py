"""Settings as dataclasses and as nested dicts."""

import dataclasses

import pytest

from sidrec.core.settings import flatten, from_dict, to_dict


@dataclasses.dataclass(frozen=True)
class Inner:
  width: int = 3
  hidden: tuple[int, ...] = (2, 1)

  def __post_init__(self):
    if self.width < 1:
      raise ValueError("width must be at least 1")


@dataclasses.dataclass(frozen=True)
class Outer:
  name: str = "a"
  inner: Inner = Inner()
  columns: dict = dataclasses.field(default_factory=lambda: {"user": "u"})


def test_dicts_and_dataclasses_are_inverse():
  outer = Outer("b", Inner(5, (7,)), {"item": "i"})
  assert to_dict(outer) == {
    "name": "b",
    "inner": {"width": 5, "hidden": (7,)},
    "columns": {"item": "i"},
  }
  assert from_dict(Outer, to_dict(outer)) == outer


def test_absent_fields_keep_defaults_and_lists_become_tuples():
  assert from_dict(Outer, {"inner": {"hidden": [4, 3]}}) == Outer(inner=Inner(hidden=(4, 3)))


def test_unknown_and_bad_settings_are_refused():
  with pytest.raises(ValueError, match="Inner has no setting 'widht'; known: width, hidden"):
    from_dict(Outer, {"inner": {"widht": 1}})
  with pytest.raises(ValueError, match="at least 1"):
    from_dict(Outer, {"inner": {"width": 0}})


def test_flatten():
  assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
