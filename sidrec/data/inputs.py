"""What a model reads beside items: settings, and what a trained model knows of their values."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from sidrec.core.settings import check_choices
from sidrec.data.user_attributes import Attribute, Users, column_of, met_in


@dataclasses.dataclass(frozen=True)
class InputsConfig:
  """What a model reads beside items; all off, it reads items alone. Hashable."""

  gap: bool = False  # time to the next event, or since the one before where that is not known
  time_bias: bool = False  # attention by the time between events, in each layer and head
  rating: bool = False  # each event's rating, or its kind as a number
  request_time: Literal["known", "unknown"] = "unknown"  # whether `gap` and `time_bias` read it
  rating_step: float = 1.0  # between two ratings; 0.5 where there are half stars
  # Of so many events before those that are read, which items they were; needs `model.repeats`.
  earlier: int = 0
  # Names of actions that are told apart, such as ("view", "buy"); all others count as unknown.
  actions: tuple[str, ...] = ()
  # Names of what is known of users, such as ("gender", "age"), as `Dataset.users` has them.
  user_attributes: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    check_choices(self)
    check_names("inputs.actions", self.actions)
    check_names("inputs.user_attributes", self.user_attributes, '("gender", "age")')
    if not self.rating_step > 0:
      raise ValueError(f"inputs.rating_step is {self.rating_step}; give a number above 0")
    if self.earlier < 0:
      raise ValueError(f"inputs.earlier is {self.earlier}; give a number of events, 0 for none")

  @property
  def times(self) -> bool:
    """Whether times are read."""
    return self.gap or self.time_bias

  @property
  def asks(self) -> bool:
    """Whether the request's time is read."""
    return self.times and self.request_time == "known"

  @property
  def asked(self) -> str:
    """'known' or 'unknown' where times are read, and else ''."""
    return self.request_time if self.times else ""

  @property
  def any(self) -> bool:
    """Whether anything beside items is read."""
    events = self.times or self.rating or bool(self.actions) or self.earlier > 0
    return events or bool(self.user_attributes)

  @property
  def columns(self) -> tuple[str, ...]:
    """The columns of a history that are read."""
    read = {"time": self.times, "rating": self.rating, "action": bool(self.actions)}
    return ("item", *(name for name, is_read in read.items() if is_read))

  def action_row(self, name: str | None) -> int:
    """The row of an action in the model's table; 0 for None, which is unknown.

    Raises:
      ValueError: for a name that the model does not know.
    """
    if name is not None and name not in self.actions:
      raise ValueError(
        f"the model knows no action {name!r:.60}; there are {', '.join(self.actions)}, and None "
        "for any other"
      )
    return 0 if name is None else 1 + self.actions.index(name)


def check_names(setting: str, names: Any, example: str = '("view", "buy")') -> None:
  """Raises ValueError unless a setting holds names, each once."""
  if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
    raise ValueError(f"{setting} is {names!r:.80}; give names, such as {example}")
  if len(set(names)) < len(names):
    raise ValueError(f"{setting} names one twice: {', '.join(names)}")


ITEMS_ALONE = InputsConfig()


@dataclasses.dataclass(frozen=True)
class KnownInputs(InputsConfig):
  """The inputs of a model that reads users' attributes, with the values that training met."""

  known: tuple[Attribute, ...] = ()

  def user_rows(self, users: Users | None) -> np.ndarray:
    """The rows of what users have, as `Events` takes them: int32 [U, X].

    Raises:
      ValueError: if they lack an attribute, or it is of another kind than in training.
    """
    columns = [one.rows_of(column_of(users, one.name)) for one in self.known]
    return np.stack(columns, axis=1)

  def given_user(self, given: Mapping[str, Any] | None) -> tuple[int, ...]:
    """The rows of what a request says of its user; what it does not name is unknown.

    Raises:
      TypeError: for what is no mapping, or a value of another kind.
      ValueError: for a name that the model does not read.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
      raise TypeError(f"attributes are a {type(given).__name__}; give names and values")
    if strange := [name for name in given if name not in self.user_attributes]:
      raise ValueError(
        f"the model reads no attribute {strange[0]!r:.60} of users; there are "
        f"{', '.join(self.user_attributes)}"
      )
    return tuple(one.row_of(given.get(one.name)) for one in self.known)


def with_known(inputs: InputsConfig, users: Users | Sequence[Attribute]) -> InputsConfig:
  """The inputs with the values of users' attributes; as they are where none is read.

  Args:
    inputs: settings.
    users: of a training, or what one met.

  Raises:
    ValueError: as `user_attributes.met_in` does.
  """
  if not inputs.user_attributes:
    return inputs
  known = met_in(users, inputs.user_attributes) if isinstance(users, Mapping) else tuple(users)
  settings = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(InputsConfig)}
  return KnownInputs(**settings, known=known)


def known_inputs(inputs: InputsConfig | None) -> KnownInputs:
  """Inputs that know users' attributes; raises ValueError for settings alone, which do not."""
  if not isinstance(inputs, KnownInputs):
    raise ValueError(
      "users' attributes need the values that training met; give a trained model's inputs, "
      "run.model.config.inputs"
    )
  return inputs


def without_idle_inputs(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Nested settings without those of inputs that decide nothing: where items alone are read."""
  kept = {}
  for name, value in settings.items():
    if isinstance(value, Mapping):
      if name == "inputs":
        lists = ("actions", "earlier", "user_attributes")
        if not any(value.get(key) for key in ("gap", "time_bias", "rating", *lists)):
          continue
        value = {key: one for key, one in value.items() if one or key not in lists}
      value = without_idle_inputs(value)
    kept[name] = value
  return kept
