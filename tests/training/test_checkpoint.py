import logging
import math
import os
import shutil
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from orbax.checkpoint import v1 as ocp

from sidrec.parallel.mesh import make_mesh, replicated
from sidrec.training import checkpoint
from sidrec.training.checkpoint import load_params, open_checkpoints, save_params
from sidrec.training.checksums import CHECKSUMS
from sidrec.training.orbax import UNFINISHED
from sidrec.training.state import TrainState

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(lambda step: 1e-3))


def make_state(seed=0, width=4, devices=None):
  """A state with several dtypes, nested containers, optax's state and a typed key."""
  keys = jax.random.split(jax.random.key(seed), 3)
  params = {
    "embed": jax.random.normal(keys[0], (5, width)),
    "blocks": [{"kernel": jax.random.normal(keys[1], (width, 3), jnp.bfloat16)}],
  }
  grads = jax.tree.map(jnp.ones_like, params)
  _, opt_state = OPTIMIZER.update(grads, OPTIMIZER.init(params), params)
  aux = {"counts": jnp.arange(7, dtype=jnp.int32) - seed}
  state = TrainState(jnp.int32(seed), params, aux, opt_state, (), keys[2])
  return jax.device_put(state, replicated(make_mesh(devices)))


def assert_same_bits(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert a.dtype == b.dtype
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def steps_in(folder):
  return sorted(path.name for path in folder.iterdir())


def test_state_and_progress_come_back_bit_for_bit(tmp_path):
  state = make_state()
  progress = {"best": -math.inf, "best_step": None, "since_best": 2}
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(40, state, progress)
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 40
    restored, restored_progress = checkpoints.restore_latest(jax.eval_shape(lambda: make_state()))
  assert_same_bits(restored, state)
  assert restored_progress == progress


def test_an_empty_run_has_nothing_to_restore(tmp_path):
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() is None
    assert checkpoints.best_step() is None
    assert checkpoints.restore_latest(make_state()) is None
    assert checkpoints.restore_best(make_state()) is None


def test_buffers_may_be_donated_as_soon_as_a_save_returns(tmp_path):
  state = {"x": jax.device_put(jnp.arange(500_000.0), replicated(make_mesh()))}
  overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(1, state, {})
    state = jax.block_until_ready(overwrite(state))
    restored, _ = checkpoints.restore_latest(state)
  np.testing.assert_array_equal(restored["x"], np.arange(500_000.0))


def test_the_best_and_its_metric_survive_later_saves_of_the_latest(tmp_path):
  states = {step: make_state(step) for step in (10, 20, 30, 40)}
  with open_checkpoints(tmp_path) as checkpoints:
    for step, best in [(10, 10), (20, 20), (30, 20), (40, 20)]:
      if best == step:
        checkpoints.save_best(step, states[step].params, step / 100)
      checkpoints.save_latest(step, states[step], {"best_step": best})
  assert steps_in(tmp_path / "latest") == ["30", "40"]
  with open_checkpoints(tmp_path) as checkpoints:
    assert (checkpoints.latest_step(), checkpoints.best_step()) == (40, 20)
    restored, progress = checkpoints.restore_latest(states[40])
    assert_same_bits(restored, states[40])
    assert progress == {"best_step": 20}
    assert_same_bits(checkpoints.restore_best(states[40].params), states[20].params)
    assert checkpoints.best.metadata(20).custom_metadata == {"metric": 0.2}


def test_a_best_that_the_latest_does_not_know_of_is_forgotten(tmp_path):
  states = {step: make_state(step) for step in (10, 20)}
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_best(10, states[10].params, 0.1)
    checkpoints.save_latest(10, states[10], {"best_step": 10})
    checkpoints.save_best(20, states[20].params, 0.2)  # killed before save_latest
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore_latest(states[20])[1] == {"best_step": 10}
    assert checkpoints.best_step() == 10
    assert_same_bits(checkpoints.restore_best(states[20].params), states[10].params)
    checkpoints.save_best(20, states[20].params, 0.2)  # the run comes by again
    assert_same_bits(checkpoints.restore_best(states[20].params), states[20].params)


def test_unfinished_checkpoints_are_never_the_latest(tmp_path):
  state = make_state()
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(10, state, {"n": 1})
  latest = tmp_path / "latest"
  # A killed save leaves a folder under a temporary name. One that is cut short under
  # its final name takes a copy, or a file system without atomic renames.
  shutil.copytree(latest / "10", latest / "20.orbax-checkpoint-tmp")
  (latest / "30").mkdir()
  for step, lost in [(40, "state"), (50, "_CHECKPOINT_METADATA"), (60, "state/_METADATA")]:
    shutil.copytree(latest / "10", latest / str(step))
    path = latest / str(step) / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  shutil.copytree(latest / "10", latest / "70")
  for path in (latest / "70/state/d").iterdir():
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 10
    restored, progress = checkpoints.restore_latest(state)
    assert_same_bits(restored, state)
    assert progress == {"n": 1}
    for step in (20, 30):  # the run goes on over the debris
      checkpoints.save_latest(step, state, {"n": step})
    assert checkpoints.restore_latest(state)[1] == {"n": 30}
  assert steps_in(latest) == ["20", "30"]


def test_a_run_without_a_complete_checkpoint_is_not_started_over(tmp_path):
  (tmp_path / "latest/30").mkdir(parents=True)
  refused = pytest.raises(ValueError, match=r"no checkpoint in .*latest is sound .*; delete")
  with open_checkpoints(tmp_path) as checkpoints, refused:
    checkpoints.restore_latest({"x": jnp.ones(3)})
  assert steps_in(tmp_path / "latest") == ["30"]


def test_saving_before_a_later_step_is_refused(tmp_path):
  state = {"x": jnp.ones(3)}
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(10, state, {})
    with pytest.raises(ValueError, match=r"latest holds step 10, so step 5 cannot be saved"):
      checkpoints.save_latest(5, state, {})


def test_saving_a_step_again_renews_its_progress(tmp_path):
  state = {"x": jnp.ones(3)}
  with open_checkpoints(tmp_path) as checkpoints:
    for n in (1, 1, 2):
      checkpoints.save_latest(10, state, {"n": n})
    assert checkpoints.restore_latest(state)[1] == {"n": 2}


def test_progress_that_json_cannot_hold_is_refused_at_once(tmp_path):
  with open_checkpoints(tmp_path) as checkpoints, pytest.raises(TypeError, match="JSON"):
    checkpoints.save_latest(1, {"x": jnp.ones(3)}, {"best": jnp.ones(())})


def _resized(state):
  return state._replace(params={**state.params, "embed": jnp.ones((5, 6))})


def _recast(state):
  return state._replace(params=jax.tree.map(lambda x: x.astype(jnp.float32), state.params))


@pytest.mark.parametrize(
  ("change", "messages"),
  [
    (_resized, ["params/embed is float32[5,4] in it, but float32[5,6] here"]),
    (_recast, ["params/blocks/0/kernel is bfloat16[4,3] in it, but float32[4,3] here"]),
    (lambda s: s._replace(aux=()), ["aux/counts is int32[7] in it, but absent here"]),
    (
      lambda s: _resized(_recast(s))._replace(average={"w": jnp.ones(2)}, step=jnp.ones(1)),
      [
        "step is int32[] in it, but float32[1] here",
        "params/blocks/0/kernel is bfloat16[4,3] in it, but float32[4,3] here",
        "params/embed is float32[5,4] in it, but float32[5,6] here",
        "average/w is absent in it, but float32[2] here",
      ],
    ),
  ],
)
def test_a_checkpoint_that_does_not_fit_names_all_leaves_that_differ(tmp_path, change, messages):
  state = make_state()
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(3, state, {})
    refused = pytest.raises(ValueError, match=r"latest/3 does not fit: ")
    with refused as error:
      checkpoints.restore_latest(change(state))
    named = str(error.value).partition("does not fit: ")[2].split("; ")
    assert named == [*messages, "was the configuration changed since it was saved?"]
    assert checkpoints.latest_step() == 3


class RenamedState(NamedTuple):
  """TrainState as another version of the code might have it."""

  key: jax.Array
  new: tuple
  opt_state: tuple
  params: dict
  step: jax.Array
  aux: dict
  average: None


class RenamedAdamState(NamedTuple):
  nu: dict
  mu: dict
  count: jax.Array


def test_a_checkpoint_outlives_the_classes_it_was_saved_from(tmp_path):
  state = make_state(3)
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(3, state, {})
  classes = {"TrainState", "optax", "namedtuple"}
  assert not any(
    word.encode() in path.read_bytes()
    for word in classes
    for path in (tmp_path / "latest").rglob("*")
    if path.is_file()
  )
  clip, (adam, *others) = state.opt_state
  renamed = [clip, [RenamedAdamState(adam.nu, adam.mu, adam.count), *others]]
  later = RenamedState(state.key, (), renamed, state.params, state.step, state.aux, None)
  with open_checkpoints(tmp_path) as checkpoints:
    restored, _ = checkpoints.restore_latest(jax.eval_shape(lambda: later))
  assert_same_bits(restored, later)


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8)])
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, before, after):
  saved = make_state(devices=jax.devices()[:before])
  with open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save_latest(3, saved, {})
  wanted = make_state(seed=1, devices=jax.devices()[:after])
  with open_checkpoints(tmp_path) as checkpoints:
    restored, _ = checkpoints.restore_latest(wanted)
  assert_same_bits(restored, saved)
  for got, want in zip(jax.tree.leaves(restored), jax.tree.leaves(wanted), strict=True):
    assert got.sharding.is_equivalent_to(want.sharding, got.ndim)
    assert len(got.sharding.device_set) == after


class Codebook(NamedTuple):
  table: jax.Array
  seen: np.ndarray


def test_relative_paths_work(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_params("tokenizer", {"x": jnp.ones(3)})
  assert_same_bits(load_params("tokenizer"), {"x": jnp.ones(3)})
  with open_checkpoints("run") as checkpoints:
    checkpoints.save_latest(1, {"x": jnp.ones(3)}, {})
  assert steps_in(tmp_path / "run/latest") == ["1"]


def test_saves_leave_no_threads_and_files_open(tmp_path):
  def held():
    return threading.active_count(), len(os.listdir("/proc/self/fd"))

  with open_checkpoints(tmp_path) as checkpoints:
    for step in range(1, 9):
      checkpoints.save_latest(step, {"x": jnp.ones(3)}, {})
      checkpoints.wait()
      if step == 2:
        before = held()
    assert held() == before


def test_orbax_keeps_quiet_and_nobody_else_has_to(tmp_path, caplog):
  with caplog.at_level(logging.INFO, logger="absl"):
    with open_checkpoints(tmp_path) as checkpoints:
      checkpoints.save_latest(1, {"x": jnp.ones(3)}, {})
    assert not caplog.records
    logging.getLogger("absl").info("training starts")
    # A warning of Orbax's own: the folder holds no checkpoint.
    (tmp_path / "latest/2").mkdir()
    with open_checkpoints(tmp_path):
      pass
  messages = [(record.levelname, "orbax" in record.pathname) for record in caplog.records]
  assert ("INFO", False) in messages
  assert ("WARNING", True) in messages


def test_a_checkpoint_is_plain_orbax(tmp_path):
  save_params(tmp_path / "tokenizer", {"x": jnp.ones(3)})
  template = {"x": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=replicated(make_mesh()))}
  np.testing.assert_array_equal(ocp.load(tmp_path / "tokenizer", template)["x"], np.ones(3))


@pytest.mark.parametrize("name", [f"7{UNFINISHED}", "7"])
def test_checksums_go_where_the_files_are_written(tmp_path, name):
  """To a folder with another name, or where none can be renamed, as in buckets, the last one."""
  (tmp_path / name / "state").mkdir(parents=True)
  checkpoint._add_checksums(epath.Path(tmp_path), 7, {"best": 1})
  assert [str(x.relative_to(tmp_path)) for x in tmp_path.rglob("*.json")] == [f"{name}/{CHECKSUMS}"]
