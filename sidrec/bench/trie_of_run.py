"""What the trie costs in the search of a finished run, as it is served.

The run's search takes its own number of beams, its trie and the tables by trie node, and the item
head where there is one. It is compared with a search by the same model that takes the best of all
codes at every level, to which no node and no item head belongs: its lists mean nothing (see
`beam_recall`), but its time is that of the model alone. Both start from histories.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sidrec.bench.decoding_model import AllCodesTiger, MeasuredModel
from sidrec.bench.parameters import parameter_figures
from sidrec.bench.run_histories import events_of
from sidrec.bench.timing import alternate
from sidrec.bench.unconstrained_beam import unconstrained_search
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.dataset import held_out_view
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.run.config_file import load_config
from sidrec.run.load import trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search import beam, evidence
from sidrec.search.settings import SearchConfig


def measure(
  workdir: PathLike, batch: int, repeats: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
  """What `compare` returns, of a finished run.

  Args:
    workdir: its folder.
    batch: users, drawn at random; before their test item.
    repeats: timed runs of each search.

  Raises:
    FileNotFoundError, ValueError: if the run is not finished or is damaged, and as `compare`.
  """
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  _, model, params, trie = trained_of(config, chain)
  histories = held_out_view(load_prepared(chain).histories, "test").histories
  count = min(batch, histories.num_users)
  users_R = np.random.default_rng(0).choice(histories.num_users, count, replace=False)
  events = events_of(histories, model.config, users_R)
  return compare(model, params, trie, config.search, events, repeats, say)


def compare(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  search: SearchConfig,
  events: Events,
  repeats: int,
  say: Callable[[str], None],
) -> dict[str, Any]:
  """Milliseconds a batch of a search, without its item head, and without its trie.

  Args:
    model: a recommender that is no plugin's.
    params: its parameters.
    trie: its catalogue.
    search: its settings, of no more beams than there are codes a level.
    events: histories of the batch.
    repeats: timed runs of each, in turn; medians count.
    say: takes lines.

  Raises:
    ValueError: for a plugin's model, or too many beams.
  """
  free, codes = without_catalogue(model), model.sizes.codebook_size
  if search.beams > codes:
    raise ValueError(
      f"the search has {search.beams} beams, and without a trie it begins with at most {codes}, "
      "the codes of a level; measure a run with fewer beams"
    )

  def constrained(search):
    return lambda params, trie, x: beam.search(model, params, trie, x, search)

  def unconstrained(params, trie, x):
    return unconstrained_search(free, params, trie.codes_NxL, x, search.beams)

  searches = {
    "served": constrained(search),
    "levels": constrained(dataclasses.replace(search.by_model_alone, item_weight=0.0)),
    "unconstrained": unconstrained,
  }
  runs, history = {}, jax.device_put(events)
  for name, find_items in searches.items():
    compiled = jax.jit(find_items).lower(params, trie, history).compile()
    runs[name] = functools.partial(compiled, params, trie, history)
  seconds = alternate(runs, repeats)
  measured = {
    **parameter_figures(model, params, trie, say, "run"),
    "run_items": trie.num_items,
    "run_trie_bytes_per_item": trie.num_bytes / trie.num_items,
    "run_batch": events.shape[0],
    "run_beams": search.beams,
    "run_item_head": evidence.is_used(model.config, search),
    **{f"run_{name}_ms": 1e3 * value for name, value in seconds.items()},
    "run_overhead": seconds["levels"] / seconds["unconstrained"] - 1,
    "run_overhead_served": seconds["served"] / seconds["unconstrained"] - 1,
  }
  say(_line(measured))
  return measured


def _line(measured: dict[str, Any]) -> str:
  return (
    f"{measured['run_batch']} users, {measured['run_beams']} beams: "
    f"{measured['run_served_ms']:.1f} ms as served, {measured['run_levels_ms']:.1f} without the "
    f"item head, {measured['run_unconstrained_ms']:.1f} without the catalogue: "
    f"{measured['run_overhead_served']:+.1%} and {measured['run_overhead']:+.1%}"
  )


def without_catalogue(model: SemanticIDModel) -> MeasuredModel | AllCodesTiger:
  """The same architecture and parameters, whose `step` scores all codes.

  Raises:
    ValueError: for a plugin's model.
  """
  c = model.config
  if c.setting not in ("dense", "tiger"):
    raise ValueError(
      f"the model {c.setting!r} is a plugin's, whose codes cannot be scored without a trie"
    )
  return (MeasuredModel if model.causal else AllCodesTiger)(c, model.sizes)
