"""Traces and the compilation cache."""

import socket

import buckets
import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from sidrec.core.paths import files_under
from sidrec.training import profile


def calls_of(monkeypatch, steps, total, *, primary=True):
  """What a trace does before each call of two steps."""
  done, log = 0, []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda _: log.append((done, "start")))
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


def test_a_trace_lies_in_its_folder_without_the_hosts_name(tmp_path):
  trace = profile.Trace(tmp_path / "profile", 2, 6)
  for done in range(0, 7, 2):
    trace(done, jnp.arange(3) + done)
  files = [path for path in (tmp_path / "profile").rglob("*") if path.is_file()]
  assert any(path.name == "host.xplane.pb" for path in files)
  assert not any(socket.gethostname() in path.name for path in files)


@pytest.mark.usefixtures("restored_config")
def test_the_cache_may_be_a_bucket():
  with buckets.google() as root:
    profile.enable_compilation_cache(f"{root}/cache")
    limit = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    compilation_cache.reset_cache()
    try:
      jax.jit(lambda x: x * 7.25 + 1)(jnp.ones(3)).block_until_ready()
    finally:
      jax.config.update("jax_persistent_cache_min_compile_time_secs", limit)
      compilation_cache.reset_cache()
    assert files_under(f"{root}/cache")
