"""What is registered: names, signatures, settings, code."""

import dataclasses
import functools

import pytest

from sidrec.core.plugged import Register


@dataclasses.dataclass(frozen=True)
class Settings:
  first: int = 10
  path: str = ""


@pytest.fixture
def metrics():
  return Register("metric", "evaluation.metrics", ("enabled", False), ("outcome",), "mrr".__eq__)


def test_a_function_is_registered_by_a_decorator_or_a_call_and_stays_what_it_is(metrics):
  @metrics.add("late", None)
  def late(outcome):
    """How late. And more."""
    return outcome + 1

  assert late(1) == 2
  assert metrics.add("early", late) is late
  (chosen,) = metrics.chosen({"late": {"enabled": True}, "early": {"enabled": False}})
  assert (chosen.name, chosen(3), chosen.settings, chosen.files()) == ("late", 4, None, [])
  assert chosen.meaning == "How late. And more"
  assert metrics.code_of([chosen])["late"]


def test_settings_have_their_defaults_and_a_typo_has_the_nearest_name(metrics):
  metrics.add("late", lambda outcome, settings: settings.first, Settings(), lambda s: [s.path])
  assert metrics.defaults() == {"late": {"enabled": False, "first": 10, "path": ""}}
  (chosen,) = metrics.chosen({"late": {"enabled": True, "path": "a.npy"}})
  assert (chosen(None), chosen.files()) == (10, ["a.npy"])
  assert chosen.values == {"enabled": True, "first": 10, "path": "a.npy"}
  assert chosen.meaning == "not documented (first=10, path=a.npy)"
  with pytest.raises(ValueError, match=r"evaluation\.metrics\.late 'fist'; did you mean 'first'"):
    metrics.chosen({"late": {"enabled": True, "fist": 1}})
  with pytest.raises(ValueError, match=r"no metric 'lete', .*did you mean 'late'.*--plugin=FILE"):
    metrics.chosen({"lete": {"enabled": True}})


@pytest.mark.parametrize(
  ("function", "settings", "said"),
  [
    (lambda: 1, None, r"metric 'x' \(test_plugged.py\) takes \(\), but is called with \(outcome\)"),
    (lambda outcome, k: 1, None, r"takes \(outcome, k\), but is called with \(outcome\)"),
    (lambda outcome: 1, Settings(), r"is called with \(outcome, settings\)"),
    (3, None, r"metric 'x' is 3; give a function of \(outcome\)"),
  ],
)
def test_a_wrong_signature_is_one_sentence(metrics, function, settings, said):
  with pytest.raises(ValueError, match=said):
    metrics.add("x", function, settings)
  assert not metrics.known


@pytest.mark.parametrize("function", [lambda *a: 1, functools.partial(lambda k, o: 1, 5), sum])
def test_what_can_be_called_is_taken(metrics, function):
  metrics.add("x", function)
  assert "x" in metrics.known


@pytest.mark.parametrize("name", ["my-own", "a.b", "", "1st", "update", "class", "_x", "ä"])
def test_names_that_no_setting_can_have_are_refused(metrics, name):
  with pytest.raises(ValueError, match="cannot name a metric"):
    metrics.add(name, len)


def test_names_and_settings_that_are_taken(metrics):
  with pytest.raises(ValueError, match="there is a metric 'mrr' already"):
    metrics.add("mrr", None)
  metrics.add("x", len)
  with pytest.raises(ValueError, match="there is a metric 'x' already"):
    metrics.add("x", len)
  with pytest.raises(TypeError, match="no instance of a dataclass"):
    metrics.add("y", len, {"first": 1})
  wrong = dataclasses.make_dataclass("Wrong", [("enabled", int, 3)])
  with pytest.raises(ValueError, match="has a setting 'enabled', which every metric has"):
    metrics.add("y", len, wrong())
  with pytest.raises(ValueError, match="`files` of the metric 'y'"):
    metrics.add("y", lambda outcome, settings: 1, Settings(), files=lambda: [])
  metrics.add("y", lambda outcome, settings: 1, Settings(), files=lambda settings: settings.path)
  (chosen,) = metrics.chosen({"y": {"enabled": True, "path": "a"}})
  with pytest.raises(ValueError, match="are 'a'; give a list"):
    chosen.files()


def test_a_class_of_a_notebook_counts_by_what_it_defines(metrics):
  text = """
class Model:
  grows = True
  def __init__(self, outcome):
    self.outcome = outcome
  def step(self, x):
    return x + 1
"""

  def code_of(changed):
    namespace = {"__name__": "of_no_file"}
    exec(changed, namespace)
    metrics.known.clear()
    metrics.add("x", namespace["Model"])
    (chosen,) = metrics.chosen({"x": {"enabled": True}})
    assert str(chosen.plugged) == "the metric 'x' (of_no_file)"
    return metrics.code_of([chosen])["x"]

  assert code_of(text) == code_of(text)
  assert code_of(text) != code_of(text.replace("x + 1", "x + 2"))
  assert code_of(text) != code_of(text.replace("True", "False"))


def test_a_failure_is_named_with_its_place(metrics):
  def broken(outcome):
    return outcome / 0

  metrics.add("broken", broken)
  (chosen,) = metrics.chosen({"broken": {"enabled": True}})
  said = r"metric 'broken' \(test_plugged.py\) fails: ZeroDivisionError: .* \(test_plugged.py, line"
  with pytest.raises(ValueError, match=said):
    chosen(1)
