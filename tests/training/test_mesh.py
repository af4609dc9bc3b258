import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.training.mesh import batch_sharding, check_batch_size, make_mesh, replicated, to_global


def test_mesh_holds_all_devices_on_its_data_axis():
  assert dict(make_mesh().shape) == {"data": 8, "model": 1}
  assert dict(make_mesh(jax.devices()[:3]).shape) == {"data": 3, "model": 1}


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
