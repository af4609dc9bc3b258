"""The adapters, against MLflow's SQLite store and W&B's offline mode."""

import importlib.util
import os
import socket
import sys
import time

import pytest

from sidrec.tracking import runs

SETTINGS = {"seed": 0, "data.source": "table", "model.inputs.asked": ["hour"], "data.limit": None}


@pytest.fixture
def mlflow_store(tmp_path, monkeypatch):
  """A client of a new store."""
  mlflow = pytest.importorskip("mlflow")
  pytest.importorskip("alembic")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
  return mlflow.MlflowClient("sqlite:///mlflow.db")


@pytest.fixture
def offline(tmp_path, monkeypatch):
  """The folder where W&B writes."""
  wandb = pytest.importorskip("wandb")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("WANDB_MODE", "offline")
  monkeypatch.setenv("WANDB_DIR", str(tmp_path))
  yield tmp_path / "wandb"
  wandb.teardown()  # it reads its environment once


def test_mlflow_holds_points_figures_and_settings_and_a_run_goes_on(mlflow_store):
  runs.check("mlflow")
  run = runs.open_run("mlflow", "demo", SETTINGS, None)
  assert not run.continues
  run.scalars("recommender", 10, {"valid/ndcg@10": 0.25, "train/loss": 2.0})
  run.close("stopped")
  again = runs.open_run("mlflow", "demo", {"seed": 1}, run.id)
  assert (again.id, again.continues) == (run.id, True)
  again.scalars("recommender", 20, {"valid/ndcg@10": 0.5})
  again.figures({"evaluate/sidrec/test/masked/recall@10": 0.75})
  again.close("finished")

  found = mlflow_store.get_run(run.id)
  assert found.info.status == "FINISHED"
  assert found.info.run_name == "demo"
  history = mlflow_store.get_metric_history(run.id, "recommender/valid/ndcg_10")
  assert [(point.step, point.value) for point in history] == [(10, 0.25), (20, 0.5)]
  assert found.data.metrics["recommender/train/loss"] == 2.0
  assert found.data.metrics["evaluate/sidrec/test/masked/recall_10"] == 0.75
  assert found.data.params == {
    "seed": "0",
    "data.source": "table",
    "model.inputs.asked": '["hour"]',
    "data.limit": "null",
  }
  # MLflow's own functions would note the user and the program.
  assert set(found.data.tags) == {"mlflow.runName"}
  assert socket.gethostname() not in str(found)


def test_mlflow_begins_anew_where_the_run_was_deleted(mlflow_store):
  run = runs.open_run("mlflow", "demo", {}, None)
  mlflow_store.delete_run(run.id)
  for earlier in (run.id, "0" * 32):
    again = runs.open_run("mlflow", "demo", {}, earlier)
    assert not again.continues
    assert again.id not in (run.id, earlier)


def test_many_points_come_in_parts(mlflow_store):
  run = runs.open_run("mlflow", "demo", {f"name{at}": at for at in range(150)}, None)
  run.figures({f"figure{at}": float(at) for at in range(1200)})
  found = mlflow_store.get_run(run.id).data
  assert len(found.params) == 150
  assert len(found.metrics) == 1200


def test_a_server_that_does_not_answer_is_one_sentence(monkeypatch):
  pytest.importorskip("mlflow")
  monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
  monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
  with pytest.raises(OSError, match=r"^--track=mlflow does not work: .*127\.0\.0\.1.*$"):
    runs.check("mlflow")


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named(tracker, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ImportError, match=rf"pip install 'sidrec\[{tracker}\]'"):
    runs.check(tracker)


def test_wandb_writes_offline_and_a_run_goes_on(offline, monkeypatch):
  monkeypatch.setattr(socket, "gethostname", lambda: "host-of-the-test")
  runs.check("wandb")
  run = runs.open_run("wandb", "demo", SETTINGS, None)
  assert not run.continues
  run.scalars("recommender", 10, {"valid/ndcg@10": 0.25})
  run.close("stopped")
  again = runs.open_run("wandb", "demo", SETTINGS, run.id)
  assert (again.id, again.continues) == (run.id, True)
  again.scalars("recommender", 20, {"valid/ndcg@10": 0.5})
  again.figures({"evaluate/sidrec/test/masked/recall@10": 0.75})
  again.close("finished")

  def records():  # of both processes' folders, which `wandb sync` joins
    files = list(offline.glob(f"offline-run-*{run.id}*/run-{run.id}.wandb"))
    assert len(files) == 2
    return b"".join(file.read_bytes() for file in files)

  until = time.monotonic() + 60  # W&B's own process writes the end a moment later
  while b"recall_10" not in records() and time.monotonic() < until:
    time.sleep(0.05)
  for expected in ("recommender/valid/ndcg_10", "recommender/step", "recall_10", "data.source"):
    assert expected.encode() in records()
  for secret in (socket.gethostname(), os.getcwd(), sys.executable, "metadata", "requirements"):
    assert secret.encode() not in records()


def test_wandb_without_a_key_says_what_to_do(offline, monkeypatch):
  monkeypatch.setenv("WANDB_MODE", "online")
  monkeypatch.setenv("WANDB_CONFIG_DIR", str(offline.parent))
  monkeypatch.delenv("WANDB_API_KEY", raising=False)
  monkeypatch.setenv("HOME", str(offline.parent))
  with pytest.raises(OSError, match=r"--track=wandb does not work: .*wandb login"):
    runs.check("wandb")
