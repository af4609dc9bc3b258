"""Users a second of a trained recommender: the best ten of everyone, seen items masked.

What is timed is what `--mode=recommend --users=all` does between reading and writing: histories are
cut and sorted on the host, encoded, searched by the run's own settings, item head included, and the
lists brought back.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sidrec.bench.parameters import parameter_figures
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.dataset import held_out_view
from sidrec.data.seen import seen_items
from sidrec.run.config_file import load_config
from sidrec.run.load import recommender_by, trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.stage import find
from sidrec.run.train import TRAIN

RESULTS = 10


def measure(workdir: PathLike, repeats: int, say: Callable[[str], None] = print) -> dict[str, Any]:
  """Users a second with the run's own beams, and with as many beams as results.

  Args:
    workdir: of a finished run.
    repeats: timed passes over all users, after one that compiles; the median counts.
  """
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  histories = held_out_view(load_prepared(chain).histories, "test").histories
  seen, users_U = seen_items(histories), np.arange(histories.num_users)
  trained = trained_of(config, chain)
  measured = parameter_figures(trained.model, trained.params, trained.trie, say, "run")
  measured["users"] = histories.num_users
  for name, beams in (("users_per_s", config.search.beams), ("users_per_s_k10", RESULTS)):
    search = dataclasses.replace(config.search, beams=beams)
    recommender = recommender_by(dataclasses.replace(config, search=search), chain, trained)
    seconds = []
    for _ in range(repeats + 1):
      start = time.perf_counter()
      found = recommender.recommend_users(recommender.params, histories, users_U, seen)
      seconds.append(time.perf_counter() - start)
    if not bool(np.asarray(jax.device_get(found.valid_BxK))[:, :RESULTS].all()):
      raise ValueError(f"some users of {workdir} have fewer than {RESULTS} items left to recommend")
    measured[name] = len(users_U) / statistics.median(seconds[1:])
    say(
      f"{beams} beams: {measured[name]:,.0f} users a second, median of {repeats} passes over "
      f"{len(users_U):,} users; the first one, with compilation, took {seconds[0]:.1f} s"
    )
  return measured
