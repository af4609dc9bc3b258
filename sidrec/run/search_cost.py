"""How recall and speed of a run depend on its beams: `search_cost.json` in the run's folder.

It is no stage's output, because times are not the same twice: nothing is built on it, and no
record mentions it. It says which model and which search it measured.
"""

import dataclasses
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.checked_json import checked_text, parse_checked
from sidrec.core.paths import as_path, is_local
from sidrec.core.settings import to_dict
from sidrec.core.tables import aligned_table
from sidrec.data.dataset import held_out_view
from sidrec.evaluation import search_cost
from sidrec.evaluation.search_cost import SearchCost
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hardware import hardware
from sidrec.parallel.hosts import from_primary, is_alone
from sidrec.run.evaluate import EVALUATE
from sidrec.run.generations import Chain
from sidrec.run.load import trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.record import as_json
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.train import search_trie
from sidrec.search.batched import RecommendUsers, make_recommend_users
from sidrec.search.exact_ids import make_exact_recommend_users, why_not_exact

FILE = "search_cost.json"
_VERSION = 1  # of what is measured, and how


def measure_run(workdir: PathLike, config: RunConfig | ConfigDict) -> SearchCost:
  """Measures an evaluated run, writes the file, and prints a table.

  Args:
    workdir: its folder.
    config: its settings.

  Raises:
    FileNotFoundError: if the run was not evaluated.
    ValueError: if it was evaluated with other settings, or something is damaged.
  """
  config, workdir = run_config(config), as_path(workdir)
  chain = find(EVALUATE, config, workdir)
  cost = measured(config, chain)

  def write() -> None:
    content = {**_of_run(config, chain), **_settings(config), **search_cost.to_json(cost)}
    write_whole_text(workdir / FILE, checked_text(content))

  from_primary(write)
  print(f"search cost: {len(cost.users_R):,} validation users, {cost.hardware}")
  print(aligned_table(search_cost.table(cost), names=0))
  return cost


def try_measure(workdir: PathLike, config: RunConfig | ConfigDict) -> None:
  """Measures after an evaluation, unless the settings leave it out or it is done.

  A run of one process that cannot be measured is a warning and nothing more.
  """
  config, workdir = run_config(config), as_path(workdir)
  if not config.evaluation.search_cost.enabled:
    return
  try:
    kept = from_primary(lambda: _why_kept(config, workdir))
    if kept:
      print(f"search cost: {kept}")
    else:
      measure_run(workdir, config)
  except Exception as error:
    if not is_alone():  # others may wait for this process
      raise
    warnings.warn(
      "the evaluation is finished, but what beams cost was not measured: "
      f"{type(error).__name__}: {error}; --mode=search_cost tries again",
      stacklevel=2,
    )


def read_cost(config: RunConfig, chain: Chain, workdir: epath.Path) -> SearchCost | None:
  """What was measured of this model with this search, if it was.

  Raises:
    ValueError: for a damaged file.
  """
  content = _content(workdir / FILE)
  if content is None or not _has(content, _of_run(config, chain)):
    return None
  try:
    return search_cost.from_json(content)
  except ValueError as error:
    raise _damaged(workdir / FILE, error) from None


def measured(config: RunConfig, chain: Chain) -> SearchCost:
  """Measures the model of a chain, on all devices."""
  settings, own = config.evaluation.search_cost, config.search.beams
  dataset, (_, model, params, trie) = load_prepared(chain), trained_of(config, chain)
  mesh, num_items = mesh_lib.make_mesh(model=config.mesh.model), dataset.items.num_items
  held_out = held_out_view(dataset.histories, search_cost.SPLIT)
  users_R = search_cost.draw(settings, held_out.histories.num_users)
  numbers = search_cost.beam_counts(settings, own, num_items)
  print(f"search cost: {', '.join(map(str, numbers))} beams", flush=True)
  placed = search_trie(trie, mesh)
  searches = {
    beams: make_recommend_users(
      model, placed, dataclasses.replace(config.search.uncertified, beams=beams), mesh
    )
    for beams in numbers
  }
  no_exact = why_not_exact(model.config, config.search)
  exact_users = search_cost.num_exact(settings, len(users_R), num_items)
  if not exact_users:
    no_exact = no_exact or f"{num_items:,} items are too many to score them all for ten users"
  exact: RecommendUsers | None = None
  if not no_exact:
    exact = make_exact_recommend_users(model, trie, config.search, search_cost.RESULTS, mesh)
  counts, exact_X = search_cost.measure(
    searches, exact, params, held_out, users_R, exact_users, settings.passes
  )
  return SearchCost(users_R.astype(np.int64), counts, exact_X, no_exact, hardware())


def _of_run(config: RunConfig, chain: Chain) -> dict[str, Any]:
  """What was measured: what a file has to agree with."""
  model = chain["train"].record.identity
  return as_json({"version": _VERSION, "model": model, "search": config.search.what_ranks()})


def _settings(config: RunConfig) -> dict[str, Any]:
  """How it was measured."""
  settings = to_dict(config.evaluation.search_cost)
  return as_json({"settings": {n: x for n, x in settings.items() if n != "enabled"}})


def _why_kept(config: RunConfig, workdir: epath.Path) -> str:
  """Why there is nothing to measure, in words; empty if there is."""
  wanted = _of_run(config, find(EVALUATE, config, workdir)) | _settings(config)
  try:
    content = _content(workdir / FILE)
  except ValueError:
    content = None  # it is made again
  if content is not None and _has(content, wanted):
    return f"unchanged, kept: {workdir / FILE}"
  if is_local(workdir) and not os.access(workdir, os.W_OK):
    return "not measured, because the run's folder is read only"
  return ""


def _has(content: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
  return all(content.get(name) == value for name, value in wanted.items())


def _content(path: epath.Path) -> dict[str, Any] | None:
  """What a file holds; None where there is none."""
  if not path.is_file():
    return None
  try:
    return parse_checked(path.read_bytes())
  except ValueError as error:
    raise _damaged(path, error) from None


def _damaged(path: epath.Path, error: ValueError) -> ValueError:
  return ValueError(f"{path} is {error}; run --mode=search_cost, which measures again")
