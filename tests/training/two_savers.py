"""Two processes save, find a damaged checkpoint, find one that cannot be read, and go on.

Run by test_checkpoint_processes.py: python two_savers.py FOLDER PORT. Each process prints a
JSON line with what it saw. They are forks, to import once; the parent leaves JAX's backends alone.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
from damage import bring_back, flip_a_bit, hide, largest_file
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from sidrec.parallel.mesh import make_mesh
from sidrec.training.checkpoint import open_checkpoints

SECONDS = 60  # in which all of it has to be done


def state_at(step, mesh):
  """A matrix whose rows are spread over the processes, and a vector that both have."""
  rows = np.random.default_rng(step).normal(size=(8, 500)).astype(np.float32)
  spread = NamedSharding(mesh, PartitionSpec("data"))
  whole = NamedSharding(mesh, PartitionSpec())
  return {
    "spread": jax.make_array_from_callback(rows.shape, spread, lambda index: rows[index]),
    "whole": jax.make_array_from_callback(rows[0].shape, whole, lambda index: rows[0][index]),
  }


def is_state_at(step, state, mesh):
  wanted = state_at(step, mesh)
  return all(
    np.array_equal(got.data, want.data)
    for name in wanted
    for got, want in zip(
      state[name].addressable_shards, wanted[name].addressable_shards, strict=True
    )
  )


def look_after(folder, mesh, harm):
  """What a restore finds after the primary host did harm; the step is None if refused."""
  if jax.process_index() == 0:
    harm()
  multihost_utils.sync_global_devices("harm was done")
  with open_checkpoints(folder) as checkpoints:
    try:
      state, progress = checkpoints.restore_latest(state_at(0, mesh))
    except OSError as error:
      return {"step": None, "error": str(error)}
    step = progress["n"]
    best = checkpoints.restore_best(state_at(0, mesh))
    return {
      "step": step,
      "sound": is_state_at(step, state, mesh) and is_state_at(checkpoints.best_step(), best, mesh),
      "best": checkpoints.best_step(),
    }


def save_and_look(folder):
  mesh = make_mesh()
  with open_checkpoints(folder) as checkpoints:
    for step in (100, 200, 300):
      checkpoints.save_best(step, state_at(step, mesh), step / 1000)
      checkpoints.save_latest(step, state_at(step, mesh), {"n": step})
  file = largest_file(folder / "latest/300")
  harms = (lambda: hide(file), lambda: bring_back(file), lambda: flip_a_bit(file), lambda: None)
  seen = [look_after(folder, mesh, harm) for harm in harms]
  with open_checkpoints(folder) as checkpoints:
    checkpoints.save_latest(300, state_at(300, mesh), {"n": 300})
  return [*seen, look_after(folder, mesh, lambda: None)]


if __name__ == "__main__":
  children = []
  for process in range(2):
    children.append(os.fork())
    if children[-1] == 0:
      try:
        jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, process)
        seen = save_and_look(Path(sys.argv[1]))
        jax.distributed.shutdown()
        sys.stdout.write(json.dumps({"seen": seen}) + "\n")
        sys.stdout.flush()
        os._exit(0)
      finally:
        os._exit(1)
  end = time.monotonic() + SECONDS
  while children and time.monotonic() < end:
    children = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
    time.sleep(0.05)
  for child in children:
    os.kill(child, signal.SIGKILL)
