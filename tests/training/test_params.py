import os
import re
from typing import NamedTuple

import buckets
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from damage import bring_back, cut, flip_a_bit, hide

from sidrec.core.paths import as_path
from sidrec.training.checkpoint import check_can_save, open_checkpoints
from sidrec.training.params import load_params, save_params


def assert_same_bits(got, want):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    assert a.dtype == b.dtype
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


class Codebook(NamedTuple):
  table: jax.Array
  seen: np.ndarray


def test_params_come_back_with_and_without_a_template(tmp_path):
  params = Codebook(jnp.arange(6, dtype=jnp.bfloat16), np.arange(3, dtype=np.int64))
  save_params(tmp_path / "tokenizer", (params, [jnp.ones(2)]))
  assert_same_bits(
    load_params(tmp_path / "tokenizer", (params, [jnp.ones(2)])), (params, [jnp.ones(2)])
  )
  plain = load_params(tmp_path / "tokenizer")
  assert_same_bits(plain, [params._asdict(), [jnp.ones(2)]])
  assert len(plain[0]["table"].sharding.device_set) == 8


def test_arrays_of_numpy_come_back_on_the_devices_if_these_have_their_type(tmp_path):
  params = {"int32": np.arange(3, dtype=np.int32), "int64": np.array([2**40, 1])}
  save_params(tmp_path / "params", params)
  loaded = load_params(tmp_path / "params")
  assert isinstance(loaded["int32"], jax.Array)  # else each call of a compiled function copies it
  assert len(loaded["int32"].sharding.device_set) == 8
  assert isinstance(loaded["int64"], np.ndarray)
  assert_same_bits(loaded, params)


def test_params_saved_again_replace_the_old_ones(tmp_path):
  save_params(tmp_path / "tokenizer", {"x": jnp.zeros(3), "gone": jnp.zeros(3)})
  save_params(tmp_path / "tokenizer", {"x": jnp.ones(3)})
  assert_same_bits(load_params(tmp_path / "tokenizer"), {"x": jnp.ones(3)})


def test_params_that_are_missing_or_do_not_fit_say_so(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no complete parameters at .*tokenizer"):
    load_params(tmp_path / "tokenizer")
  (tmp_path / "tokenizer").mkdir()
  with pytest.raises(FileNotFoundError, match=r"no complete parameters at .*tokenizer"):
    load_params(tmp_path / "tokenizer")
  save_params(tmp_path / "tokenizer", {"x": jnp.ones(3)})
  with pytest.raises(ValueError, match=r"x is float32\[3\] in it, but float32\[4\] here"):
    load_params(tmp_path / "tokenizer", {"x": jnp.ones(4)})


@pytest.mark.parametrize("harm", [flip_a_bit, cut, os.unlink])
def test_harm_to_any_file_is_refused_in_one_sentence_that_names_it(tmp_path, harm):
  save_params(tmp_path / "params", {"x": jnp.arange(999.0), "b": [jnp.ones(3)]})
  files = [path for path in (tmp_path / "params").rglob("*") if path.is_file()]
  files = [path for path in files if harm is os.unlink or path.stat().st_size]
  assert len(files) >= 8
  for path in files:
    content = path.read_bytes()
    harm(path)
    if harm is os.unlink and path.name == "checksums.json":
      with pytest.raises(FileNotFoundError, match="no complete parameters"):
        load_params(tmp_path / "params")
    else:
      # Damaged checksums may name one of the files they are of.
      named = path.parent if path.name == "checksums.json" else path
      with pytest.raises(ValueError, match=re.escape(str(named))) as caught:
        load_params(tmp_path / "params", remedy="run --redo=train")
      assert str(caught.value).endswith("; run --redo=train")
      assert "\n" not in str(caught.value)
    path.write_bytes(content)
  load_params(tmp_path / "params")


def test_a_file_that_cannot_be_read_is_no_damage(tmp_path):
  save_params(tmp_path / "params", {"x": jnp.ones(3)})
  path = tmp_path / "params/state/manifest.ocdbt"
  hide(path)
  with pytest.raises(OSError, match="cannot read the parameters at"):
    load_params(tmp_path / "params")
  bring_back(path)
  load_params(tmp_path / "params")


def test_no_file_holds_the_folders_path(tmp_path):
  save_params(tmp_path / "params", {"x": jnp.ones(3)})
  with open_checkpoints(tmp_path / "checkpoints") as checkpoints:
    for step in (1, 2):
      checkpoints.save_best(step, {"x": jnp.ones(3)}, 0.5)
      checkpoints.save_latest(step, {"x": jnp.ones(3)}, {})
  files = [path for path in tmp_path.rglob("*") if path.is_file()]
  assert len(files) > 30
  assert [path for path in files if str(tmp_path).encode() in path.read_bytes()] == []


@pytest.mark.parametrize("bucket", [buckets.google, buckets.amazon])
def test_params_in_a_bucket(bucket):
  with bucket() as root:
    path = f"{root}/run/params"
    with pytest.raises(FileNotFoundError, match="no complete parameters"):
      load_params(path)
    save_params(path, {"x": jnp.zeros(3), "gone": jnp.ones(3)})
    save_params(path, {"x": jnp.arange(3.0)})
    assert_same_bits(load_params(path), {"x": jnp.arange(3.0)})
    (as_path(path) / "state/manifest.ocdbt").write_bytes(b"damage")
    with pytest.raises(ValueError, match=rf"^{path}/state/manifest.ocdbt has 6 bytes"):
      load_params(path)


@pytest.mark.slow
def test_checkpoints_in_a_bucket():
  """Orbax makes hundreds of requests: 8 seconds on an idle machine."""
  with buckets.google() as root:
    state = {"x": jnp.arange(3.0)}
    with open_checkpoints(f"{root}/run") as checkpoints:
      checkpoints.save_best(1, state, 0.5)
      checkpoints.save_latest(2, state, {"best_step": 1})
    with open_checkpoints(f"{root}/run") as checkpoints:
      restored, progress = checkpoints.restore_latest(state)
      assert progress == {"best_step": 1}
      assert_same_bits(restored, state)
      assert_same_bits(checkpoints.restore_best(state), state)


def test_a_training_on_s3_is_refused_before_it_starts(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
  with pytest.raises(ValueError, match="train in a local folder or in gs://"):
    check_can_save("s3://bucket/run")
  check_can_save("gs://bucket/run")
  check_can_save("run")
