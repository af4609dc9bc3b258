"""Runs in MLflow; the server or the store is the one of MLFLOW_TRACKING_URI, as for any program.

The client is used, and not `mlflow.start_run`, which would note the user's name and the path of the
program.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from sidrec.tracking.points import plain

EXPERIMENT = "sidrec"  # unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names another
_AT_ONCE, _PARAMS_AT_ONCE, _LONGEST = 1000, 100, 6000  # what the server takes
_STATES = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
# Without these, a server that is gone holds a training up for minutes at each try.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


def check() -> None:
  """Asks the server for the experiment, and makes it where there is none."""
  _experiment(_client())


def open_run(name: str, settings: Mapping[str, Any], earlier: str | None) -> "MlflowRun":
  """As `runs.open_run`."""
  client = _client()
  if earlier and _goes_on(client, earlier):
    return MlflowRun(client, earlier, continues=True)
  run = client.create_run(_experiment(client), run_name=name).info.run_id
  params = [Param(plain(key), _text(value)) for key, value in settings.items()]
  for first in range(0, len(params), _PARAMS_AT_ONCE):
    client.log_batch(run, params=params[first : first + _PARAMS_AT_ONCE])
  return MlflowRun(client, run, continues=False)


class MlflowRun:
  """See `runs.TrackedRun`."""

  def __init__(self, client: Any, run: str, *, continues: bool):
    """`run` is its id."""
    self.id, self.continues = run, continues
    self._client = client
    self._waiting: list[Metric] = []

  def scalars(self, training: str, step: int, values: Mapping[str, float]) -> None:
    """Keeps them for `flush`, so that a step of training waits for no server."""
    now = int(1000 * time.time())
    self._waiting += [Metric(f"{training}/{plain(n)}", x, now, step) for n, x in values.items()]
    if len(self._waiting) >= _AT_ONCE:
      self.flush()

  def flush(self) -> None:
    """Sends what waits; it is kept if the server does not take it."""
    while self._waiting:
      self._client.log_batch(self.id, metrics=self._waiting[:_AT_ONCE])
      del self._waiting[:_AT_ONCE]

  def figures(self, values: Mapping[str, float]) -> None:
    """As metrics without a step."""
    now = int(1000 * time.time())
    self._waiting += [Metric(plain(name), x, now, 0) for name, x in values.items()]
    self.flush()

  def close(self, how: str) -> None:
    """Sets the run's state."""
    self.flush()
    self._client.set_terminated(self.id, _STATES[how])


def _client() -> Any:
  for name, value in _PATIENCE.items():
    os.environ.setdefault(name, value)
  return mlflow.MlflowClient()


def _experiment(client: Any) -> str:
  if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
    return given
  name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
  found = client.get_experiment_by_name(name)
  if found is not None:
    return found.experiment_id
  try:
    return client.create_experiment(name)
  except MlflowException:
    if (found := client.get_experiment_by_name(name)) is None:  # another process was first
      raise
    return found.experiment_id


def _goes_on(client: Any, run: str) -> bool:
  """Whether a run is still there; it counts as running again."""
  try:
    found = client.get_run(run)
  except MlflowException as error:
    if error.error_code != "RESOURCE_DOES_NOT_EXIST":
      raise
    return False
  if found.info.lifecycle_stage != "active":
    return False
  client.update_run(run, status="RUNNING")
  return True


def _text(value: Any) -> str:
  text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
  return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
