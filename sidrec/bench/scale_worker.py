"""One process of a group that trains together; `sidrec.bench.scale` starts it.

  python -m sidrec.bench.scale_worker --size=demo --processes=2 --process=0 --coordinator=HOST:PORT

The first process prints one line of JSON: seconds a step, of each timed call.
"""

import argparse
import json
import time

import jax
import numpy as np

from sidrec.bench.scale_training import SIZES, make_training
from sidrec.training import mesh as mesh_lib
from sidrec.training.loop import LoopConfig, make_run
from sidrec.training.state import init_state


def measure(size: str, steps_per_call: int, warmup: int, calls: int) -> list[float]:
  """Seconds a step of each call after warm-up, over all devices of all processes."""
  training, rows = make_training(SIZES[size]), SIZES[size].batch
  mesh = mesh_lib.make_mesh()
  mesh_lib.check_batch_size(mesh, rows)
  batch_at = training.batches(rows, *mesh_lib.batch_share(mesh))
  config = LoopConfig(
    steps=steps_per_call,
    steps_per_call=steps_per_call,
    validate_every=steps_per_call,
    metric="none",
    average_decay=0.999,
  )
  start = lambda key: init_state(training.task, training.optimizer, key, averaged=True)
  abstract = mesh_lib.with_shardings(mesh, jax.eval_shape(start, jax.random.key(0)))
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  run = make_run(training.task, training.optimizer, config, mesh, shardings)
  state = jax.jit(start, out_shardings=shardings)(jax.random.key(0))
  seconds = []
  for call in range(warmup + calls):
    steps = range(call * steps_per_call, (call + 1) * steps_per_call)
    stacked = jax.tree.map(lambda *x: np.stack(x), *map(batch_at, steps))
    batches = jax.block_until_ready(mesh_lib.to_global(mesh, stacked, leading=1))
    begin = time.perf_counter()
    state, metrics = jax.block_until_ready(run(state, batches))
    seconds.append((time.perf_counter() - begin) / steps_per_call)
  if not np.isfinite(jax.device_get(metrics["loss"])).all():
    raise FloatingPointError("the loss is not finite")
  return seconds[warmup:]


def main() -> None:
  """Joins the group, measures and prints."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--size", choices=SIZES, required=True)
  parser.add_argument("--processes", type=int, default=1)
  parser.add_argument("--process", type=int, default=0)
  parser.add_argument("--coordinator")
  for name in ("steps_per_call", "warmup", "calls"):
    parser.add_argument(f"--{name}", type=int, required=True)
  given = parser.parse_args()
  if given.processes > 1:
    jax.distributed.initialize(given.coordinator, given.processes, given.process)
  seconds = measure(given.size, given.steps_per_call, given.warmup, given.calls)
  if given.process == 0:
    print(json.dumps({"seconds": seconds, "devices": jax.device_count()}))


if __name__ == "__main__":
  main()
