"""Our trie beside STATIC's index: bytes, building, a constrained step, a search without a model.

  pip install git+https://github.com/youtube/static-constraint-decoding
  python -m sidrec.bench.static_index --json=static.json
  python -m sidrec.bench.static_index --json=static.json --items=100000 --repeats=5

STATIC is another way to hold a trie, see `sidrec.bench.step_indexes`. Both get the same random IDs,
the same log probabilities of all codes, and beams on prefixes of the same items. Before anything is
timed, both must give the same continuations and find the same IDs.

A step goes from log p of all codes and the beams' nodes to log p, tokens and next nodes of all
continuations. Level 0 has one prefix a history, the root. The search keeps the best beams of each
level with the same `top_k` for both; what models and softmaxes cost is left out.

Bytes are those of arrays on the device. `ours_bytes` counts the whole trie; `ours_bytes_read` what
steps read, which are the nodes and the packed IDs, but not the two tables between rows and items,
for which STATIC has no counterpart; `ours_bytes_without_codes` all but `codes_NxL`, the IDs with
the table from items to rows. `fan_out` is the most continuations of a prefix. STATIC wants sorted
IDs: sorting is measured apart. Ours sorts itself.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json
from sidrec.bench.decoding_model import random_codes
from sidrec.bench.step_indexes import (
  Continuations,
  Extend,
  Index,
  build_ours,
  build_static,
  installed,
)
from sidrec.bench.timing import alternate
from sidrec.catalogue.trie.trie import ROOT
from sidrec.parallel.hardware import hardware
from sidrec.search.sampling import best


class Sizes(NamedTuple):
  """What to measure."""

  items: Sequence[int] = (1_000_000, 10_000_000)
  codes: int = 2048
  levels: int = 8
  beams: int = 70
  batch: int = 2
  repeats: int = 20


def measure(sizes: Sizes, say: Callable[[str], None] = print) -> dict[str, Any]:
  """A flat dict of figures; times of steps and searches are medians of warm runs in turn.

  Without `static_decoding` ours is measured alone.

  Raises:
    AssertionError: if the two differ in continuations or in the IDs that they find.
  """
  measured: dict[str, Any] = {}
  has_static = installed(say)
  for items in sizes.items:
    codes_NxL = random_codes(items, sizes.levels, sizes.codes)
    ours, found = build_ours(codes_NxL, sizes.codes)
    indexes = {"ours": ours}
    if has_static:
      indexes["static"], figures = build_static(codes_NxL, sizes.codes)
      found |= figures
    _say_builds(items, found, say)
    logp_LxBxKxV = random_logp(sizes)
    at_BxK = np.random.default_rng(2).integers(0, items, (sizes.batch, sizes.beams))
    seconds = _measure_steps(indexes, logp_LxBxKxV, codes_NxL[at_BxK], sizes.repeats)
    seconds |= _measure_searches(indexes, logp_LxBxKxV, sizes.repeats)
    found |= {f"{name}_ms": 1e3 * value for name, value in seconds.items()}
    _say_times(items, found, sizes.levels, say)
    measured |= {f"{name}_n{items}": value for name, value in found.items()}
  return measured


def random_logp(sizes: Sizes) -> jax.Array:
  """Log probabilities of all codes for each beam: float32 [L, B, K, V]."""
  shape = sizes.levels, sizes.batch, sizes.beams, sizes.codes
  return jax.nn.log_softmax(jax.random.normal(jax.random.key(1), shape))


def search(
  extend: Extend, arrays: Any, logp_LxBxKxV: jax.Array, beams: int
) -> tuple[jax.Array, jax.Array]:
  """The beams behind the last level: codes int32 [B, K, L] and log p [B, K], -inf for none.

  Args:
    extend: a step of an index.
    arrays: its arrays.
    logp_LxBxKxV: log p of all codes at each level, by the place of a beam.
    beams: K.
  """
  levels, batch = logp_LxBxKxV.shape[:2]
  node_BxK, score_BxK = jnp.full((batch, 1), ROOT, jnp.int32), jnp.zeros((batch, 1))
  code_BxKxl = jnp.zeros((batch, 1, 0), jnp.int32)
  for level in range(levels):
    logp_BxKxV = logp_LxBxKxV[level, :, : node_BxK.shape[1]]
    more = extend(arrays, logp_BxKxV, node_BxK, level)
    shape = more.logp_BxKxC.shape
    score_BxK, at_BxK = best(score_BxK[..., None] + more.logp_BxKxC, beams)
    node_BxK, token_BxK = (
      jnp.take_along_axis(jnp.broadcast_to(x, shape).reshape(batch, -1), at_BxK, axis=1)
      for x in (more.node_BxKxC, more.token_BxKxC)
    )
    parent_BxK = at_BxK // shape[2]
    code_BxKxl = jnp.concatenate(
      [jnp.take_along_axis(code_BxKxl, parent_BxK[..., None], axis=1), token_BxK[..., None]], axis=2
    )
  return code_BxKxl, score_BxK


def next_nodes(more: Continuations, token_BxK: np.ndarray) -> jax.Array:
  """The node that each token leads to from its beam: int32 [B, K].

  Raises:
    AssertionError: unless exactly one continuation has the token.
  """
  token_BxKxC = np.asarray(more.token_BxKxC)
  is_it_BxKxC = np.isfinite(more.logp_BxKxC) & (token_BxKxC == token_BxK[..., None])
  if (is_it_BxKxC.sum(axis=-1) != 1).any():
    raise AssertionError("an index does not lead to an item, or twice")
  node_BxKxC = np.broadcast_to(more.node_BxKxC, is_it_BxKxC.shape)
  return jnp.asarray(node_BxKxC[is_it_BxKxC].reshape(token_BxK.shape))


def check_same_continuations(level: int, ours: Continuations, other: Continuations) -> None:
  """Raises AssertionError unless each beam has the same tokens with the same log p."""
  for beam, (mine, theirs) in enumerate(zip(_valid(ours), _valid(other), strict=True)):
    if mine != theirs:
      same = len({*mine} & {*theirs})
      raise AssertionError(
        f"level {level}, beam {beam}: ours has {len(mine)} continuations and the other "
        f"{len(theirs)}, of which {same} are the same"
      )


def _valid(more: Continuations) -> list[list[tuple[int, float]]]:
  """Token and log p of each continuation that is real, sorted, by beam."""
  logp_BxKxC = np.asarray(more.logp_BxKxC)
  codes = logp_BxKxC.shape[-1]
  token_BxKxC = np.broadcast_to(more.token_BxKxC, logp_BxKxC.shape)
  rows = zip(token_BxKxC.reshape(-1, codes), logp_BxKxC.reshape(-1, codes), strict=True)
  return [
    sorted(zip(token_C[real_C].tolist(), logp_C[real_C].tolist(), strict=True))
    for token_C, logp_C in rows
    for real_C in [np.isfinite(logp_C)]
  ]


def check_same_search(
  ours: tuple[jax.Array, jax.Array], other: tuple[jax.Array, jax.Array]
) -> None:
  """Raises AssertionError unless both found the same IDs with the same log p."""
  alive_BxK = np.isfinite(ours[1])
  same_codes = np.array_equal(np.asarray(ours[0])[alive_BxK], np.asarray(other[0])[alive_BxK])
  if not (np.array_equal(ours[1], other[1]) and same_codes):
    raise AssertionError("the searches found other IDs or other log probabilities")


def _measure_steps(
  indexes: dict[str, Index], logp_LxBxKxV: jax.Array, codes_BxKxL: np.ndarray, repeats: int
) -> dict[str, float]:
  """Seconds of a step of each index at each level, behind prefixes of these items."""
  seconds, batch = {}, codes_BxKxL.shape[0]
  nodes = {name: jnp.full((batch, 1), ROOT, jnp.int32) for name in indexes}
  for level, logp_BxKxV in enumerate(logp_LxBxKxV):
    runs = {}
    for name, index in indexes.items():
      given = index.arrays, logp_BxKxV[:, : nodes[name].shape[1]], nodes[name]
      step = jax.jit(index.extend, static_argnums=3).lower(*given, level).compile()
      runs[name] = functools.partial(step, *given)
    found = {name: run() for name, run in runs.items()}
    for more in found.values():
      check_same_continuations(level, found["ours"], more)
    nodes = {name: next_nodes(more, codes_BxKxL[..., level]) for name, more in found.items()}
    for name, value in alternate(runs, repeats).items():
      seconds[f"{name}_step{level}"] = value
  return seconds


def _measure_searches(
  indexes: dict[str, Index], logp_LxBxKxV: jax.Array, repeats: int
) -> dict[str, float]:
  """Seconds of a search of each index."""
  runs = {}
  for name, index in indexes.items():
    run = jax.jit(functools.partial(search, index.extend, beams=logp_LxBxKxV.shape[2]))
    compiled = run.lower(index.arrays, logp_LxBxKxV).compile()
    runs[name] = functools.partial(compiled, index.arrays, logp_LxBxKxV)
  found = {name: run() for name, run in runs.items()}
  for result in found.values():
    check_same_search(found["ours"], result)
  return {f"{name}_search": value for name, value in alternate(runs, repeats).items()}


def _say_builds(items: int, found: dict[str, float], say: Callable[[str], None]) -> None:
  an_item = {name: value / items for name, value in found.items()}
  say(
    f"{items:>10,} items   ours    built in {found['ours_build_s']:.2f} s, "
    f"{an_item['ours_bytes']:.1f} bytes an item: steps read {an_item['ours_bytes_read']:.1f}; "
    f"{an_item['ours_bytes_without_codes']:.1f} without codes"
  )
  if "static_bytes" in found:
    say(
      f"{items:>10,} items   STATIC  built in {found['static_build_s']:.2f} s behind "
      f"{found['static_sort_s']:.2f} s of sorting, {an_item['static_bytes']:.1f} bytes an item: "
      f"{an_item['static_bytes_dense']:.1f} in dense tables"
    )


def _say_times(
  items: int, found: dict[str, float], levels: int, say: Callable[[str], None]
) -> None:
  for level in range(levels + 1):
    what = f"step{level}" if level < levels else "search"
    of = f"of {found[f'fan_out{level}']}" if level < levels else ""
    times = [
      f"{label} {found[f'{name}_{what}_ms']:8.3f} ms"
      for name, label in (("ours", "ours"), ("static", "STATIC"))
      if f"{name}_{what}_ms" in found
    ]
    say(f"{items:>10,} items   {what:<6} {of:<8}" + "   ".join(times))


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  default = Sizes()
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  define_numbers("items", default.items, "Sizes of the catalogue.", values)
  for name, help_text, least in (
    ("codes", "Codes of a level.", 2),
    ("levels", "Levels of the IDs; STATIC wants three or more.", 3),
    ("beams", "Beams of a search.", 1),
    ("batch", "Histories of a search.", 1),
    ("repeats", "Timed runs of each.", 1),
  ):
    default_value = getattr(default, name)
    flags.DEFINE_integer(name, default_value, help_text, lower_bound=least, flag_values=values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  sizes = Sizes(**{name: getattr(values, name) for name in Sizes._fields})
  print(hardware())
  print(f"{sizes.batch} x {sizes.beams} prefixes, medians of {sizes.repeats} runs")
  with one_sentence():
    measured = measure(sizes)
  write_json(values.json, {**measured, "repeats": sizes.repeats, "hardware": hardware()})


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
