"""How the time of one top-10 grows with the catalogue: generated, or found among item vectors.

  pip install 'sidrec[bench]'
  python -m sidrec.bench.growth --json=growth.json
  python -m sidrec.bench.growth --json=runs.json --runs=runs/world-1e3,runs/world-1e4

The first measures a random model; the second runs that were trained on a world, see `growth_runs`.

Here X counts the items of a chunk, or latent dimensions.

A user's vector, which the other methods start from, and the encoder's states, which the search
starts from, cost one encoder pass alike; it is measured apart. How fast exact methods are does not
depend on the vectors, but what HNSW finds does: vectors of independent numbers have no neighbours
to speak of, so these have few dimensions that count, and a little noise. FAISS's indexes and the
plot need the extra 'bench'.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from sidrec.bench import growth_runs
from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json
from sidrec.bench.decoding_model import (
  SIZES,
  make_encode,
  make_model,
  make_params,
  random_codes,
  random_histories,
)
from sidrec.bench.faiss_indexes import flat_and_hnsw, index_bytes, installed
from sidrec.bench.growth_plots import plot_runs, plot_sizes
from sidrec.bench.parameters import parameter_figures
from sidrec.bench.timing import alternate
from sidrec.catalogue.trie.trie import build_trie
from sidrec.core.paths import as_path
from sidrec.evaluation.overlap import in_common
from sidrec.parallel.hardware import hardware
from sidrec.search import beam
from sidrec.search.settings import SearchConfig

RESULTS = 10
CHUNK = 1 << 16  # items scored at once, so that scores fit caches and memory
METHODS = ("sidrec", "exact", "flat", "hnsw")
LATENT = 16  # dimensions of the random vectors that count
NOISE = 0.1  # in all the others, beside 1


class Sizes(NamedTuple):
  """What to measure."""

  items: Sequence[int] = (10_000, 100_000, 1_000_000, 10_000_000)
  hnsw_items: int = 10_000_000  # at most: building it for so many takes 40 minutes
  codes: int = 256
  levels: int = 4
  batch: int = 32
  positions: int = 50
  repeats: int = 20
  model: dict[str, int] = {}  # noqa: RUF012  # other sizes of the model


def measure(sizes: Sizes, say: Callable[[str], None] = print) -> dict[str, Any]:
  """Milliseconds a user and MiB of each method and catalogue, and how they compare.

  The other methods take turns with sidrec's search one by one, since not all tables fit memory.
  Without FAISS its indexes are left out.
  """
  measured: dict[str, Any] = {}
  has_faiss = installed(say)
  for items in sizes.items:
    found = _measure_catalogue(items, sizes, has_faiss, say)
    measured |= {f"{name}_n{items}": value for name, value in found.items()}
    say(
      f"{items:>10,} items   "
      + "   ".join(
        f"{name} {found[f'{name}_ms_per_user']:.3f} ms, {found[f'{name}_mib']:,.0f} MiB"
        for name in METHODS
        if f"{name}_mib" in found
      )
    )
  return measured | _headlines(measured, sizes.items)


def top_items(table_NxD: jax.Array, user_BxD: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The best items by inner product, exactly, chunk by chunk: scores and rows [B, count]."""
  num_items, width = table_NxD.shape
  chunk = min(CHUNK, num_items)

  def merge(best, start):
    # The last chunk overlaps the one before it; what that one has scored is left out.
    at = jnp.minimum(start, num_items - chunk)
    rows_XxD = jax.lax.dynamic_slice(table_NxD, (at, 0), (chunk, width))
    row_1xX = (at + jnp.arange(chunk))[None]
    score_BxX = jnp.where(row_1xX >= start, user_BxD @ rows_XxD.T, -jnp.inf)
    score_BxK, slot_BxK = jax.lax.top_k(score_BxX, count)
    score_BxJ = jnp.concatenate([best[0], score_BxK], axis=1)
    item_BxJ = jnp.concatenate([best[1], at + slot_BxK], axis=1)
    score_BxK, slot_BxK = jax.lax.top_k(score_BxJ, count)
    return (score_BxK, jnp.take_along_axis(item_BxJ, slot_BxK, axis=1)), None

  shape = (len(user_BxD), count)
  none = jnp.full(shape, -jnp.inf), jnp.full(shape, -1, jnp.int32)
  best, _ = jax.lax.scan(merge, none, jnp.arange(0, num_items, chunk))
  return best


def _measure_catalogue(
  items: int, sizes: Sizes, has_faiss: bool, say: Callable[[str], None]
) -> dict[str, float]:
  model = make_model(items, sizes.levels, sizes.codes, sizes.positions, **sizes.model)
  params, history = make_params(model), random_histories(model, sizes.batch)
  codes_NxL = random_codes(items, sizes.levels, sizes.codes)
  start = time.perf_counter()
  trie = build_trie(codes_NxL, every_prefix=False, codebook_size=sizes.codes)
  found = {"sidrec_build_s": time.perf_counter() - start, "sidrec_mib": trie.num_bytes / 2**20}
  found |= parameter_figures(model, params, trie, say, "growth")
  del codes_NxL
  encode = make_encode(model)
  states = encode(params, trie, history)
  from_states = model.clone(given_states=True)
  config = SearchConfig(beams=RESULTS)
  search = jax.jit(lambda params, trie, x: beam.search(from_states, params, trie, x, config))
  ours = functools.partial(search, params, trie, states)
  width = sizes.model.get("width", SIZES["width"])
  rng = np.random.default_rng(0)
  basis_XxD = rng.standard_normal((LATENT, width), np.float32) / math.sqrt(LATENT)
  user_BxD = random_vectors(rng, sizes.batch, basis_XxD)
  table_NxD = random_vectors(rng, items, basis_XxD)
  found["exact_mib"] = table_NxD.nbytes / 2**20
  encoder = functools.partial(encode, params, trie, history)
  seconds, best = _measure_exact(table_NxD, user_BxD, {"sidrec": ours, "encoder": encoder}, sizes)
  found |= {f"{name}_ms_per_user": 1e3 * value / sizes.batch for name, value in seconds.items()}
  found["exact_over_sidrec"] = seconds["exact"] / seconds["sidrec"]
  if not has_faiss:
    return found
  for name, index in flat_and_hnsw(items, width, sizes.hnsw_items):
    measured = _measure_index(index, table_NxD, user_BxD, best, ours, sizes)
    found |= {f"{name}_{what}": value for what, value in measured.items()}
  return found


def random_vectors(rng: np.random.Generator, count: int, basis_XxD: np.ndarray) -> np.ndarray:
  """Vectors [count, D] near the space of this basis, float32; filled in chunk by chunk."""
  vector_NxD = np.empty((count, basis_XxD.shape[1]), np.float32)
  for at in range(0, count, CHUNK):
    rows_XxD = vector_NxD[at : at + CHUNK]
    rng.standard_normal(dtype=np.float32, out=rows_XxD)
    rows_XxD *= NOISE
    rows_XxD += rng.standard_normal((len(rows_XxD), len(basis_XxD)), np.float32) @ basis_XxD
  return vector_NxD


def _measure_exact(table_NxD, user_BxD, runs, sizes: Sizes) -> tuple[dict[str, float], np.ndarray]:
  """Seconds of these runs and of exact retrieval, whose copy of the table goes again; its items."""
  table, user = jnp.asarray(table_NxD), jnp.asarray(user_BxD)
  exact = jax.jit(lambda table, user: top_items(table, user, RESULTS))
  seconds = alternate({**runs, "exact": lambda: exact(table, user)}, sizes.repeats)
  return seconds, np.asarray(exact(table, user)[1])


def _measure_index(index, table_NxD, user_BxD, best_BxK, ours, sizes: Sizes) -> dict[str, float]:
  """Fills the index, beside which the table stays, and lets it take turns with our search."""
  start = time.perf_counter()
  index.add(table_NxD)
  build_s = time.perf_counter() - start
  find = functools.partial(index.search, user_BxD, RESULTS)
  seconds = alternate({"sidrec": ours, "index": find}, sizes.repeats)
  return {
    "build_s": build_s,
    "ms_per_user": 1e3 * seconds["index"] / sizes.batch,
    "over_sidrec": seconds["index"] / seconds["sidrec"],
    "mib": index_bytes(index) / 2**20,
    "recall": in_common(find()[1], best_BxK).sum() / best_BxK.size,
  }


def _headlines(measured: dict[str, Any], items: Sequence[int]) -> dict[str, float]:
  found = {}
  least, most = (f"sidrec_ms_per_user_n{count}" for count in (10_000, 10_000_000))
  if least in measured and most in measured:
    found["growth_1e7_over_1e4"] = measured[most] / measured[least]
  for name, key in (("exact", "crossing_items"), ("flat", "crossing_flat_items")):
    keys = [f"{name}_over_sidrec_n{count}" for count in items]
    if not measured.keys() >= {*keys}:  # without FAISS
      continue
    crossing = crossing_point(items, [measured[at] for at in keys])
    if crossing is not None:
      found[key] = crossing
  return found


def crossing_point(items: Sequence[int], ratios: Sequence[float]) -> float | None:
  """Where the ratio reaches 1 and stays above, between measured N: both scales logarithmic.

  Returns:
    The least N if the ratio is at least 1 everywhere, None if it is below 1 at the most N.
  """
  below = [at for at, ratio in enumerate(ratios) if ratio < 1]
  if not below:
    return float(items[0])
  at = below[-1]
  if at == len(items) - 1:
    return None
  low, high = math.log(ratios[at]), math.log(ratios[at + 1])
  share = -low / (high - low)
  return math.exp((1 - share) * math.log(items[at]) + share * math.log(items[at + 1]))


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  sizes, number = Sizes(), flags.DEFINE_integer
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_string("plot", None, "Draw to this PNG file.", flag_values=values)
  flags.DEFINE_list("runs", [], "Measure these trained runs of a world.", flag_values=values)
  define_numbers("items", sizes.items, "Sizes of random catalogues.", values)
  number("hnsw_items", sizes.hnsw_items, "Most items for HNSW.", flag_values=values)
  number("repeats", sizes.repeats, "Timed runs of each.", lower_bound=1, flag_values=values)
  number("users", 2000, "Of a run, that are scored.", lower_bound=2, flag_values=values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  print(hardware())
  with one_sentence():
    if values.runs:
      sizes = growth_runs.Sizes(
        users=values.users, repeats=values.repeats, hnsw_items=values.hnsw_items
      )
      measured = growth_runs.measure(values.runs, sizes)
    else:
      sizes = Sizes(items=values.items, hnsw_items=values.hnsw_items, repeats=values.repeats)
      measured = measure(sizes)
  write_json(values.json, {**measured, "repeats": values.repeats, "hardware": hardware()})
  if values.plot:
    with one_sentence():
      if values.runs:
        plot_runs(measured, as_path(values.plot))
      else:
        plot_sizes(measured, values.items, as_path(values.plot))


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
