"""What new items cost a served catalogue: CPU time of a request, compilation, memory.

  python -m sidrec.bench.new_items --workdir=runs/demo --json=new_items.json

Each way to rank new items (`config.serving.new_items`) searches catalogues with several numbers of
them, next to the run as it was trained, without room. Histories are those of the run's users; what
they have seen is left out. Times are of this process's CPU, the least of several turns.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags

from sidrec.api import TrainedRun
from sidrec.api import load as load_run
from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json
from sidrec.bench.serve_swaps import new_items
from sidrec.cold_start.frozen_ids import FrozenIDs, with_new_items
from sidrec.cold_start.new_vectors import NewVectors
from sidrec.parallel.hardware import hardware, num_cores
from sidrec.run.answers import Wanted
from sidrec.search.buckets import BucketSearch, Shape
from sidrec.search.questions import Question
from sidrec.serving.described import new_item
from sidrec.serving.service import usual_room
from sidrec.serving.snapshot import SnapshotMaker
from sidrec.serving.state import Change, State, after, first_state, items_of

BATCHES = (1, 16)
LISTED = 256  # seen items of a request, at most
REQUESTS = 240


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("workdir", None, "Folder of a finished run.", flag_values=values)
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  define_numbers("counts", (0, 24, 256), "Numbers of new items.", values, least=0)
  flags.DEFINE_integer("repeats", 6, "Turns.", lower_bound=1, flag_values=values)
  flags.mark_flag_as_required("workdir", flag_values=values)


def measure(run: TrainedRun, counts: Sequence[int], repeats: int) -> dict[str, Any]:
  """All figures, a flat dict: CPU milliseconds of a call, CPU seconds of a compilation, bytes.

  Raises:
    ValueError: if new items of the run have no vectors.
  """
  searches = {"trained": BucketSearch(run.model, run.params, run.trie, run.search)}
  searches |= searches_of(run, counts)
  shapes = [Shape(batch, run.model.config.history_length, LISTED, False) for batch in BATCHES]
  found: dict[str, Any] = {}
  for name, search in searches.items():
    began = time.process_time()
    for shape in shapes:
      search.compile(shape)
    search.only_compiled, search.batches = True, BATCHES
    if name == "trained" or name.endswith(f"_{counts[0]}"):
      found[f"{name}_compile_cpu_s"] = (time.process_time() - began) / len(shapes)
      found[f"{name}_bytes"] = sum(
        leaf.nbytes for leaf in jax.tree.leaves((search.params, search.trie, search.new))
      )
  questions, turns = questions_of(run), {}
  for _ in range(repeats):
    for name, search in searches.items():
      for batch in BATCHES:
        parts = [questions[at : at + batch] for at in range(0, len(questions), batch)]
        parts = parts[: max(15, 32 // batch)]
        began = time.process_time()
        for part in parts:
          search.find(part)
        used = (time.process_time() - began) / len(parts)
        turns.setdefault(f"{name}_batch_{batch}_cpu_ms", []).append(1e3 * used)
  return found | {name: min(values) for name, values in turns.items()}


def searches_of(run: TrainedRun, counts: Sequence[int]) -> dict[str, BucketSearch]:
  """The searches of catalogues with so many new items, for either way to rank these."""
  assert run.chain is not None
  ids = FrozenIDs(run.config, run.chain)
  if ids.vectors_NxF is None:
    raise ValueError("new items of this run have no vectors, so there is nothing to compare")
  first = first_state(run.dataset.items, ids.ids, "")
  states = {count: _grown(run, ids, first, count) for count in counts}
  vectors, found = NewVectors(ids, ids.vectors_NxF), {}
  for way in ("model", "similarity"):
    maker = SnapshotMaker(
      run,
      first,
      usual_room(run.dataset.items.num_items),
      vectors if way == "similarity" else None,
      run.config.serving.new_share,
    )
    before = maker.first(first)
    for count, state in states.items():
      found[f"{way}_{count}"] = maker.next(state, before).search
  return found


def _grown(run: TrainedRun, ids: FrozenIDs, first: State, count: int) -> State:
  if not count:
    return first
  described = new_items(run.dataset.items, count, 10**6)
  new = [new_item(one, "add", run.dataset.items) for one in described]
  inputs = ids.inputs(items_of(new, list(run.dataset.items.numeric)))
  codes_MxL = with_new_items(ids.ids, inputs, count)
  return after(first, [Change((*new,), (*map(tuple, codes_MxL.tolist()),))], "")


def questions_of(run: TrainedRun) -> list[Question]:
  """Requests of random users, in the shapes that are compiled."""
  users = run.dataset.histories.user_ids_U
  drawn = users[np.random.default_rng(0).permutation(len(users))[: 2 * REQUESTS]].tolist()
  asked = [run.asker.question(run.asker.of_user(user), Wanted(k=10))[0] for user in drawn]
  return [question for question in asked if len(question.listed_J) <= LISTED][:REQUESTS]


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  with one_sentence():
    run = load_run(values.workdir)
    found = measure(run, values.counts, values.repeats)
  found |= {"hardware": hardware(), "cores": num_cores(), "items": run.dataset.items.num_items}
  for name, value in found.items():
    print(f"{name:<36}{value:.4g}" if isinstance(value, float) else f"{name:<36}{value}")
  write_json(values.json, found)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
