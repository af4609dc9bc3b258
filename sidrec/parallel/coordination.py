"""The key-value store of JAX's coordination service: the one place that needs private JAX modules.

How processes tell each other what one of them made, and how one of them ended, must not need the
devices: a process that has failed takes part in no collective, and one that waits in a collective
hears no signal. So `jax.experimental.multihost_utils`, whose broadcasts are collectives, does not
do. JAX's coordination service can, and its client has no public name: jax 0.10 to 0.12 give
`jax.distributed.initialize`, `is_initialized` and `shutdown`, and `jax.experimental` reads the
client from `jax._src.distributed`, as Orbax does. `tests/parallel/test_coordination.py` checks that
the names are there in the JAX that is installed; a JAX without them is refused in one sentence.
"""

from typing import Any

import jax


def _state() -> Any:
  """JAX's `client` and `process_id`, of a process that has joined others.

  Raises:
    ImportError: if this JAX keeps them elsewhere.
  """
  try:
    from jax._src.distributed import global_state

    _ = global_state.client, global_state.process_id
  except (ImportError, AttributeError):
    raise ImportError(
      f"several processes need the coordination service of JAX, which jax {jax.__version__} keeps "
      "elsewhere; install jax 0.10 to 0.12, or run one process"
    ) from None
  return global_state


def check() -> None:
  """Raises ImportError, with a sentence, if this JAX lacks what this module needs."""
  _state()


def publish(key: str, text: str) -> None:
  """Gives a key its value, for all processes.

  Raises:
    jax.errors.JaxRuntimeError: if it has one, or the service is gone.
  """
  _state().client.key_value_set(key, text)


def published(key: str) -> str | None:
  """The value of a key, or None if it has none yet; waits for nothing.

  Raises:
    jax.errors.JaxRuntimeError: if the service is gone.
    AttributeError: after `jax.distributed.shutdown`.
  """
  try:
    return _state().client.key_value_try_get(key)
  except jax.errors.JaxRuntimeError as error:
    if "NOT_FOUND" in str(error):
      return None
    raise


def wait_at_barrier(name: str, seconds: int) -> None:
  """Returns when all processes are here.

  Raises:
    jax.errors.JaxRuntimeError: after so many seconds, or if a process is gone.
  """
  _state().client.wait_at_barrier(name, 1000 * seconds)


def process_id() -> int:
  """The number of this process; asks no device, unlike `jax.process_index`."""
  return _state().process_id
