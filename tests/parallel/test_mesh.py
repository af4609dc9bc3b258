import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from communication import moves
from jax.sharding import PartitionSpec as P

from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.mesh import (
  batch_sharding,
  check_batch_size,
  make_mesh,
  replicated,
  rows_for,
  to_global,
)


def test_mesh_holds_all_devices_on_its_data_axis():
  assert dict(make_mesh().shape) == {"data": 8, "model": 1}
  assert dict(make_mesh(jax.devices()[:3]).shape) == {"data": 3, "model": 1}


def test_mesh_has_a_model_axis_if_asked_and_if_it_divides():
  assert dict(make_mesh(model=2).shape) == {"data": 4, "model": 2}
  with pytest.raises(ValueError, match=r"mesh.model is 3, but 8 device"):
    make_mesh(model=3)


def test_one_device_shares_nothing():
  mesh = mesh_lib.one_device()
  assert dict(mesh.shape) == {"data": 1, "model": 1}
  assert mesh_lib.batch_share(mesh) == (0, 1)
  whole = to_global(mesh, {"x": np.arange(7)})["x"]
  assert whole.sharding.device_set == {jax.devices()[0]}


@pytest.mark.parametrize(
  ("name", "shape", "spec"),
  [
    ("params/item", (10, 6), P("model")),
    ("opt_state/1/0/mu/node", (9, 6), P(None, "model")),  # 9 rows do not divide, the width does
    ("average/user", (9, 7), P()),
    ("params/item_bias", (10,), P("model")),
    ("params/item_bias", (9,), P()),
    ("params/code", (3, 4, 6), P(None, "model")),
    ("params/codebooks_LxVxD", (3, 4, 6), P(None, "model")),
    ("params/out", (3, 6, 4), P(None, None, "model")),
    ("params/encoder_0/feed/up/kernel", (6, 8), P(None, "model")),
    ("params/encoder_0/feed/down/kernel", (8, 6), P("model")),
    ("params/encoder_0/attention/out/kernel", (8, 6), P()),
    ("params/start", (6,), P()),
    ("opt_state/1/0/count", (), P()),
    ("opt_state/0/v_row/item", (10,), P("model")),
  ],
)
def test_rules_cut_the_first_axis_that_divides(name, shape, spec):
  assert mesh_lib.spec_of(name, shape, 2) == spec
  assert mesh_lib.spec_of(name, shape, 1) == P()


def test_what_follows_a_parameter_is_cut_like_it():
  class Moments(NamedTuple):
    mu: dict

  mesh = make_mesh(model=2)
  params = {"item": jnp.zeros((10, 6)), "start": jnp.zeros(6)}
  state = mesh_lib.state_shardings(mesh, {"params": params, "opt_state": (Moments(params),)})
  assert state["params"] == state["opt_state"][0].mu
  assert state["params"]["item"].spec == P("model")
  assert state["params"]["start"] == replicated(mesh)


def test_every_process_reads_its_share_of_a_batch(monkeypatch):
  device = lambda process: types.SimpleNamespace(process_index=process)

  def shares(process_of_device, model):
    devices = np.array([device(p) for p in process_of_device]).reshape(-1, model)
    mesh = types.SimpleNamespace(devices=devices, shape={"data": len(devices), "model": model})
    found = []
    for process in sorted(set(process_of_device)):
      monkeypatch.setattr(jax, "process_index", lambda process=process: process)
      found.append(mesh_lib.batch_share(mesh))
    return found

  assert shares([0, 0, 1, 1], 1) == [(0, 2), (1, 2)]
  assert shares([0, 0, 1, 1], 2) == [(0, 2), (1, 2)]
  assert shares([0, 1, 2, 3], 2) == [(0, 2), (0, 2), (1, 2), (1, 2)]  # pairs read the same
  assert shares([0, 0, 1, 1], 4) == [(0, 1), (0, 1)]
  with pytest.raises(ValueError, match=r"mesh.model = 2 splits the devices of a process"):
    shares([0, 0, 0, 1, 1, 1], 2)


def test_embedding_lookup_runs_on_the_mesh():
  # Needs Auto axes: indexing a replicated table with spread ids is refused on Explicit ones.
  mesh = make_mesh()
  table = jax.device_put(jnp.arange(10.0), replicated(mesh))
  ids = jax.device_put(jnp.arange(8), batch_sharding(mesh))
  np.testing.assert_array_equal(jax.jit(lambda t, i: t[i])(table, ids), np.arange(8.0))


@pytest.mark.parametrize("leading", [0, 1])
def test_to_global_spreads_the_batch_axis_and_keeps_every_value(leading):
  mesh = make_mesh()
  shape = (5,) * leading + (16, 3)
  batch = {"x": np.arange(np.prod(shape), dtype=np.int32).reshape(shape), "y": (np.ones(shape),)}
  spread = to_global(mesh, batch, leading)
  for got, want in zip(jax.tree.leaves(spread), jax.tree.leaves(batch), strict=True):
    np.testing.assert_array_equal(got, want)
    assert got.sharding == batch_sharding(mesh, leading)
    assert len({shard.device for shard in got.addressable_shards}) == 8
    for k, shard in enumerate(got.addressable_shards):
      assert shard.data.shape == (5,) * leading + (2, 3)
      np.testing.assert_array_equal(shard.data, np.split(want, 8, axis=leading)[k])


def test_a_replicated_array_is_whole_on_every_device():
  array = jax.device_put(jnp.arange(6), replicated(make_mesh()))
  assert [shard.data.shape for shard in array.addressable_shards] == [(6,)] * 8


@pytest.mark.parametrize("size", [8, 64])
def test_a_batch_that_divides_is_accepted(size):
  check_batch_size(make_mesh(), size)


@pytest.mark.parametrize(
  ("size", "advice"), [(30, "use 24 or 32"), (5, "use 8"), (0, "use 8"), (-16, "use 8")]
)
def test_a_batch_that_does_not_divide_is_refused_with_advice(size, advice):
  with pytest.raises(ValueError, match=rf"batch size {size} .* 8 devices; {advice}$"):
    check_batch_size(make_mesh(), size)


def test_devices_along_model_share_an_example():
  check_batch_size(make_mesh(model=2), 4)
  with pytest.raises(ValueError, match="6 cannot be spread evenly over 4 devices; use 4 or 8"):
    check_batch_size(make_mesh(model=2), 6)


def sorted_halves(same, batch):
  """Rows halved until they are small, each as often as it needs; the best two of each row."""
  halved = jax.lax.while_loop(
    lambda x: (x > same["small"]).any(), lambda x: jnp.where(x > same["small"], x / 2, x), batch
  )
  return jax.lax.top_k(halved @ same["item"], 2)


def test_a_device_computes_its_own_rows_and_asks_no_other_one():
  """The loop runs a different number of times on each device."""
  rng = np.random.default_rng(0)
  batch = rng.normal(size=(16, 6)).astype(np.float32) * 10.0 ** np.arange(16)[:, None]
  same = {"item": rng.normal(size=(6, 8)).astype(np.float32), "small": np.float32(1)}
  value, index = jax.jit(sorted_halves)(same, batch)
  for parts in (1, 2):
    mesh = make_mesh(model=parts)
    compiled = mesh_lib.on_own_rows(mesh, sorted_halves)
    spread = jax.device_put(batch, batch_sharding(mesh))
    placed = jax.device_put(same, mesh_lib.state_shardings(mesh, same))
    assert placed["item"].sharding.spec == (P("model") if parts == 2 else P())
    found = compiled(placed, spread)
    np.testing.assert_array_equal(found[1], index)
    np.testing.assert_allclose(found[0], value, rtol=1e-5)
    assert all(len(x.addressable_shards[0].data) == 16 for x in found)
  compiled = mesh_lib.on_own_rows(make_mesh(), sorted_halves).lower(same, spread).compile()
  # Only the results are gathered. By the partitioner alone, `top_k` gathers what it reads.
  assert moves(compiled.as_text()) == [("all-gather", "f32[16,2]"), ("all-gather", "s32[16,2]")]


def test_devices_have_keys_of_their_own_and_one_device_has_the_key_itself():
  def keys_of(mesh):
    compiled = mesh_lib.on_own_rows(
      mesh, lambda key, row_B: jax.random.key_data(mesh_lib.own_key(mesh, key))[None] + 0 * row_B
    )
    key_Bx2 = compiled(jax.random.key(3), np.zeros((mesh.size, 1), np.uint32))
    return {tuple(key) for key in key_Bx2.tolist()}

  assert len(keys_of(make_mesh())) == 8
  assert keys_of(mesh_lib.one_device()) == {tuple(jax.random.key_data(jax.random.key(3)).tolist())}


def test_rows_are_the_next_number_that_devices_and_micro_batches_share():
  assert [rows_for(make_mesh(), size) for size in (1, 8, 9, 16)] == [8, 8, 16, 16]
  assert rows_for(make_mesh(model=2), 6) == 8
  assert rows_for(make_mesh(), 33, accumulate=4) == 64
  with pytest.raises(ValueError, match="batch size 0 is no batch; give at least 1"):
    rows_for(make_mesh(), 0)
