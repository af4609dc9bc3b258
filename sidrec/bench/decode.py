"""The search beside other layouts, other libraries and exact retrieval; and what beams miss.

  pip install 'sidrec[bench]'
  python -m sidrec.bench.decode --json=decode.json
  python -m sidrec.bench.decode --json=decode.json --parts=layouts,growth --plot=growth.png
  python -m sidrec.bench.decode --json=decode.json --parts=recall,throughput --workdir=runs/ml1m

Parts: `layouts` (`sidrec.bench.layouts`), `growth` (`sidrec.bench.growth`), and `recall` and
`throughput` (`sidrec.bench.beam_recall`, `sidrec.bench.throughput`), which want the work directory
of a finished run, and search by its settings. Each part says which parameters its model has. Times
are medians of warm, synchronised calls, everything compared taking turns.
"""

from collections.abc import Sequence
from typing import Any

from absl import app, flags

from sidrec.bench import beam_recall, growth, growth_plots, layouts, throughput
from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json
from sidrec.core.paths import as_path
from sidrec.parallel.hardware import hardware

PARTS = ("layouts", "growth", "recall", "throughput")
_NUMBERS = {
  "batches": (layouts.Sizes().batches, "Layouts: histories of a search."),
  "positions": (layouts.Sizes().positions, "Layouts: items of a history."),
  "beams": (layouts.Sizes().beams, "Layouts: beams of a search."),
  "items": (growth.Sizes().items, "Growth: sizes of the catalogue."),
  "recall_beams": ((10, 20, 50), "Recall: beams of a search."),
}


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_string("plot", None, "Growth: draw to this PNG file.", flag_values=values)
  flags.DEFINE_string(
    "workdir", None, "Recall and throughput: of a finished run.", flag_values=values
  )
  flags.DEFINE_list("parts", list(PARTS[:2]), f"Of {', '.join(PARTS)}.", flag_values=values)
  flags.DEFINE_bool("generate", True, "Layouts: transformers, too.", flag_values=values)
  for name, (default, help_text) in _NUMBERS.items():
    define_numbers(name, default, help_text, values)
  define = flags.DEFINE_integer
  define("repeats", 20, "Timed runs of each.", lower_bound=1, flag_values=values)
  define("catalogue", 12_000, "Layouts: items.", lower_bound=1, flag_values=values)
  define(
    "hnsw_items", growth.Sizes().hnsw_items, "Growth: most items for HNSW.", flag_values=values
  )
  define("users", 500, "Recall: users to draw.", lower_bound=1, flag_values=values)


def measure(values: flags.FlagValues) -> dict[str, Any]:
  """The parts asked for; a flat dict of figures."""
  numbers = {name: getattr(values, name) for name in _NUMBERS}
  measured: dict[str, Any] = {}
  if "layouts" in values.parts:
    sizes = layouts.Sizes(
      batches=numbers["batches"],
      positions=numbers["positions"],
      beams=numbers["beams"],
      items=values.catalogue,
      repeats=values.repeats,
      generate=values.generate,
    )
    measured |= layouts.measure(sizes)
  if "growth" in values.parts:
    sizes = growth.Sizes(
      items=numbers["items"], hnsw_items=values.hnsw_items, repeats=values.repeats
    )
    measured |= growth.measure(sizes)
  if "recall" in values.parts:
    measured |= beam_recall.measure(as_path(values.workdir), numbers["recall_beams"], values.users)
  if "throughput" in values.parts:
    measured |= throughput.measure(as_path(values.workdir), min(values.repeats, 5))
  return measured


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  if unknown := set(values.parts) - set(PARTS):
    raise app.UsageError(f"no part {unknown.pop()!r}; there are {', '.join(PARTS)}")
  if {"recall", "throughput"} & set(values.parts) and not values.workdir:
    raise app.UsageError("recall and throughput need --workdir, the folder of a finished run")
  print(hardware())
  with one_sentence():
    measured = measure(values)
  for name, value in measured.items():
    if name in HEADLINES:
      print(f"{name:<28}{value:.4g}")
  write_json(values.json, {**measured, "repeats": values.repeats, "hardware": hardware()})
  if values.plot and "growth" in values.parts:
    with one_sentence():
      growth_plots.plot_sizes(measured, values.items, as_path(values.plot))


HEADLINES = (
  *("speedup_vs_tiled", "speedup_vs_tiled_e2e", "speedup_vs_tiled_keys_anew"),
  *("tempmem_vs_tiled", "tempmem_vs_tiled_e2e"),
  *("speedup_vs_generate_b32", "speedup_vs_generate_e2e_b32", "speedup_vs_generate_b1"),
  *("growth_1e7_over_1e4", "crossing_items", "crossing_flat_items"),
  *("beam_recall_50", "exact_match_50", "served_recall_50", "illegal_share"),
  *("bf16_overlap", "users_per_s", "users_per_s_k10"),
)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
