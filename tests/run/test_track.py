"""What a tracker is sent: all that the run's folder holds, once, whatever interrupts."""

import dataclasses
import json

import pytest
from etils import epath

from sidrec.evaluation.protocol import Protocol
from sidrec.evaluation.report import write_evaluation
from sidrec.run import track
from sidrec.run.generations import Generation, checksums_of
from sidrec.run.record import Inputs, Record
from sidrec.run.settings import RunConfig
from sidrec.run.stages import deciding_settings, run_to
from sidrec.run.track import name_of, shown_settings, tracked
from sidrec.tracking import runs
from sidrec.training.logging import make_logger

CONFIG = RunConfig(track="mlflow")
SETTINGS = {"train": {"steps": 40}}


class Tracker:
  """A module of a tracker that keeps what it is sent; `lost` makes its server vanish."""

  def __init__(self):
    self.runs, self.lost, self.opened = {}, False, 0

  def check(self):
    self._answer()

  def open_run(self, name, settings, earlier):
    self._answer()
    self.opened += 1
    continues = earlier in self.runs
    run = self.runs[earlier] if continues else Run(self, f"run{len(self.runs)}", name, settings)
    run.continues = continues
    self.runs[run.id] = run
    return run

  def _answer(self):
    if self.lost:
      raise RuntimeError("no answer\nfrom a server")


class Run:
  """One of its runs."""

  def __init__(self, tracker, number, name, settings):
    self.id, self.name, self.settings, self.tracker = number, name, settings, tracker
    self.points, self.waiting, self.numbers, self.state = [], [], {}, None

  def scalars(self, training, step, values):
    self.waiting += [(training, step, name, x) for name, x in values.items()]

  def flush(self):
    self.tracker._answer()
    self.points += self.waiting
    self.waiting = []

  def figures(self, values):
    self.tracker._answer()
    self.numbers = dict(values)

  def close(self, how):
    self.flush()
    self.state = how


@pytest.fixture
def tracker(monkeypatch):
  made = Tracker()
  monkeypatch.setattr(runs, "_module", lambda name: made)
  monkeypatch.setattr(runs.importlib.util, "find_spec", lambda name: True)
  monkeypatch.setattr(track, "_SECONDS", 0.0)
  return made


def train(workdir, until, start=0, folder="train.1", name="recommender"):
  """Logs like a training that stops at `until`."""
  logger = make_logger(workdir / "stages" / folder, name, 40, start)
  for step in range(start + 10, until + 1, 10):
    logger.scalars(step, {"train/loss": 1 / step, "train/nan": float("nan")})
    if step % 20 == 0:
      logger.scalars(step, {"valid/ndcg@10": step / 100})
  logger.close()


def points_of(workdir, folder="train.1"):
  """What the folder's log holds, as the tracker should have it."""
  lines = (workdir / "stages" / folder / "metrics.jsonl").read_text().splitlines()
  return [
    (line["stage"], line["step"], name, x)
    for line in map(json.loads, lines)
    for name, x in line.items()
    if name not in ("step", "stage") and x is not None
  ]


@pytest.fixture
def workdir(tmp_path):
  return epath.Path(tmp_path) / "shop"


def opened(workdir, config=CONFIG, settings=SETTINGS):
  return tracked(config, workdir, lambda: settings)


def test_an_interrupted_training_goes_on_in_the_same_run_and_sends_nothing_twice(tracker, workdir):
  def killed(restored):
    with opened(workdir):
      train(workdir, 30, restored)
      raise KeyboardInterrupt

  for restored in (0, 0, 20):  # before its first checkpoint, and after one
    with pytest.raises(KeyboardInterrupt):
      killed(restored)
    assert tracker.runs["run0"].state == "stopped"
  with opened(workdir):
    train(workdir, 40, 20)
  (run,) = tracker.runs.values()
  assert run.points == points_of(workdir)
  assert {step for _, step, _, _ in run.points} == {10, 20, 30, 40}
  assert run.state == "finished"
  assert run.name == "shop"
  assert not (workdir / "stages/train.1/tensorboard").exists()


def test_a_server_that_vanishes_is_a_warning_and_the_rest_is_sent_later(tracker, workdir):
  def half_sent():
    with opened(workdir):
      train(workdir, 20)
      tracker.lost = True
      train(workdir, 40, 20)

  with pytest.warns(UserWarning, match="no longer works: no answer; the run goes on"):
    half_sent()
  tracker.lost = False
  assert len(tracker.runs["run0"].points) < len(points_of(workdir))
  tracker.runs["run0"].waiting = []  # of the process that ended
  with opened(workdir) as finish:
    finish(chain_of(workdir))
  assert tracker.runs["run0"].points == points_of(workdir)


def test_a_server_that_is_not_there_stops_before_anything_is_computed(tracker, workdir):
  tracker.lost = True
  config = dataclasses.replace(CONFIG, seed=3)
  with pytest.raises(OSError, match=r"--track=mlflow does not work: no answer$"):
    run_to("train", config, workdir)
  assert not workdir.exists()


def test_other_settings_and_trainings_done_again_are_other_runs(tracker, workdir):
  with opened(workdir):
    train(workdir, 40)
  with opened(workdir, settings={"train": {"steps": 50}}):
    train(workdir, 40, folder="train.2")
  with opened(workdir, settings={"train": {"steps": 50}}):
    train(workdir, 40, folder="train.3")  # asked for by --redo
  (workdir / "stages/train.3").rmtree()
  with opened(workdir, settings={"train": {"steps": 50}}):
    train(workdir, 20, folder="train.3")  # whose folder was deleted
  assert [len(run.points) for run in tracker.runs.values()] == [6, 6, 6, 3]


def chain_of(workdir, *stages, results=None):
  """A chain as `run_to` returns it."""
  chain = {}
  for name in ("train", *stages):
    folder = workdir / "stages" / f"{name}.1"
    if name == "evaluate":
      folder.mkdir(parents=True, exist_ok=True)
      protocol = Protocol(**dict.fromkeys(Protocol._fields, ""))
      protocol = protocol._replace(dataset="shop", num_users=3, num_items=3, num_beams=3)
      write_evaluation(folder / "evaluation.json", protocol, results)
    outputs = checksums_of(folder, ["evaluation.json"])
    record = Record(name, Inputs({}, {}, {}, {}), outputs, "2026-01-01T00:00:00Z")
    chain[name] = Generation(folder, 1, record)
  return chain


def test_what_was_made_before_tracking_was_wanted_is_sent_at_the_end(tracker, workdir):
  with opened(workdir, dataclasses.replace(CONFIG, track="none")):
    train(workdir, 40)
    train(workdir, 40, folder="tokenize.1", name="tokenizer")
  assert not tracker.opened
  results = {"sidrec": {"test": {"masked": {"recall@10": 0.5}}}}
  chain = chain_of(workdir, "tokenize", "evaluate", results=results)
  for _ in range(2):
    with opened(workdir) as finish:
      finish(chain)
  (run,) = tracker.runs.values()
  assert run.points == points_of(workdir) + points_of(workdir, "tokenize.1")
  assert run.numbers == {"evaluate/sidrec/test/masked/recall@10": 0.5}
  assert tracker.opened == 1  # the second time there was nothing to send


def test_tracking_decides_no_stage():
  assert deciding_settings(CONFIG) == deciding_settings(RunConfig(track="none"))


def test_settings_are_shown_without_paths_and_runs_by_their_folder(workdir):
  data = dataclasses.replace(CONFIG.data, path="/home/somebody/log.csv")
  shown = shown_settings(dataclasses.replace(CONFIG, data=data))
  assert shown["train.learning_rate"] == CONFIG.train.learning_rate
  assert "somebody" not in str(shown)
  assert "data.path" not in shown
  names = ["shop", "shop/cold_start", "shop/trials/7"]
  assert [name_of(workdir.parent / name) for name in names] == names


def test_an_unknown_tracker_is_refused():
  with pytest.raises(ValueError, match="unknown track 'mlfow'; did you mean 'mlflow'"):
    RunConfig(track="mlfow")


def test_a_damaged_memory_is_refused(tracker, workdir):
  workdir.mkdir()
  for text in ("{", '{"mlflow": {"of": 1}}'):
    (workdir / "track.json").write_text(text)
    with pytest.raises(ValueError, match=r"track\.json is damaged"), opened(workdir):
      pass
