"""Traces and the compilation cache."""

import jax
import jax.numpy as jnp
import pytest

from sidrec.training import profile


def calls_of(monkeypatch, steps, total, *, primary=True):
  """What a trace does before each call of two steps."""
  done, log = 0, []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: log.append((done, "start")))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: log.append((done, "stop")))
  monkeypatch.setattr(profile, "is_primary", lambda: primary)
  trace = profile.Trace("folder", steps, total)
  for done in range(0, total + 1, 2):
    trace(done, jnp.zeros(()))
  return log


def test_traces_whole_calls_after_the_first(monkeypatch):
  assert calls_of(monkeypatch, 3, 20) == [(2, "start"), (6, "stop")]
  assert calls_of(monkeypatch, 100, 8) == [(2, "start"), (8, "stop")]


def test_traces_nothing_unasked(monkeypatch):
  assert calls_of(monkeypatch, 0, 20) == []
  assert calls_of(monkeypatch, 3, 20, primary=False) == []


@pytest.fixture
def restored_config():
  before = jax.config.jax_compilation_cache_dir
  yield
  jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.usefixtures("restored_config")
def test_the_cache_folder_is_made_and_set(tmp_path):
  profile.enable_compilation_cache(tmp_path / "a" / "b")
  assert (tmp_path / "a" / "b").is_dir()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "a" / "b")
