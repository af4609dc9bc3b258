"""The cost model's tables: memory, time and network from 10^4 to 10^9 items, on 1 to 256 chips.

  python -m sidrec.bench.cost_model                    # the tables of docs/cost.md
  python -m sidrec.bench.cost_model --json=cost.json --chip='TPU v5e' --mfu=0.4

Nothing is run. The formulas are `cost_formulas`; constants are of two kinds, `MEASURED` on 2 CPU
cores and `ASSUMED`. Two models are followed: `plain`, that of configs/world.py:1e6, has no table by
item or trie node; `tables`, with the default sizes, has all of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import app, flags

from sidrec.bench.command import check_flags_alone, write_json
from sidrec.bench.cost_formulas import (
  FLOAT,
  STATE_COPIES,
  Catalogue,
  Shape,
  prefixes,
  search_bytes,
  search_flops,
  state_bytes,
  step_bytes,
  training_flops,
  trie_bytes,
  update_bytes,
)
from sidrec.bench.scale_table import CHIPS, Chip

ITEMS = tuple(10**power for power in range(4, 10))
CHIPS_COUNTED = (1, 8, 64, 256)
CODES = 256
MODELS = {
  "plain": Shape(width=128, heads_width=128, hidden=512, tables=False),
  "tables": Shape(),
}
BEAMS = 50
_FEWEST_STEPS = 1000  # of a training that makes sense

MEASURED = {
  "tokenizer_s": (
    17 / 4e6,
    "CPU seconds an item and level of balanced residual k-means, fit and encoding: 10^6 items of "
    "width 32, 4 levels of 256 codes",
  ),
  "search_s": (
    1.8e-3,
    "seconds a user of a search with 10 beams on 2 cores, history encoded: 4 + 4 layers of width "
    "128, 10^4 to 10^7 items",
  ),
  "examples_per_s": (26_000.0, "training examples of 50 items a second and core, from dense rows"),
}
ASSUMED = {
  "events": (20.0, "events of the log for each item"),
  "passes": (10.0, "times that a training sees each event"),
  "rows": (128.0, "histories of a step on each chip, however many chips there are"),
  "cores": (16.0, "cores of the host for each chip, which make its batches"),
  "memory": (80e9, "bytes of a chip, as an H100 has; more than a TPU v5e's 16e9"),
  "spare": (0.5, "share of the memory that activations and gradients leave for a training's state"),
  "width_F": (384.0, "numbers of an item vector"),
}


class Step(NamedTuple):
  """A training step on each chip, and the training."""

  compute: float  # seconds of products of matrices
  update: float  # seconds of the optimiser, which memory bounds
  network: float  # seconds
  input: float  # seconds of the host, meanwhile
  steps: float
  state: float  # bytes

  @property
  def seconds(self) -> float:
    """Of a step."""
    return max(self.compute + self.update + self.network, self.input)

  @property
  def most(self) -> str:
    """The name of what takes longest: the input, if the chip waits for it."""
    if self.input >= self.compute + self.update + self.network:
      return "input"
    return max(("compute", "update", "network"), key=lambda name: getattr(self, name))


def catalogue_of(items: int) -> Catalogue:
  """As few levels of 256 codes as give each item a hundred IDs to choose from."""
  levels = next(level for level in range(1, 9) if float(CODES) ** level >= 100 * items)
  return Catalogue(items, levels, CODES)


def fan_outs(catalogue: Catalogue) -> list[int]:
  """Most children at each depth, by guess: four standard deviations of Poisson above the mean."""
  found = []
  for depth in range(catalogue.levels):
    mean = prefixes(catalogue, depth + 1) / prefixes(catalogue, depth)
    found.append(min(catalogue.codes, round(mean + 4 * mean**0.5)))
  return found


def step_of(
  shape: Shape, catalogue: Catalogue, chip: Chip, chips: int, parts: int, mfu: float
) -> Step:
  """One step on so many chips, `parts` of them along 'model', which work on the same rows."""
  rows = int(ASSUMED["rows"][0])
  children = fan_outs(catalogue)
  flops = rows * training_flops(shape, catalogue, children)
  sent = step_bytes(shape, catalogue, rows, chips, parts, children)
  positions = rows * shape.positions * chips / parts
  events = ASSUMED["events"][0] * ASSUMED["passes"][0] * catalogue.items
  state = state_bytes(shape, catalogue, parts)
  return Step(
    compute=flops / (chip.peak_flops * mfu),
    update=update_bytes(state / STATE_COPIES / FLOAT) / chip.memory,
    network=sent / chip.links,
    input=rows / parts / (MEASURED["examples_per_s"][0] * ASSUMED["cores"][0]),
    steps=events / positions,
    state=state,
  )


def fewest_parts(shape: Shape, catalogue: Catalogue, chips: int) -> int | None:
  """The least `mesh.model` whose share of a training's state fits; None if no number does."""
  room = ASSUMED["memory"][0] * ASSUMED["spare"][0]
  parts = 1
  while parts <= chips:
    if state_bytes(shape, catalogue, parts) <= room:
      return parts
    parts *= 2
  return None


def memory_table() -> list[dict[str, Any]]:
  """By number of items: bytes of the trie, of a search, of a training's state and a checkpoint."""
  rows = []
  for items in ITEMS:
    catalogue = catalogue_of(items)
    row: dict[str, Any] = {
      "items": items,
      "levels": catalogue.levels,
      "vectors": items * ASSUMED["width_F"][0] * 4,
      "trie_small": trie_bytes(catalogue, every_prefix=False),
      "trie_every_prefix": trie_bytes(catalogue, every_prefix=True),
      "tokenizer_s": MEASURED["tokenizer_s"][0] * items * catalogue.levels,
    }
    for name, shape in MODELS.items():
      row[f"{name}_search"] = search_bytes(shape, catalogue)
      row[f"{name}_state"] = state_bytes(shape, catalogue)
      row[f"{name}_search_flops"] = search_flops(shape, catalogue, BEAMS)
    rows.append(row)
  return rows


def time_table(name: str, chip: Chip, mfu: float) -> list[dict[str, Any]]:
  """By numbers of items and chips: the seconds of a step of one model, and how many there are."""
  shape, rows = MODELS[name], []
  for items in ITEMS:
    catalogue = catalogue_of(items)
    for chips in CHIPS_COUNTED:
      row: dict[str, Any] = {"items": items, "chips": chips, "model": name}
      parts = fewest_parts(shape, catalogue, chips)
      if parts is not None:
        step = step_of(shape, catalogue, chip, chips, parts, mfu)
        row |= {"parts": parts, **step._asdict(), "step": step.seconds, "most": step.most}
      rows.append(row)
  return rows


def markdown(memory: list[dict[str, Any]], times: list[dict[str, Any]]) -> str:
  """Both tables, as docs/cost.md has them."""
  lines = [
    "| items | levels | item vectors | trie, small | trie, every prefix | plain: search | state | "
    "tables: search | state | tokenizer, CPU |",
    "| --- |" + " ---: |" * 9,
  ]
  for row in memory:
    sizes = ("vectors", "trie_small", "trie_every_prefix", "plain_search", "plain_state")
    sizes += ("tables_search", "tables_state")
    cells = [_power(row["items"]), str(row["levels"]), *(_bytes(row[name]) for name in sizes)]
    lines.append(f"| {' | '.join(cells)} | {_time(row['tokenizer_s'])} |")
  heads = [f"{chips} chip{'s' * (chips > 1)}" for chips in CHIPS_COUNTED]
  for name in MODELS:
    lines += ["", f"| {name}: items | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for items in ITEMS:
      of_items = [row for row in times if (row["items"], row["model"]) == (items, name)]
      lines.append(f"| {_power(items)} | {' | '.join(map(_cell, of_items))} |")
  return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
  """'3.2 h; 12 ms, network, model 4', or why there is no number."""
  if "parts" not in row:
    return "does not fit"
  if row["steps"] < _FEWEST_STEPS:
    return "too few steps"
  parts = f", model {row['parts']}" if row["parts"] > 1 else ""
  seconds = row["steps"] * row["step"]
  return f"{_time(seconds)}; {_milli(row['step'])} ms, {row['most']}{parts}"


def _power(items: int) -> str:
  return f"10^{len(str(items)) - 1}"


def _bytes(count: float) -> str:
  for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
    if count >= size:
      return f"{count / size:.3g} {unit}"
  return f"{count / 2**10:.3g} KiB"


def _milli(seconds: float) -> str:
  return f"{1e3 * seconds:.2f}" if seconds < 0.01 else f"{1e3 * seconds:.0f}"


def _time(seconds: float) -> str:
  for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
    if seconds >= size:
      return f"{seconds / size:.2g} {unit}"
  return f"{seconds:.2g} s"


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_enum("chip", "H100", list(CHIPS), "Whose data sheet counts.", flag_values=values)
  flags.DEFINE_float("mfu", 0.3, "Share of the peak, assumed.", 0.001, 1.0, flag_values=values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Prints the tables and their constants."""
  check_flags_alone(argv)
  chip, memory = CHIPS[values.chip], memory_table()
  times = [row for name in MODELS for row in time_table(name, chip, values.mfu)]
  print(markdown(memory, times))
  constants = {"measured": MEASURED, "assumed": ASSUMED}
  for kind, of_kind in constants.items():
    print("\n".join(["", *(f"{kind}: {number:g} {text}" for number, text in of_kind.values())]))
  print(
    f"assumed: {values.chip} with {chip.peak_flops:.3g} FLOP/s, of which {values.mfu:g}; memory of "
    f"{chip.memory:.3g} and links of {chip.links:.3g} bytes a second ({chip.source})"
  )
  found = {"memory": memory, "times": times, **constants}
  found |= {"chip": {"name": values.chip, **chip._asdict()}, "mfu": values.mfu}
  write_json(values.json, found)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
