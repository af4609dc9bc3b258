"""Runs that were trained on worlds of several sizes: speed, memory, and lists beside the truth.

All methods start from the histories of a batch of users and end with ten items of each, on the
host. The other methods look for the items of the highest product with the state of the run's
SASRec: exactly, and with FAISS where it is installed. Bytes an item count all parameters, and what
is searched besides: the trie, or the index.

The lists of each method are compared with the exact ten of its own model. Those of SASRec come from
the exact product. For those of sidrec, all items are scored by its likelihood; in large catalogues,
where that takes too long, a wide search finds them and certifies that they are exact.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.bench import faiss_indexes
from sidrec.bench.timing import alternate
from sidrec.bench.world.score import RESULTS, Task, lists_of, make_task, oracle, worth
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import last_items
from sidrec.evaluation.overlap import in_common
from sidrec.models.histories import LATEST
from sidrec.models.memory import memory_of
from sidrec.models.sasrec import SASRec
from sidrec.parallel import mesh as mesh_lib
from sidrec.run.config_file import load_config
from sidrec.run.load import Recommender, Trained, load_sasrec, recommender_by, trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.sasrec import make_sasrec
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search.batched import make_recommend_users
from sidrec.search.exact_ids import make_exact_recommend_users, why_not_exact

METHODS = ("sidrec", "exact", "flat", "hnsw", "ivfpq")
_LEAST_EXACT = 10  # users; of fewer the share of the exact ten says nothing
_WIDE, _WIDE_AT_ONCE = 300, 4  # beams, and users, of a search that is to be exact


class Sizes(NamedTuple):
  """What to measure."""

  users: int = 2000  # of a run, that are scored
  batch: int = 32
  repeats: int = 20
  hnsw_items: int = 10_000_000
  exact_scores: int = 1_000_000  # items × users, of the likelihood of every item
  certified_users: int = 100  # of a wide search


class Method(NamedTuple):
  """A way from users to lists."""

  find: Callable[[np.ndarray], np.ndarray]  # rows of users [R] → items [R, RESULTS]
  bytes_per_item: float


def measure(
  workdirs: Sequence[PathLike], sizes: Sizes, say: Callable[[str], None] = print
) -> dict[str, Any]:
  """The figures of each run, flat: NAME_n<items>, as `measure_run` names them."""
  measured: dict[str, Any] = {}
  for workdir in workdirs:
    found = measure_run(workdir, sizes, say)
    measured |= {f"{name}_n{found['items']}": value for name, value in found.items()}
  return measured


def measure_run(
  workdir: PathLike, sizes: Sizes, say: Callable[[str], None] = print
) -> dict[str, Any]:
  """Of each method users_per_s, bytes_per_item, of_exact_10, ndcg@10 and share of the oracle's.

  Raises:
    FileNotFoundError, ValueError: as `world.score.score_run`.
  """
  config = load_config(workdir)
  chain = find(TRAIN, config, as_path(workdir))
  task = make_task(config, load_prepared(chain), count=sizes.users)
  trained = trained_of(config, chain)
  methods = {"sidrec": _sidrec(task, recommender_by(config, chain, trained), trained)}
  if config.sasrec.enabled:
    methods |= _of_sasrec(task, workdir, sizes, say)
  else:
    say(f"{workdir}: no SASRec was trained, so that nothing searches its states")
  best_ndcg = worth(task, oracle(task))["ndcg@10"]
  figures: dict[str, Any] = {"items": task.num_items, "oracle_ndcg@10": best_ndcg}
  lists = {name: method.find(task.users_R) for name, method in methods.items()}
  batch_B = task.users_R[: sizes.batch]
  seconds = alternate(
    {name: functools.partial(method.find, batch_B) for name, method in methods.items()},
    sizes.repeats,
  )
  for name, method in methods.items():
    ndcg = worth(task, lists[name])["ndcg@10"]
    figures |= {
      f"{name}_users_per_s": len(batch_B) / seconds[name],
      f"{name}_bytes_per_item": method.bytes_per_item,
      f"{name}_ndcg@10": ndcg,
      f"{name}_share": ndcg / best_ndcg,
    }
    if name in METHODS[1:]:
      figures[f"{name}_of_exact_10"] = float(
        in_common(lists[name], lists["exact"]).mean() / RESULTS
      )
  figures |= _sidrec_of_exact(task, trained, lists["sidrec"], sizes, say)
  say(_line(figures, list(methods)))
  return figures


def _line(figures: dict[str, Any], names: list[str]) -> str:
  lines = [f"{figures['items']:>10,} items, the oracle's NDCG@10 {figures['oracle_ndcg@10']:.4f}"]
  for name in names:
    exact = figures.get(f"{name}_of_exact_10")
    lines.append(
      f"  {name:<8}{figures[f'{name}_users_per_s']:>9,.0f} users/s"
      f"{figures[f'{name}_bytes_per_item']:>10,.0f} bytes an item"
      f"   NDCG@10 {figures[f'{name}_ndcg@10']:.4f}, {figures[f'{name}_share']:.1%} of the oracle's"
      + ("" if exact is None else f", {exact:.1%} of the exact ten")
    )
  return "\n".join(lines)


# sidrec.


def _sidrec(task: Task, recommender: Recommender, trained: Trained) -> Method:
  lists = functools.partial(lists_of, task, recommender.recommend_users, recommender.params)
  memory = memory_of(trained.params, trained.trie, trained.model.sizes)
  return Method(lists, memory.served)


def _sidrec_of_exact(
  task: Task, trained: Trained, found_RxK: np.ndarray, sizes: Sizes, say: Callable[[str], None]
) -> dict[str, float]:
  """The share of the exact ten; {} where there are none to compare with.

  All items are scored for as many users as `exact_scores` allows. If these are too few, a wide
  search finds the exact ten instead, and those users count for whom it certifies them.
  """
  if why := why_not_exact(trained.model.config, task.config.search):
    say(f"sidrec's share of the exact ten is left out: {why}")
    return {}
  count = min(len(task.users_R), sizes.exact_scores // task.num_items)
  if count >= min(_LEAST_EXACT, len(task.users_R)):
    of_all = make_exact_recommend_users(
      trained.model, trained.trie, task.config.search, RESULTS, mesh_lib.make_mesh()
    )
    best_RxK = lists_of(task, of_all, trained.params, task.users_R[:count])
    is_exact_R = np.ones(count, bool)
  else:
    best_RxK, is_exact_R = _certified(task, trained, task.users_R[: sizes.certified_users])
    say(f"a search with {_WIDE} beams certifies {is_exact_R.mean():.1%} of the lists as exact")
  if not is_exact_R.any():
    return {}
  same_R = in_common(found_RxK[: len(best_RxK)][is_exact_R], best_RxK[is_exact_R])
  share, num_exact = float(same_R.mean() / RESULTS), int(is_exact_R.sum())
  return {"sidrec_of_exact_10": share, "exact_ten_users": num_exact}


def _certified(task: Task, trained: Trained, users_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The lists of a wide search: items [R, K], and bool [R], which of them are certified exact."""
  config = task.config.search
  followers = LATEST * trained.model.config.followers  # all of them are candidates
  wide = dataclasses.replace(
    config, beams=_WIDE, follower_candidates=followers, certify=True, batch_size=_WIDE_AT_ONCE
  )
  search = make_recommend_users(trained.model, trained.trie, wide, mesh_lib.make_mesh())
  found = search(trained.params, task.held_out.histories, users_R)
  is_exact_R = np.asarray(found.certified_B(RESULTS))
  return np.asarray(found.item_BxK)[:, :RESULTS], is_exact_R


# SASRec's states.


def _of_sasrec(
  task: Task, workdir: PathLike, sizes: Sizes, say: Callable[[str], None]
) -> dict[str, Method]:
  if task.config.sasrec.model.item_bias:
    raise ValueError(
      f"{workdir}: products alone do not rank as a SASRec with sasrec.model.item_bias does; train "
      "one without"
    )
  recommend_users, params = load_sasrec(task.config, workdir)
  exactly = functools.partial(lists_of, task, recommend_users, params)
  model_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params)) / task.num_items
  methods = {"exact": Method(exactly, model_bytes)}
  states = _states(task, params)
  if not faiss_indexes.installed(say):
    return methods
  indexes = _filled(np.asarray(params["item"], np.float32), sizes)
  for name, index in indexes.items():

    def lists(users_B: np.ndarray, index=index) -> np.ndarray:
      item_BxK = index.search(states(users_B), RESULTS)[1]
      return np.where(item_BxK < 0, NO_ITEM, item_BxK)

    more = faiss_indexes.index_bytes(index) / task.num_items
    methods[name] = Method(lists, model_bytes + more)
  return methods


def _states(task: Task, params: dict) -> Callable[[np.ndarray], np.ndarray]:
  """Rows of users [R] → what SASRec knows of their histories, float32 [R, D]."""
  model: SASRec = make_sasrec(task.config, task.num_items)
  history_UxS = last_items(task.held_out.histories, model.config.history_length)

  @jax.jit
  def last_states(params: dict, history_BxS: jax.Array) -> jax.Array:
    at_Bx1 = jnp.maximum(jnp.sum(history_BxS != NO_ITEM, axis=1, keepdims=True) - 1, 0)
    states = model.apply({"params": params}, history_BxS, at_BxQ=at_Bx1, method="states")
    return cast(jax.Array, states)[:, 0]

  return lambda users_B: np.asarray(last_states(params, history_UxS[users_B]), np.float32)


def _filled(table_NxD: np.ndarray, sizes: Sizes) -> dict[str, Any]:
  """Indexes of a table."""
  num_items, width = table_NxD.shape
  indexes = dict(faiss_indexes.flat_and_hnsw(num_items, width, sizes.hnsw_items))
  coded, count = faiss_indexes.ivf_pq(num_items, width)
  chosen_R = np.sort(np.random.default_rng(0).choice(num_items, count, replace=False))
  coded.train(table_NxD[chosen_R])
  indexes["ivfpq"] = coded
  for index in indexes.values():
    index.add(table_NxD)
  return indexes
