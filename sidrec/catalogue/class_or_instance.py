"""A method that may be called on a class and on its instances."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ClassOrInstanceMethod(Generic[P, T]):
  """A decorator: the method's first argument is the class or the instance it is called on."""

  def __init__(self, method: Callable[Concatenate[Any, P], T]):
    """Wraps the method."""
    self._method = method
    functools.update_wrapper(self, method)  # pyrefly: ignore

  def __get__(self, instance: Any, owner: type) -> Callable[P, T]:
    """The method, bound to the instance if there is one, else to the class."""
    bound_to = owner if instance is None else instance

    @functools.wraps(self._method)
    def method(*args: P.args, **kwargs: P.kwargs) -> T:
      return self._method(bound_to, *args, **kwargs)

    return method
