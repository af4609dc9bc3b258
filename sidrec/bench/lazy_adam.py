"""A training step with lazy Adam beside one of Adam, by the number of items.

  python -m sidrec.bench.lazy_adam --json=lazy_adam.json
  python -m sidrec.bench.lazy_adam --items=1000000 --repeats=9

SASRec and the recommender with an item table and an item head (no tables by trie node), both of
width 64, with 512 sampled items in their softmax, on batches of 64 histories of 50 random items.
Their parameters are random; what a step costs does not depend on them. The average of parameters is
kept, as by default. Both states are in memory: 10^6 items take 3 GiB.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags

from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json
from sidrec.bench.decoding_model import random_codes
from sidrec.bench.timing import alternate
from sidrec.catalogue.trie.trie import build_trie
from sidrec.models.recommender import make_model
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hardware import hardware
from sidrec.trainers.recommender import recommender_task
from sidrec.trainers.sasrec import sasrec_task
from sidrec.training.loop import LoopConfig, make_run
from sidrec.training.optimizer import adamw
from sidrec.training.state import TrainState, init_state
from sidrec.training.task import Task

ROWS, LENGTH, WIDTH, NEGATIVES, CODES = 64, 50, 64, 512, 256
STEPS = 5  # of a call to the device


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  define_numbers("items", (10_000, 100_000, 1_000_000), "Sizes of the catalogue.", values, 1000)
  flags.DEFINE_integer("repeats", 5, "Turns of each.", lower_bound=1, flag_values=values)
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)


def sasrec_of(num_items: int, lazy_adam: bool) -> Task:
  """SASRec's task."""
  config = SASRecConfig(
    num_items=num_items, history_length=LENGTH, width=WIDTH, negatives=NEGATIVES
  )
  return sasrec_task(SASRec(config), lazy_adam)


def recommender_of(num_items: int, lazy_adam: bool) -> Task:
  """The recommender's task, on random IDs of three levels."""
  trie = build_trie(random_codes(num_items, 3, CODES), codebook_size=CODES)
  config = RecommenderConfig(
    history_length=LENGTH,
    width=WIDTH,
    node_bias=False,
    node_vectors=False,
    item_head=True,
    item_negatives=NEGATIVES,
  )
  model = make_model(config, CatalogueSizes.of(trie, CODES))
  return recommender_task(model, trie, lazy_adam=lazy_adam)


MODELS = {"sasrec": sasrec_of, "sidrec": recommender_of}


class Found(NamedTuple):
  """Of a model and a size."""

  model: str
  items: int
  parameters: int
  adam_ms: float  # a step
  lazy_ms: float


class _Steps:
  """Some training steps; each call goes on from the one before."""

  def __init__(self, task: Task, batches: Any):
    optimizer, mesh = adamw(1e-3, 200, 10_000, 0.05, 1.0), mesh_lib.one_device()
    config = LoopConfig(STEPS, STEPS, STEPS, metric="none", average_decay=0.999)
    start = functools.partial(init_state, task, optimizer, averaged=True)
    shardings = mesh_lib.state_shardings(mesh, jax.eval_shape(start, jax.random.key(0)))
    self._state: TrainState = jax.jit(start, out_shardings=shardings)(jax.random.key(0))
    self._batches, self._arrays = batches, mesh_lib.on_all_devices(mesh, task.arrays)
    self._run = make_run(task, optimizer, config, mesh, shardings)

  def __call__(self) -> dict:
    self._state, metrics = self._run(self._state, self._batches, self._arrays)
    return metrics

  @property
  def parameters(self) -> int:
    return sum(x.size for x in jax.tree.leaves(self._state.params))


def measure(model: str, num_items: int, repeats: int) -> Found:
  """Both kinds of step, in turn."""
  rng = np.random.default_rng(1)
  item = rng.integers(0, num_items, (STEPS, ROWS, LENGTH + 1), dtype=np.int32)
  segment = np.zeros((STEPS, ROWS, LENGTH), np.int32)
  batches = {"history_BxS": item[..., :-1], "target_BxS": item[..., 1:], "segment_BxS": segment}
  make = MODELS[model]
  runs = {name: _Steps(make(num_items, name == "lazy"), batches) for name in ("adam", "lazy")}
  seconds = alternate(runs, repeats)
  of_step = {name: 1e3 * value / STEPS for name, value in seconds.items()}
  return Found(model, num_items, runs["adam"].parameters, of_step["adam"], of_step["lazy"])


def measure_all(sizes: Sequence[int], repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
  """All models and sizes, a line for each."""
  found = []
  for model in MODELS:
    for num_items in sizes:
      one = measure(model, num_items, repeats)
      found.append(one._asdict())
      say(
        f"{model:<7} {num_items:>10,} items, {one.parameters:>11,} parameters: Adam "
        f"{one.adam_ms:8.1f} ms a step, lazy {one.lazy_ms:6.1f} ms, "
        f"{one.adam_ms / one.lazy_ms:.1f} times as fast"
      )
  return {"steps": found, "hardware": hardware()}


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  with one_sentence():
    print(hardware())
    figures = measure_all(values.items, values.repeats, print)
  write_json(values.json, figures)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
