"""Saves checkpoints as fast as it can and is killed, over and over in one folder.

Run by test_checkpoint_processes.py: python killed_saver.py FOLDER KILLS. Prints a JSON line for
each process: what it restored, and what it knew to be saved when it was killed.

The children are forks, to import once. The parent leaves JAX's backends alone: those start
threads, which a fork would lose.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np

from sidrec.training.checkpoint import UNFINISHED, open_checkpoints


def state_at(step):
  rng = np.random.default_rng(step)
  return {"w": rng.normal(size=(40, 40)).astype(np.float32), "step": np.array(step)}


def save_until_killed(folder, send):
  device = jax.devices()[0]
  template = jax.device_put(state_at(0), device)
  with open_checkpoints(folder) as checkpoints:
    restored = checkpoints.restore_latest(template)
    step, best, sound = 0, None, True
    if restored is not None:
      state, progress = restored
      step, best = int(state["step"]), progress["best"]
      kept = checkpoints.restore_best(template)
      pairs = [(state, step)] + ([(kept, best)] if best is not None else [])
      sound = checkpoints.best_step() == best and all(
        np.array_equal(got[name], state_at(at)[name]) for got, at in pairs for name in got
      )
    send({"restored": step, "sound": bool(sound)})
    while True:
      step += 1
      if step % 3 == 0:
        best = step
        checkpoints.save_best(step, jax.device_put(state_at(step), device), float(step))
      checkpoints.save_latest(step, jax.device_put(state_at(step), device), {"best": best})
      send({"saved": step - 1})  # each save waits for the one before it


def run_once(folder, saves, moment):
  """Forks a saver; kills it after so many saves, at a moment from 0 to 1 of the next one."""
  reader, writer = os.pipe()
  child = os.fork()
  if child == 0:
    os.close(reader)
    try:
      save_until_killed(
        folder, lambda report: os.write(writer, json.dumps(report).encode() + b"\n")
      )
    finally:
      os._exit(1)  # not reached, but for an error
  os.close(writer)
  report = {}
  with os.fdopen(reader) as lines:
    for _ in range(1 + saves):
      start = time.monotonic()
      report |= json.loads(lines.readline() or "{}")
    time.sleep(moment * (time.monotonic() - start))
    os.kill(child, signal.SIGKILL)
    for line in lines:
      report |= json.loads(line)
  _, status = os.waitpid(child, 0)
  report["killed"] = os.WIFSIGNALED(status)
  report["unfinished"] = sum(UNFINISHED in path.name for path in Path(folder).glob("*/*"))
  return report


if __name__ == "__main__":
  chance = random.Random(0)
  for _ in range(int(sys.argv[2])):
    print(json.dumps(run_once(sys.argv[1], chance.randint(1, 3), chance.random())), flush=True)
  print(json.dumps(run_once(sys.argv[1], 0, 0.0)), flush=True)
