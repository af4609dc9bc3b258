import io
import json
import socket

import buckets
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from sidrec.core.paths import as_path
from sidrec.training import logging
from sidrec.training.logging import Display, make_logger


def lines_of(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events_of(workdir, stage):
  """(step, tag, value) of every scalar, and the steps from which older points are void."""
  scalars, restarts = [], []
  for path in sorted((workdir / "tensorboard" / stage).iterdir()):
    data = path.read_bytes()
    while data:  # records: length (8 bytes), its checksum (4), the event, its checksum (4)
      length = int.from_bytes(data[:8], "little")
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]
      scalars += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
      if event.HasField("session_log"):
        restarts.append(event.step)
  return scalars, restarts


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Clock:
  now = 0.0

  def __call__(self):
    return self.now


def test_lines_hold_step_stage_and_numbers(tmp_path):
  logger = make_logger(tmp_path / "run", "recommender", 100)
  logger.scalars(10, {"train/loss": jnp.float32(0.5), "train/n": np.int64(3)})
  # Readable before the run ends.
  assert lines_of(tmp_path / "run") == [
    {"step": 10, "stage": "recommender", "train/loss": 0.5, "train/n": 3.0}
  ]
  logger.scalars(20, {"train/loss": float("nan")})
  logger.close()
  assert lines_of(tmp_path / "run")[1] == {"step": 20, "stage": "recommender", "train/loss": None}


def test_resuming_drops_this_stage_beyond_the_restored_step_only(tmp_path):
  for stage, steps in [("tokenizer", (10, 20, 30)), ("recommender", (10, 20, 30))]:
    logger = make_logger(tmp_path, stage, 100)
    for step in steps:
      logger.scalars(step, {"loss": step})
    logger.close()
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 35, "stage": "recomm')  # killed while it wrote

  logger = make_logger(tmp_path, "recommender", 100, start_step=20)
  logger.scalars(30, {"loss": -1})
  logger.close()
  assert [(e["stage"], e["step"], e["loss"]) for e in lines_of(tmp_path)] == [
    *[("tokenizer", step, step) for step in (10, 20, 30)],
    *[("recommender", step, step) for step in (10, 20)],
    ("recommender", 30, -1),
  ]


def test_tensorboard_gets_every_point_and_voids_those_of_an_interrupted_run(tmp_path):
  logger = make_logger(tmp_path, "recommender", 100)
  logger.scalars(10, {"train/loss": 0.5, "valid/ndcg@10": 0.25})
  logger.scalars(20, {"train/loss": 0.125})
  logger.close()
  logger = make_logger(tmp_path, "recommender", 100, start_step=10)
  logger.scalars(20, {"train/loss": 0.75})
  logger.close()
  scalars, restarts = events_of(tmp_path, "recommender")
  assert sorted(scalars) == [
    (10, "train/loss", 0.5),
    (10, "valid/ndcg_10", 0.25),
    (20, "train/loss", 0.125),
    (20, "train/loss", 0.75),
  ]
  assert 11 in restarts


def test_without_a_terminal_a_line_comes_every_ten_seconds_at_most():
  stream, clock = io.StringIO(), Clock()
  display = Display("recommender", 1000, 200, stream, clock)
  for step in range(201, 601):
    clock.now += 0.125
    display.progress(step, 1 / step)
  display.close()
  lines = stream.getvalue().splitlines()
  assert [line.split()[1] for line in lines] == [f"{k}/1000" for k in (201, 281, 361, 441, 521)]
  assert lines[1] == "recommender 281/1000  loss 0.0036  8 steps/s  0:01:30 left"


def test_the_last_step_is_always_shown():
  stream, clock = io.StringIO(), Clock()
  display = Display("recommender", 3, 0, stream, clock)
  for step in (1, 2, 3):
    clock.now += 0.5
    display.progress(step, 0.0, "12k tokens/s  MFU 40.0%")
  lines = stream.getvalue().splitlines()
  assert [line.split()[1] for line in lines] == ["1/3", "3/3"]
  assert lines[1].endswith("2 steps/s  12k tokens/s  MFU 40.0%  0:00:00 left")


def test_a_validation_is_shown_and_training_scalars_are_not(tmp_path, capsys):
  logger = make_logger(tmp_path, "recommender", 100)
  logger.scalars(10, {"train/loss": 0.5})
  assert capsys.readouterr().err == ""
  logger.scalars(10, {"valid/ndcg@10": 0.25, "valid/recall@10": 0.5})
  logger.close()
  assert capsys.readouterr().err == (
    "recommender 10/100  valid/ndcg@10 0.25  valid/recall@10 0.5\n"
  )


def test_a_training_that_goes_on_says_so(tmp_path, capsys):
  make_logger(tmp_path, "train", 9, start_step=4).close()
  assert capsys.readouterr().err == "train: goes on from step 4 of 9, which was saved\n"


def test_a_terminal_gets_a_bar():
  stream = Terminal()
  display = Display("recommender", 1000, 200, stream)
  display.progress(600, 0.25)
  display.note("recommender 600/1000  valid/ndcg@10 0.5")
  display.close()
  text = stream.getvalue()
  assert "\r" in text
  assert "600/1000" in text
  assert "loss 0.2500" in text
  assert "recommender 600/1000  valid/ndcg@10 0.5\n" in text


@pytest.mark.parametrize("primary", [True, False])
def test_only_the_primary_host_writes(tmp_path, capsys, monkeypatch, primary):
  monkeypatch.setattr(logging, "is_primary", lambda: primary)
  logger = make_logger(tmp_path / "run", "recommender", 10)
  logger.scalars(1, {"valid/loss": 1.0})
  logger.progress(1, 1.0)
  logger.close()
  assert (tmp_path / "run").exists() == primary
  assert bool(capsys.readouterr().err) == primary


def test_event_files_do_not_name_the_host(tmp_path):
  make_logger(tmp_path, "recommender", 100).close()
  (path,) = (tmp_path / "tensorboard/recommender").iterdir()
  assert socket.gethostname() not in path.name
  assert socket.gethostname().encode() not in path.read_bytes()


@pytest.mark.parametrize("bucket", [buckets.google, buckets.amazon])
def test_logs_in_a_bucket_go_on_where_they_were(bucket):
  with bucket() as root:
    for start, steps in [(0, (10, 20)), (10, (20, 30))]:
      logger = make_logger(f"{root}/run", "recommender", 100, start_step=start)
      for step in steps:
        logger.scalars(step, {"loss": start + step})
      logger.close()
    lines = as_path(f"{root}/run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [10, 30, 40]
    assert len(list(as_path(f"{root}/run/tensorboard/recommender").iterdir())) == 2
