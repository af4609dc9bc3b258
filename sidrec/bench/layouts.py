"""Ways to lay out a constrained beam search, at one size: ours, tiled beams, and `generate`."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.bench.decoding_model import (
  make_encode,
  make_model,
  make_params,
  param_shapes,
  random_codes,
  random_histories,
)
from sidrec.bench.generate_beam import as_codes, make_generate
from sidrec.bench.parameters import parameter_figures
from sidrec.bench.tiled_beam import next_states, tiled_search
from sidrec.bench.timing import alternate
from sidrec.catalogue.trie.trie import build_trie
from sidrec.evaluation.overlap import in_common
from sidrec.search import beam
from sidrec.search.recommend import recommend
from sidrec.search.settings import SearchConfig

LEVELS = 4
HISTORIES = 19  # batches of them that searches take one after another


class Sizes(NamedTuple):
  """What to measure."""

  batches: Sequence[int] = (1, 32)
  positions: Sequence[int] = (50, 200)
  beams: Sequence[int] = (10, 50)
  items: int = 12_000
  codes: int = 256
  repeats: int = 20
  generate: bool = True
  model: dict[str, int] = {}  # noqa: RUF012  # other sizes of the model


def measure(sizes: Sizes, say: Callable[[str], None] = print) -> dict[str, Any]:
  """Milliseconds a call and temporary memory of every case, their ratios, and the parameters."""
  codes_NxL = random_codes(sizes.items, LEVELS, sizes.codes)
  trie = build_trie(codes_NxL, every_prefix=False, codebook_size=sizes.codes)
  table = jax.device_put(next_states(codes_NxL, sizes.codes))
  model = make_model(sizes.items, LEVELS, sizes.codes, max(sizes.positions), **sizes.model)
  measured = parameter_figures(model, param_shapes(model), trie, say, "layouts")
  for batch, positions, beams in itertools.product(sizes.batches, sizes.positions, sizes.beams):
    model = make_model(sizes.items, LEVELS, sizes.codes, positions, **sizes.model)
    case = f"b{batch}_s{positions}_k{beams}"
    found = _case(model, trie, table, codes_NxL, batch, beams, sizes)
    measured |= {f"{name}_{case}": value for name, value in found.items()}
    say(_line(case, found))
  return measured | _headlines(measured)


def _case(model, trie, table, codes_NxL, batch, beams, sizes) -> dict[str, float]:
  params, encode = make_params(model), make_encode(model)
  # A search of few beams may end early, which depends on the history.
  histories = [random_histories(model, batch, seed) for seed in range(1, 1 + HISTORIES)]
  states = [encode(params, trie, history) for history in histories]

  def ours(model):
    return lambda params, trie, table, x: beam.search(
      model, params, trie, x, SearchConfig(beams=beams)
    )

  def tiled(model, keep):
    return lambda params, trie, table, x: tiled_search(
      model, params, table, x, trie.codes_NxL, beams, keep
    )

  def whole(params, trie, table, x):
    return recommend(params, trie, x, beams, model=model, search=SearchConfig(beams=beams))

  from_states = model.clone(given_states=True)
  searches = {
    "ours": (ours(from_states), states),
    "ours_e2e": (whole, histories),
    "tiled": (tiled(from_states, True), states),
    "tiled_e2e": (tiled(model, True), histories),
    "tiled_anew": (tiled(from_states, False), states),
  }
  runs, memory, results = {}, {}, {}
  for name, (search, inputs) in searches.items():
    compiled = jax.jit(search).lower(params, trie, table, inputs[0]).compile()
    runs[name] = _in_turns(functools.partial(compiled, params, trie, table), inputs)
    memory[name] = getattr(compiled.memory_analysis(), "temp_size_in_bytes", math.nan)
    results[name] = jax.device_get(runs[name]())
  for name, result in results.items():
    _check_same(name, results["ours"], result)
  if sizes.generate:
    tokens = np.asarray(histories[0]) % (LEVELS * sizes.codes) + 1
    runs["generate"], runs["generate_e2e"] = make_generate(model, codes_NxL, tokens, beams)
    _check_legal(runs["generate"]().numpy(), codes_NxL, sizes.codes)
  seconds = alternate(runs, sizes.repeats)
  return {
    **{f"{name}_ms": 1e3 * value for name, value in seconds.items()},
    **{f"{name}_temp_mib": value / 2**20 for name, value in memory.items()},
  }


def _check_same(name: str, ours: beam.Recommendations, other: beam.Recommendations) -> None:
  """Same scores, and same items but for what rounding decides."""
  np.testing.assert_allclose(other.score_BxK, ours.score_BxK, atol=1e-3, err_msg=name)
  same = in_common(ours.item_BxK, other.item_BxK).sum()
  if same < 0.99 * ours.item_BxK.size:
    raise AssertionError(f"{name} found {same} of {ours.item_BxK.size} items")


def _check_legal(token_BKxL: np.ndarray, codes_NxL: np.ndarray, codebook_size: int) -> None:
  items = set(map(tuple, codes_NxL.tolist()))
  if not all(tuple(row) in items for row in as_codes(token_BKxL, codebook_size).tolist()):
    raise AssertionError("generate found IDs that no item has")


def _in_turns(run: Callable[[Any], Any], inputs: Sequence[Any]) -> Callable[[], Any]:
  """A function that gives `run` another input at each call."""
  turns = itertools.cycle(inputs)
  return lambda: run(next(turns))


def _line(case: str, found: dict[str, float]) -> str:
  def ratio(other: str, ours: str) -> str:
    return f"{found[other] / found[ours]:6.1f}" if other in found else "     –"

  return (
    f"{case:<14} ours {found['ours_ms']:8.1f} ms, whole {found['ours_e2e_ms']:8.1f}   times: "
    f"tiled{ratio('tiled_ms', 'ours_ms')}, whole{ratio('tiled_e2e_ms', 'ours_e2e_ms')}, "
    f"keys anew{ratio('tiled_anew_ms', 'ours_ms')}; "
    f"generate{ratio('generate_ms', 'ours_ms')}, whole{ratio('generate_e2e_ms', 'ours_e2e_ms')}   "
    f"memory: {found['ours_temp_mib']:.1f} of {found['tiled_temp_mib']:.1f} MiB, "
    f"whole {found['ours_e2e_temp_mib']:.1f} of {found['tiled_e2e_temp_mib']:.1f}"
  )


def _headlines(measured: dict[str, Any]) -> dict[str, float]:
  """Ratios of the cases that the README speaks of, where they were measured."""
  large, small = "b32_s200_k10", "b1_s200_k10"
  wanted = {
    "speedup_vs_tiled": (f"tiled_ms_{large}", f"ours_ms_{large}"),
    "speedup_vs_tiled_e2e": (f"tiled_e2e_ms_{large}", f"ours_e2e_ms_{large}"),
    "speedup_vs_tiled_keys_anew": (f"tiled_anew_ms_{large}", f"ours_ms_{large}"),
    "tempmem_vs_tiled": (f"ours_temp_mib_{large}", f"tiled_temp_mib_{large}"),
    "tempmem_vs_tiled_e2e": (f"ours_e2e_temp_mib_{large}", f"tiled_e2e_temp_mib_{large}"),
    "speedup_vs_generate_b32": (f"generate_ms_{large}", f"ours_ms_{large}"),
    "speedup_vs_generate_e2e_b32": (f"generate_e2e_ms_{large}", f"ours_e2e_ms_{large}"),
    "speedup_vs_generate_b1": (f"generate_e2e_ms_{small}", f"ours_e2e_ms_{small}"),
  }
  return {
    name: measured[top] / measured[bottom]
    for name, (top, bottom) in wanted.items()
    if top in measured and bottom in measured
  }
