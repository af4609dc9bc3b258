"""How much of the exact top-10 a beam search of K beams finds, on a trained recommender, and how
much of its own top-10 is left when it computes in bfloat16.

The exact list comes from the log likelihood of every item, teacher-forced as in training, so that
nothing of the search is used to judge it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sidrec.bench.decoding_model import AllCodesTiger, MeasuredModel
from sidrec.bench.unconstrained_beam import unconstrained_search
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import last_items, user_tokens, with_user_tokens
from sidrec.data.dataset import Histories, held_out_view
from sidrec.evaluation.overlap import in_common
from sidrec.models.base import SemanticIDModel
from sidrec.parallel import mesh as mesh_lib
from sidrec.run.config_file import load_config
from sidrec.run.load import trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.stage import find
from sidrec.run.train import TRAIN
from sidrec.search.batched import make_recommend_users
from sidrec.search.exact_ids import make_exact_recommend_users
from sidrec.search.settings import SearchConfig

RESULTS = 10
USERS_AT_ONCE = 32


def measure(
  workdir: PathLike, beams: Sequence[int], num_users: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
  """Shares of the exact top-10 found, and of lists found in full, before each user's test item.

  Seen items are not excluded: what the model itself ranks is what the search has to find.

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
  history_BxS = _histories_of(histories, model, users_R)
  mesh = mesh_lib.make_mesh()

  def lists(model: SemanticIDModel, count: int) -> np.ndarray:
    search = SearchConfig(beams=count, item_weight=0.0, batch_size=USERS_AT_ONCE)
    recommend_users = make_recommend_users(model, trie, search, mesh)
    return np.asarray(recommend_users(params, histories, users_R).item_BxK)[:, :RESULTS]

  levels_alone = SearchConfig(item_weight=0.0)
  exact = make_exact_recommend_users(model, trie, levels_alone, RESULTS, mesh)
  best_BxK = exact(params, histories, users_R).item_BxK
  measured: dict[str, Any] = {"recall_users": len(history_BxS), "recall_items": trie.num_items}
  found: dict[int, np.ndarray] = {}
  for count in beams:
    found_BxK = found[count] = lists(model, count)
    same_B = in_common(found_BxK, best_BxK)
    equal_B = (found_BxK == best_BxK).all(axis=1)
    measured |= {
      f"beam_recall_{count}": float(same_B.mean() / RESULTS),
      f"exact_match_{count}": float((same_B == RESULTS).mean()),
      f"same_order_{count}": float(equal_B.mean()),
    }
    say(
      f"{count} beams: {same_B.mean() / RESULTS:.4f} of the exact top-{RESULTS}, all of it for "
      f"{(same_B == RESULTS).mean():.1%} of {len(same_B)} users, in the same order for "
      f"{equal_B.mean():.1%}"
    )
  most = max(beams)
  other = "float32" if model.config.dtype == "bfloat16" else "bfloat16"
  cast = model.clone(config=dataclasses.replace(model.config, dtype=other))
  measured["bf16_overlap"] = float(in_common(found[most], lists(cast, most)).mean() / RESULTS)
  say(f"bfloat16 finds {measured['bf16_overlap']:.4f} of what float32 finds, {most} beams")
  measured["illegal_share"] = _illegal_share(model, params, trie, history_BxS)
  say(f"without the constraint {measured['illegal_share']:.1%} of results have no item")
  return measured


def _histories_of(histories: Histories, model: SemanticIDModel, users_R: np.ndarray) -> np.ndarray:
  history_BxS = last_items(histories, model.config.history_length)[users_R]
  if model.config.inputs.any:
    raise ValueError("this benchmark's histories are items alone; turn config.model.inputs off")
  if model.config.user_tokens:
    token_B = user_tokens(histories.user_ids_U[users_R], model.config.user_tokens)
    history_BxS = with_user_tokens(token_B, history_BxS)
  return history_BxS


def _illegal_share(
  model: SemanticIDModel, params: dict, trie: Trie, history_BxS: np.ndarray
) -> float:
  """Results of the best codes at every level that no item has.

  Scores by node are left out, since most prefixes have no node. A model whose softmax ran over real
  continuations only was never taught to tell other codes from them, so that almost all of its free
  results are illegal; one with `constrained_softmax=False` is the one to ask.
  """
  architecture = MeasuredModel if model.causal else AllCodesTiger
  free = architecture(model.config, model.sizes)
  beams = min(RESULTS, model.sizes.codebook_size)
  search = jax.jit(
    lambda params, trie, h: unconstrained_search(free, params, trie.codes_NxL, h, beams)
  )
  code_BxKxL = _in_parts(lambda h: search(params, trie, h)[0], history_BxS)
  items = set(map(tuple, np.asarray(trie.codes_NxL).tolist()))
  rows = code_BxKxL.reshape(-1, code_BxKxL.shape[-1]).tolist()
  return float(np.mean([tuple(row) not in items for row in rows]))


def _in_parts(run: Callable[[np.ndarray], jax.Array], history_BxS: np.ndarray) -> np.ndarray:
  """Runs parts of one shape; the last one is filled up with empty histories."""
  parts = []
  for at in range(0, len(history_BxS), USERS_AT_ONCE):
    part = history_BxS[at : at + USERS_AT_ONCE]
    full = np.full((USERS_AT_ONCE, history_BxS.shape[1]), NO_ITEM, history_BxS.dtype)
    full[:, 0] = part[0, 0]
    full[: len(part)] = part
    parts.append(np.asarray(run(full))[: len(part)])
  return np.concatenate(parts)
