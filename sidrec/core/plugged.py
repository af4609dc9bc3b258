"""What plugins register of one kind: named functions with settings, files and code of their own."""

import dataclasses
import difflib
import inspect
import keyword
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from sidrec.core.settings import from_dict, to_dict, unknown_name
from sidrec.core.source_code import code_hashes

F = TypeVar("F", bound=Callable[..., Any])


class Plugged(NamedTuple):
  """A function that was registered."""

  kind: str  # 'metric', …
  name: str
  function: Callable[..., Any]
  settings: Any  # a dataclass with its defaults, or None
  files: Callable[..., Iterable[str]] | None  # settings → the files that it reads
  options: Mapping[str, Any]

  def __str__(self) -> str:
    """'the metric 'late' (mine.py)'."""
    return f"the {self.kind} {self.name!r} ({file_of(self.function)})"


class Chosen(NamedTuple):
  """A registered function with the settings of a run."""

  plugged: Plugged
  values: dict[str, Any]  # its section of the config, whole
  settings: Any  # of its own: the dataclass, or None

  @property
  def name(self) -> str:
    """What it was registered as."""
    return self.plugged.name

  def __call__(self, *arguments: Any) -> Any:
    """Calls it, with its settings last if it has any; ValueError if it fails."""
    own = () if self.settings is None else (self.settings,)
    return called(self.plugged, self.plugged.function, *arguments, *own)

  def files(self) -> list[str]:
    """The files that it reads."""
    if self.plugged.files is None:
      return []
    own = () if self.settings is None else (self.settings,)
    found = called(self.plugged, self.plugged.files, *own)
    if isinstance(found, str) or not all(isinstance(file, str | Path) for file in found):
      raise ValueError(f"the files of {self.plugged} are {found!r}; give a list of paths")
    return [str(file) for file in found]

  @property
  def meaning(self) -> str:
    """The first line of what its documentation says, and its settings."""
    words = (inspect.getdoc(self.plugged.function) or "").partition("\n")[0].strip().rstrip(".")
    own = {} if self.settings is None else to_dict(self.settings)
    shown = ", ".join(f"{name}={value}" for name, value in own.items())
    return (words or "not documented") + (f" ({shown})" if shown else "")


class Register:
  """What was registered of one kind, by name."""

  def __init__(
    self,
    kind: str,
    section: str,
    switch: tuple[str, Any] | None,
    arguments: tuple[str, ...],
    taken: Callable[[str], bool],
  ):
    """An empty register.

    Args:
      kind: what its functions are, for messages.
      section: where a run's settings have an entry for each name.
      switch: the setting that every entry has, and its default, which leaves the function out; None
        where another setting names the one that is used.
      arguments: what a function is called with, before its settings.
      taken: whether a name belongs to sidrec itself.
    """
    self.kind, self.section, self.arguments, self.taken = kind, section, arguments, taken
    self.switch, self.off = switch or ("", None)
    self.known: dict[str, Plugged] = {}

  def add(
    self,
    name: str,
    function: F | None,
    settings: Any = None,
    files: Callable[..., Iterable[str]] | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
  ) -> Any:
    """Registers a function and returns it; without one, returns the decorator that does.

    Raises:
      ValueError: for a name that is taken or that a command line cannot hold, or a function that
        cannot be called with these arguments.
      TypeError: for settings that are no instance of a dataclass.
    """
    self.check(name, settings)
    if function is None:
      return lambda decorated: self.add(name, decorated, settings, files, options)
    plugged = Plugged(self.kind, name, function, settings, files, options)
    own = ("settings",) * (settings is not None)
    check_signature(f"the {self.kind} {name!r}", function, (*self.arguments, *own))
    if files is not None:
      check_signature(f"`files` of the {self.kind} {name!r}", files, own)
    self.known[name] = plugged
    return function

  def check(self, name: str, settings: Any) -> None:
    """Raises as `add` does for a name, or for settings."""
    self._check_name(name)
    check_settings(self.kind, name, settings, self.switch)

  def defaults(self) -> dict[str, dict[str, Any]]:
    """The section of a config: every registered name with its settings, switched off."""
    return {name: self._defaults(plugged) for name, plugged in self.known.items()}

  def chosen(self, section: Mapping[str, Mapping[str, Any]]) -> list[Chosen]:
    """What a run's settings ask for.

    Raises:
      ValueError: for a name that nobody registered, or a setting that it does not have.
    """
    return [self.choose(name, given) for name, given in section.items() if self.asks(given)]

  def asks(self, given: Mapping[str, Any]) -> bool:
    """Whether an entry is switched on."""
    return given.get(self.switch, self.off) != self.off

  def code_of(self, chosen: Iterable[Chosen]) -> dict[str, str]:
    """What changes with the code of these, by name."""
    return {one.name: " ".join(code_hashes(one.plugged.function)) for one in chosen}

  def choose(self, name: str, given: Mapping[str, Any]) -> Chosen:
    """The function of a name, with its entry in the settings; raises as `chosen` does."""
    if name not in self.known:
      near = difflib.get_close_matches(name, self.known, n=1)
      hint = f"did you mean {near[0]!r}? " if near else ""
      raise ValueError(
        f"there is no {self.kind} {name!r}, which {self.section}.{name} asks for; {hint}load the "
        "plugin that registers it (--plugin=FILE)"
      )
    plugged = self.known[name]
    values = self._defaults(plugged) | dict(given)
    if unknown := sorted(set(values) - set(self._defaults(plugged))):
      raise unknown_name(f"setting of {self.section}.{name}", unknown[0], self._defaults(plugged))
    if plugged.settings is None:
      return Chosen(plugged, values, None)
    own = {key: value for key, value in values.items() if key != self.switch}
    return Chosen(plugged, values, from_dict(type(plugged.settings), own))

  def _defaults(self, plugged: Plugged) -> dict[str, Any]:
    own = {} if plugged.settings is None else to_dict(plugged.settings)
    return {self.switch: self.off, **own} if self.switch else own

  def _check_name(self, name: str) -> None:
    if self.taken(name) or name in self.known:
      raise ValueError(f"there is a {self.kind} {name!r} already; choose another name")
    # It is a setting's name: on the command line a Python name, in a ConfigDict no method's.
    fits = isinstance(name, str) and name.isascii() and name.isidentifier()
    if not fits or keyword.iskeyword(name) or name.startswith("_") or hasattr(ConfigDict, name):
      raise ValueError(
        f"{name!r} cannot name a {self.kind}, because settings are named after it; choose letters, "
        "digits and '_', such as 'my_own'"
      )


def check_settings(kind: str, name: str, settings: Any, switch: str = "") -> None:
  """Raises TypeError for settings that are no dataclass, ValueError for one with the switch."""
  if settings is None:
    return
  if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
    raise TypeError(
      f"settings of the {kind} {name!r} are no instance of a dataclass; give Settings(), say"
    )
  if switch in {field.name for field in dataclasses.fields(settings)}:
    raise ValueError(
      f"the {kind} {name!r} has a setting {switch!r}, which every {kind} has; rename it"
    )


def check_signature(what: str, function: Any, arguments: tuple[str, ...]) -> None:
  """Raises ValueError for what cannot be called with so many arguments."""
  wanted = f"({', '.join(arguments)})"
  if not callable(function):
    raise ValueError(f"{what} is {function!r}; give a function of {wanted}")
  try:
    signature = inspect.signature(function)
  except (TypeError, ValueError):  # not known, as of some that are written in C
    return
  try:
    signature.bind(*arguments)
  except TypeError:
    raise ValueError(
      f"{what} ({file_of(function)}) takes {signature}, but is called with {wanted}"
    ) from None


def called(what: object, function: Callable[..., Any], *arguments: Any) -> Any:
  """The result of a plugin's function; ValueError with its place in the code if it fails."""
  try:
    return function(*arguments)
  except Exception as error:
    raise ValueError(f"{what} fails: {reason(error)}") from error


def reason(error: Exception) -> str:
  """'NameError: … (my_plugin.py, line 3)'."""
  *_, last = traceback.extract_tb(error.__traceback__)
  return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"


def file_of(function: Any) -> str:
  """The name of the file that defines a function, or its module."""
  inner = inspect.unwrap(getattr(function, "func", function))
  try:
    return Path(inspect.getfile(inner)).name
  except (TypeError, OSError):  # of a notebook, or written in C
    return str(getattr(inner, "__module__", None) or type(inner).__module__)
