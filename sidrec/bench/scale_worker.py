"""One process of a group that trains together; `sidrec.bench.scale` starts it.

  python -m sidrec.bench.scale_worker --size=demo --processes=2 --process=0 --coordinator=HOST:PORT

For every line on its standard input it takes some steps. The first process prints the number of
devices when all have joined, and then the seconds that each lot of steps took.
"""

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from sidrec.bench.scale_training import SIZES, make_training
from sidrec.parallel import mesh as mesh_lib
from sidrec.training.loop import LoopConfig, make_run
from sidrec.training.state import init_state

MARK = "answer "


def make_call(size: str, steps: int) -> Callable[[], float]:
  """A function that trains `steps` steps over all devices of all processes: seconds it took."""
  training, rows = make_training(SIZES[size]), SIZES[size].batch
  mesh = mesh_lib.make_mesh()
  mesh_lib.check_batch_size(mesh, rows)
  batch_at = training.batches(rows, *mesh_lib.batch_share(mesh))
  config = LoopConfig(steps, steps, steps, metric="none", average_decay=0.999)
  start = functools.partial(init_state, training.task, training.optimizer, averaged=True)
  abstract = mesh_lib.with_shardings(mesh, jax.eval_shape(start, jax.random.key(0)))
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  run = make_run(training.task, training.optimizer, config, mesh, shardings)
  state = jax.jit(start, out_shardings=shardings)(jax.random.key(0))
  arrays = mesh_lib.on_all_devices(mesh, training.task.arrays)
  count = itertools.count()

  def call() -> float:
    nonlocal state
    parts = [batch_at(next(count)) for _ in range(steps)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *parts)
    batches = jax.block_until_ready(mesh_lib.to_global(mesh, stacked, leading=1))
    begin = time.perf_counter()
    state, metrics = jax.block_until_ready(run(state, batches, arrays))
    seconds = time.perf_counter() - begin
    if not np.isfinite(jax.device_get(metrics["loss"])).all():
      raise FloatingPointError("the loss is not finite")
    return seconds

  return call


def main() -> None:
  """Joins the group and does as it is told."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--size", choices=SIZES, required=True)
  parser.add_argument("--steps", type=int, required=True)
  parser.add_argument("--processes", type=int, default=1)
  parser.add_argument("--process", type=int, default=0)
  parser.add_argument("--coordinator")
  given = parser.parse_args()
  if given.processes > 1:
    jax.distributed.initialize(given.coordinator, given.processes, given.process)
  call = make_call(given.size, given.steps)
  tell(given.process, jax.device_count())
  for _ in sys.stdin:
    tell(given.process, call())


def tell(process: int, answer: float) -> None:
  """Prints an answer of the first process; the mark tells it from what libraries print."""
  if process == 0:
    print(f"{MARK}{answer}", flush=True)


if __name__ == "__main__":
  main()
