"""What a sweep tries: a function `space(trial)` in a Python file, which returns settings."""

import difflib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sidrec.core.python_file import module_of
from sidrec.core.settings import flatten, from_dict, to_dict
from sidrec.run.settings import RunConfig

Settings = dict[str, Any]  # dotted name → value

_SWEPT = ("features.", "tokenizer.", "model.", "train.")
# With these, trials would not be measured on the same users at the same steps and in the same way.
_MEASURING = ("train.valid_users", "train.validate_every", "model.repeats")


class Space:
  """The settings that a trial has."""

  def __init__(self, function: Callable[[Any], Any], file: str, base: RunConfig):
    """`file` is named in messages; `base` has every setting that the function leaves alone."""
    self._function, self._file, self._base = function, file, base
    self._known = flatten(to_dict(base))

  def of(self, trial: Any) -> Settings:
    """The settings of a trial.

    Args:
      trial: an `optuna.Trial`, or what acts like one.

    Raises:
      ValueError: if the function fails, or returns what is no setting that can be swept.
    """
    try:
      found = self._function(trial)
    except Exception as error:
      raise ValueError(f"{self._file} fails: {_reason(error)}") from error
    if not isinstance(found, Mapping) or not found:
      raise ValueError(
        f"{self._file}: space(trial) must return a dict of settings, such as "
        "{'train.learning_rate': trial.suggest_float('train.learning_rate', 1e-3, 1e-2)}, "
        f"and not {found!r}"
      )
    for name, value in found.items():
      self._check(name, value)
    return {
      name: float(value) if isinstance(self._known[name], float) else value
      for name, value in found.items()
    }

  def config(self, settings: Mapping[str, Any]) -> RunConfig:
    """The base with a trial's settings.

    Raises:
      ValueError: for values that make no sense.
    """
    values = to_dict(self._base)
    for name, value in settings.items():
      *path, last = name.split(".")
      parent = values
      for part in path:
        parent[part] = dict(parent[part])
        parent = parent[part]
      parent[last] = value
    return from_dict(RunConfig, values)

  def _check(self, name: Any, value: Any) -> None:
    if name not in self._known:
      near = difflib.get_close_matches(str(name), self._known, n=1)
      hint = f"did you mean {near[0]!r}?" if near else "sidrec configs show CONFIG lists them."
      raise ValueError(f"{self._file}: there is no setting {name!r}; {hint}")
    if not name.startswith(_SWEPT) or name in _MEASURING:
      raise ValueError(
        f"{self._file}: {name} cannot be swept: trials are compared by the validation of their "
        "training, on equal terms. Sweep settings of features, tokenizer, model and train, but "
        f"not {', '.join(_MEASURING)}; give others on the command line, for all trials"
      )
    wanted = self._known[name]
    if wanted is not None and not _is_like(value, wanted):
      raise ValueError(
        f"{self._file}: {name} is {value!r}, and must be like its default, {wanted!r}"
      )


def load_space(file: str, base: RunConfig) -> Space:
  """The space in a Python file.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: if it fails, or holds no function `space`.
  """
  path = Path(file).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f"there is no space {file}")
  module, execute = module_of(f"sidrec_space_{path.stem}", path)
  try:
    execute()
  except Exception as error:
    raise ValueError(f"{file} fails: {_reason(error)}") from error
  function = getattr(module, "space", None)
  if not callable(function):
    raise ValueError(f"{file} holds no function space(trial)")
  return Space(function, file, base)


def _is_like(value: Any, default: Any) -> bool:
  """Whether a value could stand in for a default."""
  if isinstance(default, bool) or isinstance(value, bool):
    return isinstance(default, bool) and isinstance(value, bool)
  if isinstance(default, float):
    return isinstance(value, (int, float))
  if isinstance(default, (tuple, list)):
    return isinstance(value, (tuple, list))
  return isinstance(value, type(default))


def _reason(error: Exception) -> str:
  """'NameError: … (space.py, line 3)'."""
  *_, last = traceback.extract_tb(error.__traceback__)
  return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
