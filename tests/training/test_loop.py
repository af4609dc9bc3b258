"""The loop: exact resume, one device equals eight, best parameters, early stop, divergence."""

import os
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from communication import moves
from damage import flip_a_bit
from tiny import all_codes, make_histories, make_model

from sidrec.data.batches import packed_batches, shuffled
from sidrec.parallel import preemption
from sidrec.parallel.mesh import make_mesh, on_all_devices, with_shardings
from sidrec.trainers.recommender import recommender_task
from sidrec.training import loop
from sidrec.training.checkpoint import open_checkpoints
from sidrec.training.logging import Logger
from sidrec.training.loop import LoopConfig, Records, TrainingDivergedError, train
from sidrec.training.optimizer import adamw
from sidrec.training.profile import Trace
from sidrec.training.state import init_state
from sidrec.training.task import Task

SILENT = lambda start_step: Logger(lambda *_: None, lambda *_: None, lambda: None)


def recommender(batch_size=16):
  """A small recommender with dropout, and its batches."""
  rng = np.random.default_rng(0)
  model, trie, _ = make_model(
    all_codes(3, 3), history_length=6, encoder_layers=1, encoder_dropout=0.3, decoder_dropout=0.3
  )
  rows = [rng.integers(0, 27, length).tolist() for length in rng.integers(4, 15, 30)]
  histories = make_histories(rows)
  batch_at = packed_batches(histories, 6, batch_size, seed=0)
  return recommender_task(model, trie), batch_at


def line_task():
  """Fits y = w·x; {'x', 'y'} batches; the answer is 3."""
  x = np.linspace(-1, 1, 64, dtype=np.float32)
  indices = shuffled(64, 8, seed=0)
  batch_at = lambda step: {"x": x[indices(step)], "y": 3 * x[indices(step)]}

  def loss(params, aux, batch, key):
    return jnp.square(params["w"] * batch["x"] - batch["y"]).mean(), (aux, {})

  return Task(lambda key: ({"w": jnp.zeros(())}, ()), loss), batch_at


def compiled_text(accumulate):
  """The compiled program of two training steps over eight devices, and the parameters' shapes."""
  task, batch_at = recommender(batch_size=32)
  optimizer, mesh = adamw(1e-2, 10, 100, 0.05, 1.0), make_mesh()
  start = lambda key: init_state(task, optimizer, key, averaged=True)
  state = with_shardings(mesh, jax.eval_shape(start, jax.random.key(0)))
  shardings = jax.tree.map(lambda x: x.sharding, state)
  config = LoopConfig(2, 2, 2, metric="zero", average_decay=0.9, accumulate=accumulate)
  run = loop.make_run(task, optimizer, config, mesh, shardings)
  arrays = on_all_devices(mesh, task.arrays)
  text = run.lower(state, loop._stacked(batch_at, 0, 2, mesh), arrays).compile().as_text()
  return text, state.params


def test_a_step_reduces_all_gradients_at_once_and_gathers_nothing():
  """Under data parallelism the float32 gradient crosses the devices once, as one vector.

  What is counted are the operations of the compiled program of two steps, whose loop over steps
  holds each once. The count of tokens is an integer scalar, reduced apart. Micro-batches are added
  up before.
  """
  for accumulate in (1, 4):
    text, params = compiled_text(accumulate)
    # Of each parameter its gradient once; the loss, its parts by level, and the weight.
    wanted = sum(x.size for x in jax.tree.leaves(params)) + 1 + 3 + 1
    assert moves(text) == [("all-reduce", f"f32[{wanted}]"), ("all-reduce", "s32[]")]
    (place,) = re.findall(r"= f32\S* all-reduce\(.*op_name=\"([^\"]*)\"", text)
    assert place.count("while") == 1  # the loop over steps, not the one over micro-batches


class InterruptedRunError(Exception):
  pass


def interrupted_at(stop, validate):
  """A validation that fails like a killed run the stop-th time."""
  calls = []

  def wrapped(params):
    calls.append(1)
    if len(calls) == stop:
      raise InterruptedRunError
    return validate(params)

  return wrapped


@pytest.mark.parametrize("average_decay", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, average_decay):
  task, batch_at = recommender()
  optimizer = optax.adamw(1e-2)
  config = LoopConfig(
    steps=12, steps_per_call=2, validate_every=4, metric="ndcg@10", average_decay=average_decay
  )
  validate = lambda params: {"ndcg@10": float(jnp.abs(params["start"]).sum())}
  args = (config, jax.random.key(0), make_mesh())
  run = lambda folder, validate: train(
    task, optimizer, batch_at, validate, *args, Records(tmp_path / folder, SILENT)
  )
  whole = run("whole", validate)
  with pytest.raises(InterruptedRunError):
    run("parts", interrupted_at(3, validate))
  resumed = run("parts", validate)
  jax.tree.map(np.testing.assert_array_equal, whole, resumed)

  abstract = jax.eval_shape(
    lambda key: init_state(task, optimizer, key, averaged=average_decay > 0), jax.random.key(0)
  )
  states = []
  for folder in ("whole", "parts"):
    with open_checkpoints(tmp_path / folder) as checkpoints:
      state, progress = checkpoints.restore_latest(abstract)
      states.append((state._replace(key=jax.random.key_data(state.key)), progress))
  assert int(states[0][0].step) == 12
  assert states[0][1] == states[1][1]
  jax.tree.map(np.testing.assert_array_equal, states[0][0], states[1][0])


@pytest.mark.parametrize(
  ("at", "saved"),
  [
    (0, 6),  # the call with that batch runs, and the next one
    (5, 7),  # which here ends at a validation
    (6, 7),  # the call itself does
    (8, 13),
    (19, 20),  # the last call of all
  ],
)
def test_a_signal_saves_the_step_and_the_next_run_goes_on(tmp_path, monkeypatch, at, saved):
  task, batch_at = line_task()
  config = LoopConfig(steps=20, steps_per_call=3, validate_every=7, metric="loss", maximise=False)
  validated = {"whole": [], "parts": []}

  def run(folder, batch_at):
    def validate(params):
      validated[folder].append(float(params["w"]))
      return {"loss": float(jnp.square(params["w"] - 3))}

    args = (validate, config, jax.random.key(0), make_mesh(), Records(tmp_path / folder, SILENT))
    return train(task, optax.adam(0.3), batch_at, *args)

  def signalled(step):
    if step == at:
      os.kill(os.getpid(), signal.SIGTERM)
    return batch_at(step)

  whole = run("whole", batch_at)
  monkeypatch.setattr(preemption._State, "last", float("-inf"))
  before = signal.signal(signal.SIGTERM, preemption._handle)
  try:
    with pytest.raises(preemption.Stopped, match=f"at step {saved}, ") as stopped:
      run("parts", signalled)
  finally:
    signal.signal(signal.SIGTERM, before)
  assert stopped.value.status == 143
  with open_checkpoints(tmp_path / "parts") as checkpoints:
    assert checkpoints.latest_step() == saved
  jax.tree.map(np.testing.assert_array_equal, whole, run("parts", batch_at))
  assert validated["parts"] == validated["whole"]


def test_a_run_goes_on_where_files_of_its_checkpoints_were_damaged(tmp_path):
  task, batch_at = line_task()
  config = LoopConfig(steps=20, steps_per_call=4, validate_every=4, metric="score")
  seen = []

  def validate(params):
    seen.append(float(params["w"]))
    return {"score": -abs(seen[-1] - 1.2)}  # the best is that of step 12

  def run(validate):
    args = (config, jax.random.key(0), make_mesh(), Records(tmp_path / "run", SILENT))
    return float(train(task, optax.sgd(0.06), batch_at, validate, *args)["w"])

  with pytest.raises(InterruptedRunError):
    run(interrupted_at(4, validate))
  stopped = tmp_path / "stopped"
  (tmp_path / "run").rename(stopped)

  ends = {}
  for damaged in (None, "latest/12", "best/12"):
    shutil.copytree(stopped, tmp_path / "run", dirs_exist_ok=True)
    if damaged:
      flip_a_bit(tmp_path / "run" / damaged / "state/manifest.ocdbt")
    del seen[3:]
    ends[damaged] = run(validate), tuple(seen[3:])
    shutil.rmtree(tmp_path / "run")
  undisturbed, after = ends[None]
  assert len(after) == 2
  assert undisturbed == seen[2]
  # From step 8 it comes by step 12 again.
  assert ends["latest/12"] == (undisturbed, (seen[2], *after))
  # Step 16 is not as good as step 12 was, but better than step 8, the best that is left.
  assert ends["best/12"] == (after[0], after)


def test_one_device_trains_like_eight_and_like_four_by_two(tmp_path):
  task, batch_at = recommender()
  config = LoopConfig(
    steps=10, steps_per_call=5, validate_every=10, metric="zero", average_decay=0.9
  )
  losses, results = [], []
  for name, mesh in (
    ("one", make_mesh(jax.devices()[:1])),
    ("eight", make_mesh()),
    ("four by two", make_mesh(model=2)),
  ):
    lines = []
    make_logger = lambda start, lines=lines: Logger(
      lambda step, values: lines.append(values.get("train/loss")), lambda *_: None, lambda: None
    )
    params = train(
      task,
      optax.adamw(1e-2),
      batch_at,
      lambda params: {"zero": 0.0},
      config,
      jax.random.key(0),
      mesh,
      Records(tmp_path / name, make_logger),
    )
    losses.append([x for x in lines if x is not None])
    results.append(params)
  assert len(losses[0]) == 2
  for loss, params in zip(losses[1:], results[1:], strict=True):
    np.testing.assert_allclose(losses[0], loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), results[0], params)
    assert len(params["start"].sharding.device_set) == 8
  # 44 trie nodes are cut by rows, 27 items by width; what no rule names is whole everywhere.
  shape = lambda name: results[2][name].addressable_shards[0].data.shape
  assert (shape("node"), shape("item"), shape("start")) == ((22, 8), (27, 4), (8,))


def test_a_run_goes_on_with_its_tables_spread_otherwise(tmp_path):
  batch_at = lambda step: {"row": (np.arange(8, dtype=np.int32) + step) % 4}
  start = np.arange(2.0, 14.0, dtype=np.float32).reshape(4, 3)

  def loss(params, aux, batch, key):
    return jnp.square(params["item"][batch["row"]] - 1.0).mean(), (aux, {})

  task = Task(lambda key: ({"item": jnp.array(start)}, ()), loss)
  config = LoopConfig(steps=6, steps_per_call=2, validate_every=2, metric="score")
  validate = lambda params: {"score": -float(jnp.square(params["item"]).sum())}

  def run(folder, mesh, validate):
    key, records = jax.random.key(0), Records(tmp_path / folder, SILENT)
    return train(task, optax.adam(0.1), batch_at, validate, config, key, mesh, records)

  whole = run("whole", make_mesh(), validate)
  with pytest.raises(InterruptedRunError):
    run("parts", make_mesh(model=2), interrupted_at(2, validate))
  resumed = run("parts", make_mesh(model=4), validate)
  assert {shard.data.shape for shard in resumed["item"].addressable_shards} == {(1, 3)}
  np.testing.assert_allclose(whole["item"], resumed["item"], rtol=1e-6)
  assert np.abs(np.asarray(whole["item"]) - start).min() > 0.01


def test_the_batch_is_spread_over_the_devices():
  _, batch_at = recommender()
  stacked = loop._stacked(batch_at, 5, 3, make_mesh())["history_BxS"]
  for i in range(3):
    np.testing.assert_array_equal(stacked[i], batch_at(5 + i)["history_BxS"])
  assert {shard.data.shape for shard in stacked.addressable_shards} == {(3, 2, 6)}


def test_best_parameters_are_returned_not_the_last(tmp_path):
  task, batch_at = line_task()
  values = []

  def validate(params):
    values.append(float(params["w"]))
    return {"score": -abs(values[-1] - 1.0)}  # best on the way to 3

  params = train(
    task,
    optax.sgd(0.3),
    batch_at,
    validate,
    LoopConfig(steps=40, steps_per_call=1, validate_every=2, metric="score"),
    jax.random.key(0),
    make_mesh(),
    Records(tmp_path, SILENT),
  )
  best = min(values, key=lambda w: abs(w - 1.0))
  assert float(params["w"]) == best != values[-1]


def from_given(folder, weight, learning_rate):
  """Four steps from a given weight: (the one that is kept, scores of all validations)."""
  (task, batch_at), key, mesh = line_task(), jax.random.key(0), make_mesh()
  optimizer, config = optax.sgd(learning_rate), LoopConfig(4, 2, 2, metric="closeness")
  scores, places = [], set()

  def validate(params):
    scores.append(-abs(3 - float(params["w"])))
    places.add(params["w"].sharding)
    return {"closeness": scores[-1]}

  given = {"w": np.float32(weight)}
  loop.start_from(given, task, optimizer, validate, config, key, mesh, folder)
  records = Records(folder, SILENT)
  kept = float(train(task, optimizer, batch_at, validate, config, key, mesh, records)["w"])
  assert len(places) <= 1  # so that all validations are one program
  return kept, scores


def test_training_starts_from_given_parameters_and_keeps_them_if_none_are_better(tmp_path):
  kept, scores = from_given(tmp_path / "better", 2.0, 0.1)
  assert 2.0 < kept < 3.0
  assert scores[0] == -1.0
  assert len(scores) == 3
  kept, scores = from_given(tmp_path / "worse", 2.5, -0.5)
  assert kept == 2.5
  assert max(scores[1:]) < scores[0]


def test_what_began_from_given_parameters_is_not_begun_again(tmp_path):
  kept, _ = from_given(tmp_path, 2.0, 0.1)
  again, scores = from_given(tmp_path, 0.0, 0.1)
  assert again == kept
  assert scores == []


def test_given_parameters_have_to_fit(tmp_path):
  with pytest.raises(ValueError, match="do not fit the model"):
    from_given(tmp_path, np.zeros(2), 0.1)
  with pytest.raises(TrainingDivergedError, match="of the given parameters is nan"):
    from_given(tmp_path, np.nan, 0.1)


def test_minimised_metric(tmp_path):
  task, batch_at = line_task()
  scores = iter([3.0, 1.0, 2.0])
  seen = []

  def validate(params):
    seen.append(float(params["w"]))
    return {"score": next(scores)}

  params = train(
    task,
    optax.sgd(0.3),
    batch_at,
    validate,
    LoopConfig(steps=6, steps_per_call=2, validate_every=2, metric="score", maximise=False),
    jax.random.key(0),
    make_mesh(),
    Records(tmp_path, SILENT),
  )
  assert float(params["w"]) == seen[1]


def test_early_stopping_counts_validations_without_improvement(tmp_path):
  task, batch_at = line_task()
  scores = [1.0, 2.0, 1.5, 1.6, 9.0]
  calls = []

  def validate(params):
    calls.append(1)
    return {"score": scores[len(calls) - 1]}

  config = LoopConfig(steps=100, steps_per_call=1, validate_every=1, metric="score", patience=2)
  args = (config, jax.random.key(0), make_mesh(), Records(tmp_path, SILENT))
  train(task, optax.sgd(0.1), batch_at, validate, *args)
  assert len(calls) == 4
  # A run that had stopped stays stopped.
  train(task, optax.sgd(0.1), batch_at, validate, *args)
  assert len(calls) == 4


def test_validation_comes_every_n_steps_and_at_the_end(tmp_path):
  task, batch_at = line_task()
  lines = []
  train(
    task,
    optax.sgd(0.1),
    batch_at,
    lambda params: {"score": 0.0},
    LoopConfig(steps=11, steps_per_call=3, validate_every=4, metric="score"),
    jax.random.key(0),
    make_mesh(),
    Records(
      tmp_path,
      lambda start: Logger(
        lambda step, values: lines.append((step, "valid/score" in values)),
        lambda *_: None,
        lambda: None,
      ),
    ),
  )
  assert [step for step, valid in lines if valid] == [4, 8, 11]
  assert [step for step, valid in lines if not valid] == [3, 4, 7, 8, 11]


def test_divergence_stops_with_the_last_good_checkpoint(tmp_path):
  task, batch_at = line_task()

  def poisoned(step):
    batch = batch_at(step)
    return {**batch, "y": batch["y"] * np.nan} if step == 5 else batch

  config = LoopConfig(steps=20, steps_per_call=2, validate_every=4, metric="score")
  with pytest.raises(TrainingDivergedError, match=r"loss became nan .* the one of step 4 is kept"):
    train(
      task,
      optax.sgd(0.1),
      poisoned,
      lambda params: {"score": 0.0},
      config,
      jax.random.key(0),
      make_mesh(),
      Records(tmp_path, SILENT),
    )
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 4


def test_a_validation_without_a_number_ends_the_run(tmp_path):
  task, batch_at = line_task()
  scores = iter([0.5, float("nan")])
  config = LoopConfig(steps=6, steps_per_call=2, validate_every=2, metric="score")
  args = (config, jax.random.key(0), make_mesh(), Records(tmp_path, SILENT))
  with pytest.raises(TrainingDivergedError, match="score is nan at step 4"):
    train(task, optax.sgd(0.1), batch_at, lambda params: {"score": next(scores)}, *args)
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 2


def test_a_trace_is_called_before_every_call_and_once_at_the_end(tmp_path):
  task, batch_at = line_task()
  calls = []
  config = LoopConfig(steps=7, steps_per_call=2, validate_every=3, metric="score")
  records = Records(tmp_path, SILENT, lambda done, state: calls.append((done, int(state.step))))
  args = (config, jax.random.key(0), make_mesh(), records)
  train(task, optax.sgd(0.1), batch_at, lambda params: {"score": 0.0}, *args)
  assert calls == [(step, step) for step in (0, 2, 3, 5, 6, 7)]


def test_moving_average_is_kept_and_validated(tmp_path):
  task, batch_at = line_task()
  seen = []
  train(
    task,
    optax.sgd(1.0),
    batch_at,
    lambda params: seen.append(float(params["w"])) or {"score": 0.0},
    LoopConfig(steps=1, steps_per_call=1, validate_every=1, metric="score", average_decay=0.9),
    jax.random.key(0),
    make_mesh(),
    Records(tmp_path, SILENT),
  )
  with open_checkpoints(tmp_path) as checkpoints:
    abstract = jax.eval_shape(
      lambda key: init_state(task, optax.sgd(1.0), key, averaged=True), jax.random.key(0)
    )
    state, _ = checkpoints.restore_latest(abstract)
  # After the first step the decay is (1 + 0) / (10 + 0).
  assert seen[0] == pytest.approx(0.9 * float(state.params["w"]), rel=1e-6)


@pytest.mark.parametrize("name", ["steps", "steps_per_call", "validate_every", "accumulate"])
def test_counts_must_be_positive(name):
  counts = {"steps": 1, "steps_per_call": 1, "validate_every": 1, name: 0}
  with pytest.raises(ValueError, match=f"{name} must be at least 1"):
    LoopConfig(**counts, metric="x")


def test_average_decay_must_be_below_one():
  with pytest.raises(ValueError, match="average_decay must lie in"):
    LoopConfig(steps=1, steps_per_call=1, validate_every=1, metric="x", average_decay=1.0)


def test_rates_and_a_trace_of_some_steps(tmp_path, monkeypatch):
  traced = []  # a real trace holds all programs of this process; tests/training/test_profile.py
  monkeypatch.setattr(jax.profiler, "start_trace", traced.append)
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: traced.append("stop"))
  _, batch_at = line_task()
  product = lambda params, batch: (params["w"] * batch["x"][:, None]) @ jnp.ones((1, 4))
  loss = lambda params, aux, batch, key: (product(params, batch).mean(), (aux, {}))
  task = line_task()[0]._replace(loss=loss, tokens=lambda batch: jnp.int32(batch["x"].size))
  lines, shown = [], []
  train(
    task,
    optax.sgd(0.1),
    batch_at,
    lambda params: {"score": 0.0},
    LoopConfig(steps=12, steps_per_call=2, validate_every=6, metric="score"),
    jax.random.key(0),
    make_mesh(),
    Records(
      tmp_path / "checkpoints",
      lambda start: Logger(
        lambda step, values: lines.append((step, values)),
        lambda *args: shown.append(args[2]),
        lambda: 0,
      ),
      Trace(tmp_path / "profile", 4, 12),
    ),
  )
  train_lines = {
    step: {name.removeprefix("train/"): value for name, value in values.items()}
    for step, values in lines
    if "train/loss" in values
  }
  assert "tokens_per_second" not in train_lines[2]  # the time of compilation counts for nothing
  for step in (4, 6, 8, 12):
    rate = train_lines[step]["steps_per_second"]
    assert train_lines[step]["tokens_per_second"] == pytest.approx(8 * rate)
    # A product [8, 1] x [1, 4], and as much twice in the backward pass.
    assert train_lines[step]["model_flops_per_second"] == pytest.approx(3 * 2 * 8 * 4 * rate)
    assert "mfu" not in train_lines[step]  # nobody knows a CPU's peak
  assert shown[0] == ""
  assert shown[1].endswith("FLOP/s")
  assert len(traced) == 2
  assert traced[1] == "stop"
