"""What the catalogue's trie costs: time in a search, memory, building and loading.

  python -m sidrec.bench.trie --json=trie.json
  python -m sidrec.bench.trie --json=trie.json --items=10000,1000000 --codes=256 --levels=4
  python -m sidrec.bench.trie --json=trie.json --workdir=runs/ml1m

Random IDs are the hardest: no two prefixes share more than chance lets them. A search with the trie
is compared with one that takes the best of all codes at every level, from the same encoder states
and as a whole. The model has no parameters by trie node. The third measures a finished run instead:
its parameters, its trie and its search; see `sidrec.bench.trie_of_run`.
"""

import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import app, flags

from sidrec.bench import trie_of_run
from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json
from sidrec.bench.decoding_model import (
  make_encode,
  make_model,
  make_params,
  param_shapes,
  random_codes,
  random_histories,
)
from sidrec.bench.parameters import parameter_figures
from sidrec.bench.timing import alternate
from sidrec.bench.unconstrained_beam import unconstrained_search
from sidrec.catalogue.trie.files import load_trie, load_trie_on_device, save_trie
from sidrec.catalogue.trie.trie import Trie, build_on_host
from sidrec.parallel.hardware import hardware
from sidrec.search import beam
from sidrec.search.settings import SearchConfig


class Sizes(NamedTuple):
  """What to measure."""

  items: Sequence[int] = (10_000, 100_000, 1_000_000, 10_000_000)
  codes: Sequence[int] = (256, 2048)
  levels: Sequence[int] = (4, 8)
  beams: Sequence[int] = (10, 70)
  batch: int = 32
  positions: int = 50
  repeats: int = 20
  model: dict[str, int] = {}  # noqa: RUF012  # other sizes of the model


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  default = Sizes()
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_string("workdir", None, "Measure this finished run instead.", flag_values=values)
  for name, help_text in {
    "items": "Sizes of the catalogue.",
    "codes": "Codes of a level.",
    "levels": "Levels of the IDs.",
    "beams": "Beams of a search.",
  }.items():
    define_numbers(name, getattr(default, name), help_text, values)
  for name, help_text in {
    "batch": "Histories of a search.",
    "positions": "Items of a history.",
    "repeats": "Timed runs of each search.",
  }.items():
    flags.DEFINE_integer(name, getattr(default, name), help_text, lower_bound=1, flag_values=values)


def measure(sizes: Sizes, say: Callable[[str], None] = print) -> dict[str, Any]:
  """A flat dict of figures; times of searches are medians of warm runs in turn."""
  measured: dict[str, Any] = {}
  for codes, levels, items in itertools.product(sizes.codes, sizes.levels, sizes.items):
    case = f"n{items}_v{codes}_l{levels}"
    trie, figures = _measure_index(items, codes, levels)
    measured |= {f"{name}_{case}": value for name, value in figures.items()}
    model = make_model(items, levels, codes, sizes.positions, **sizes.model)
    measured |= parameter_figures(model, param_shapes(model), trie, say, case)
    say(
      f"{case:<22} {figures['bytes_per_item']:5.1f} bytes an item, built in "
      f"{figures['build_s']:.2f} s, loaded in {figures['load_s']:.3f} s, checked "
      f"{figures['load_checked_s']:.3f} s, fan-outs {trie.fan_outs}"
    )
    for beams in sizes.beams:
      if beams > codes:
        continue
      found = _measure_searches(trie, items, codes, levels, beams, sizes)
      measured |= {f"{name}_{case}_k{beams}": value for name, value in found.items()}
      say(
        f"{case:<22} K={beams:<3} {found['constrained_ms']:8.1f} ms beside "
        f"{found['unconstrained_ms']:8.1f}: {found['overhead']:+7.1%}; whole "
        f"{found['constrained_e2e_ms']:8.1f} ms beside {found['unconstrained_e2e_ms']:8.1f}: "
        f"{found['overhead_e2e']:+7.1%}"
      )
  return measured | _headlines(measured, sizes)


def _measure_index(items: int, codes: int, levels: int) -> tuple[Trie, dict[str, float]]:
  codes_NxL = random_codes(items, levels, codes)
  start = time.perf_counter()
  built = build_on_host(codes_NxL, every_prefix=False, codebook_size=codes)
  build_s = time.perf_counter() - start
  with tempfile.TemporaryDirectory() as folder:
    save_trie(Path(folder), built)
    start = time.perf_counter()
    jax.block_until_ready(load_trie_on_device(folder, verify=False))
    loaded = time.perf_counter()
    load_trie(folder)
    checked = time.perf_counter()
  trie = jax.device_put(built)
  return trie, {
    "bytes_per_item": trie.num_bytes / items,
    "build_s": build_s,
    "load_s": loaded - start,
    "load_checked_s": checked - loaded,
  }


def _measure_searches(
  trie: Trie, items: int, codes: int, levels: int, beams: int, sizes: Sizes
) -> dict[str, float]:
  model = make_model(items, levels, codes, sizes.positions, **sizes.model)
  from_states = model.clone(given_states=True)
  params, history = make_params(model), random_histories(model, sizes.batch)
  states = make_encode(model)(params, trie, history)

  def constrained(model):
    return lambda params, trie, x: beam.search(model, params, trie, x, SearchConfig(beams=beams))

  def unconstrained(model):
    return lambda params, trie, x: unconstrained_search(model, params, trie.codes_NxL, x, beams)

  searches = {
    "constrained": (constrained(from_states), states),
    "unconstrained": (unconstrained(from_states), states),
    "constrained_e2e": (constrained(model), history),
    "unconstrained_e2e": (unconstrained(model), history),
  }
  runs = {}
  for name, (search, x) in searches.items():
    compiled = jax.jit(search).lower(params, trie, x).compile()
    runs[name] = functools.partial(compiled, params, trie, x)
  seconds = alternate(runs, sizes.repeats)
  return {
    **{f"{name}_ms": 1e3 * value for name, value in seconds.items()},
    "overhead": seconds["constrained"] / seconds["unconstrained"] - 1,
    "overhead_e2e": seconds["constrained_e2e"] / seconds["unconstrained_e2e"] - 1,
  }


def _headlines(measured: dict[str, Any], sizes: Sizes) -> dict[str, float]:
  """The worst overhead for each number of codes, and the index of the largest catalogue."""
  found = {}
  for codes in sizes.codes:
    for kind in ("overhead", "overhead_e2e"):
      cases = [
        value
        for name, value in measured.items()
        if name.startswith(f"{kind}_n") and f"_v{codes}_" in name
      ]
      if cases:
        found[f"constraint_{kind}_v{codes}_max"] = max(cases)
  for name in ("bytes_per_item", "build_s", "load_s"):
    if (largest := f"{name}_n10000000_v2048_l8") in measured:
      found[f"{name}_1e7"] = measured[largest]
  return found


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  numbers: dict[str, Any] = {
    name: getattr(values, name) for name in ("items", "codes", "levels", "beams")
  }
  sizes = Sizes(**numbers, batch=values.batch, positions=values.positions, repeats=values.repeats)
  print(hardware())
  with one_sentence():
    if values.workdir:
      measured = trie_of_run.measure(values.workdir, sizes.batch, sizes.repeats)
    else:
      print(f"{sizes.batch} histories of {sizes.positions} items, medians of {sizes.repeats} runs")
      measured = measure(sizes)
  for name, value in _headlines(measured, sizes).items():
    print(f"{name:<36}{value:.4g}")
  write_json(values.json, {**measured, "repeats": sizes.repeats, "hardware": hardware()})


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
