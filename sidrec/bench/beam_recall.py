"""How much of the exact top-10 a beam search of K beams finds, on a trained recommender, and how
much of its own top-10 is left when it computes in bfloat16.

The exact list comes from the log likelihood of every item, teacher-forced as in training, so that
nothing of the search is used to judge it. Twice: by semantic IDs alone, which is what beams are cut
by (`beam_recall`), and by the run's own score with its item head, which is what is served
(`served_recall`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sidrec.bench.parameters import parameter_figures
from sidrec.bench.run_histories import events_of
from sidrec.bench.trie_of_run import without_catalogue
from sidrec.bench.unconstrained_beam import unconstrained_search
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.data.dataset import held_out_view
from sidrec.data.events import Events
from sidrec.evaluation.overlap import in_common
from sidrec.models.base import SemanticIDModel
from sidrec.parallel import mesh as mesh_lib
from sidrec.run.config_file import load_config
from sidrec.run.load import trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search.batched import make_recommend_users
from sidrec.search.exact_ids import make_exact_recommend_users, why_not_exact
from sidrec.search.settings import SearchConfig

RESULTS = 10
USERS_AT_ONCE = 32


def measure(
  workdir: PathLike, beams: Sequence[int], num_users: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
  """Shares of the exact top-10 found, and of lists found in full, before each user's test item.

  `beam_recall_<K>`, `exact_match_<K>` and `same_order_<K>` of the IDs alone, `served_…` of the
  run's own score, where single items have one. Seen items are not excluded: what the model itself
  ranks is what the search has to find.

  Args:
    workdir: of a finished run.
    beams: K of each search, at least 10.
    num_users: to draw.
  """
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  dataset, (_, model, params, trie) = load_prepared(chain), trained_of(config, chain)
  histories = held_out_view(dataset.histories, "test").histories
  num_users = min(num_users, histories.num_users)
  users_R = np.sort(np.random.default_rng(0).choice(histories.num_users, num_users, replace=False))
  mesh = mesh_lib.make_mesh()

  def lists(model: SemanticIDModel, search: SearchConfig, beams: int) -> np.ndarray:
    search = dataclasses.replace(search, beams=beams, batch_size=USERS_AT_ONCE)
    recommend_users = make_recommend_users(model, trie, search, mesh)
    return np.asarray(recommend_users(params, histories, users_R).item_BxK)[:, :RESULTS]

  measured = parameter_figures(model, params, trie, say, "run")
  measured |= {"recall_users": num_users, "recall_items": trie.num_items}
  found: dict[int, np.ndarray] = {}
  alone = SearchConfig(item_weight=0.0).by_model_alone
  scores = {"beam": ("by IDs alone", alone), "served": ("as served", config.search)}
  if why := why_not_exact(model.config, config.search):
    say(f"the served score is left out: there is no exact ranking by it, because {why}")
    del scores["served"]
  for name, (words, search) in scores.items():
    exact = make_exact_recommend_users(model, trie, search, RESULTS, mesh)
    best_BxK = np.asarray(exact(params, histories, users_R).item_BxK)
    for count in beams:
      found[count] = lists(model, search, count)
      figures = _compared(found[count], best_BxK)
      prefix = "" if name == "beam" else "served_"
      say(
        f"{words}, {count} beams: {figures['recall']:.4f} of the exact top-{RESULTS}, all of it "
        f"for {figures['exact_match']:.1%} of {num_users} users, in the same order for "
        f"{figures['same_order']:.1%}"
      )
      measured[f"{name}_recall_{count}"] = figures.pop("recall")
      measured |= {f"{prefix}{key}_{count}": value for key, value in figures.items()}
  most = max(beams)
  other = "float32" if model.config.dtype == "bfloat16" else "bfloat16"
  cast = model.clone(config=dataclasses.replace(model.config, dtype=other))
  search = scores.get("served", scores["beam"])[1]
  same = in_common(found[most], lists(cast, search, most))
  measured["bf16_overlap"] = float(same.mean() / RESULTS)
  say(f"bfloat16 finds {measured['bf16_overlap']:.4f} of what float32 finds, {most} beams")
  events = events_of(histories, model.config, users_R)
  measured["illegal_share"] = _illegal_share(model, params, trie, events)
  say(f"without the constraint {measured['illegal_share']:.1%} of results have no item")
  return measured


def _compared(found_BxK: np.ndarray, best_BxK: np.ndarray) -> dict[str, float]:
  """The share of the exact lists' items, of lists found in full, and of those in their order."""
  same_B = in_common(found_BxK, best_BxK)
  return {
    "recall": float(same_B.mean() / RESULTS),
    "exact_match": float((same_B == RESULTS).mean()),
    "same_order": float((found_BxK == best_BxK).all(axis=1).mean()),
  }


def _illegal_share(model: SemanticIDModel, params: dict, trie: Trie, events: Events) -> float:
  """Results of the best codes at every level that no item has.

  Scores by node are left out, since most prefixes have no node. A model whose softmax ran over real
  continuations only was never taught to tell other codes from them, so that almost all of its free
  results are illegal; one with `constrained_softmax=False` is the one to ask.
  """
  free = without_catalogue(model)
  beams = min(RESULTS, model.sizes.codebook_size)
  search = jax.jit(
    lambda params, trie, h: unconstrained_search(free, params, trie.codes_NxL, h, beams)
  )
  code_BxKxL = _in_parts(lambda h: search(params, trie, h)[0], events)
  items = set(map(tuple, np.asarray(trie.codes_NxL).tolist()))
  rows = code_BxKxL.reshape(-1, code_BxKxL.shape[-1]).tolist()
  return float(np.mean([tuple(row) not in items for row in rows]))


def _in_parts(run: Callable[[Events], jax.Array], events: Events) -> np.ndarray:
  """Runs parts of one shape; the last one is filled up with repeats, which are cut off again."""
  parts, count = [], events.shape[0]
  for at in range(0, count, USERS_AT_ONCE):
    row_B = np.arange(at, min(at + USERS_AT_ONCE, count))
    full_B = np.resize(row_B, USERS_AT_ONCE)
    part = jax.tree.map(lambda x, full_B=full_B: x[full_B], events)
    parts.append(np.asarray(run(part))[: len(row_B)])
  return np.concatenate(parts)
