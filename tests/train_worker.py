"""One process of a small training run; test_two_processes.py starts it, once or several times.

python tests/train_worker.py '{"folder": …, "coordinator": …, "kill": [step, process, signal]}'
"""

import json
import os
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny import all_codes, make_histories, make_model

from sidrec.data.batches import packed_batches
from sidrec.parallel import hosts, preemption
from sidrec.parallel.mesh import make_mesh
from sidrec.trainers.recommender import recommender_task
from sidrec.training.checkpoint import save_params
from sidrec.training.logging import Logger
from sidrec.training.loop import LoopConfig, Records, train

STEPS, PER_CALL, VALIDATE_EVERY = 24, 2, 8


def batches():
  """Synthetic histories with dropout's randomness in the model, not here."""
  rng = np.random.default_rng(0)
  rows = [rng.integers(0, 25, length).tolist() for length in rng.integers(4, 15, 30)]
  share = (jax.process_index(), jax.process_count())
  return packed_batches(make_histories(rows), 6, 16, 0, *share)


def main(folder, kill=None, **cluster):
  """Trains in the folder; at a step, one process may send itself a signal."""
  try:
    hosts.start(**cluster)
    preemption.handle_signals(hosts.end)
    run(Path(folder), kill)
    hosts.leave()
  except preemption.Stopped as stopped:
    hosts.end(f"sidrec: {stopped}", stopped.status)
  except Exception as error:
    hosts.end(f"sidrec: {type(error).__name__}: {error}")


def run(folder, kill):
  hosts.check_shared(folder)
  share_at = batches()
  losses = []

  def batch_at(step):
    if kill is not None and [step, jax.process_index()] == kill[:2]:
      os.kill(os.getpid(), signal.Signals[kill[2]])
    return share_at(step)

  def scalars(step, values):
    if "train/loss" in values:
      losses.append([step, float(values["train/loss"])])

  model, trie, _ = make_model(
    all_codes(2, 5), history_length=6, encoder_layers=1, encoder_dropout=0.3
  )
  params = train(
    recommender_task(model, trie),
    optax.adamw(1e-2),
    batch_at,
    lambda params: {"score": float(jnp.abs(params["start"]).sum())},
    LoopConfig(STEPS, PER_CALL, VALIDATE_EVERY, "score", average_decay=0.9),
    jax.random.key(0),
    make_mesh(),
    Records(folder / "checkpoints", lambda start: Logger(scalars, lambda *_: None, lambda: None)),
  )
  save_params(folder / "params", params)
  if hosts.is_primary():
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
  main(**json.loads(sys.argv[1]))
