"""What a training step would take on many chips: a prediction, not a measurement.

Each chip has its own rows of the batch, all parameters, and after the backward pass takes part in
one all-reduce of the gradient. A step then takes

  max(F / (p · MFU), A / h)  +  2 (n - 1) / n · G / w  +  hops · t

with F model FLOPs and A bytes accessed by one chip's rows, p its peak, h its memory bandwidth, G
the gradient's bytes, n chips, w the bandwidth of its links, and t the time of a hop. The gradient
is reduced in one operation at the end, so nothing hides it behind computation.
"""

import functools
import math
from typing import Any, NamedTuple, cast

import jax

from sidrec.bench.scale_training import Size, abstract_key, make_training
from sidrec.training.meter import training_flops
from sidrec.training.state import init_state, update

CHIPS_COUNTED = (8, 16, 32, 64, 128, 256)


class Chip(NamedTuple):
  """Bandwidths are bytes a second; links are both neighbours of one ring, one way each."""

  peak_flops: float  # dense bfloat16
  memory: float
  links: float
  source: str


_BOOK = "'How to Scale Your Model' (jax-ml.github.io/scaling-book), tables of TPUs"
CHIPS = {
  "TPU v5e": Chip(197e12, 8.1e11, 9e10, _BOOK),
  "TPU v5p": Chip(459e12, 2.8e12, 1.8e11, _BOOK),
  "TPU v6e": Chip(918e12, 1.6e12, 1.8e11, _BOOK),
  "H100": Chip(989e12, 3.35e12, 5e10, "NVIDIA's data sheet; 400 Gbit/s InfiniBand a GPU"),
}


class StepCost(NamedTuple):
  """What one chip does in a step, for its own rows."""

  rows: int
  model_flops: float  # products of matrices, three times the forward pass
  compiled_flops: float  # XLA's count of all operations; the body of a loop counts once
  compiled_bytes: float  # XLA's count of bytes accessed
  gradient_bytes: int
  parameters: int


ASSUMPTIONS = {
  "scaling": "weak: every chip has the same number of rows, whatever their number",
  "mfu": "share of the peak that products of matrices reach, --mfu",
  "memory": (
    "bytes accessed are XLA's count for the program compiled for the machine this runs on, in "
    "float32; fusion on another chip, and bfloat16, would make them fewer"
  ),
  "network": (
    "ring all-reduce: 2 (n - 1) / n of the float32 gradient leave and reach each chip; hops on a "
    "square torus, 1 microsecond each; no overlap with computation"
  ),
  "input": "batches are ready when they are needed",
}
_HOP = 1e-6  # seconds


def step_cost(size: Size, rows: int) -> StepCost:
  """Compiles a step of `rows` rows for one device, without running it."""
  training = make_training(size)
  start = functools.partial(init_state, training.task, training.optimizer, averaged=True)
  state = jax.eval_shape(start, abstract_key())
  batch = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), training.batches(rows, 0, 1)(0)
  )

  def step(state: Any, batch: Any) -> Any:
    return update(training.task, training.optimizer, state, batch, 0.999)

  analysis = cast(dict[str, float], jax.jit(step).lower(state, batch).compile().cost_analysis())
  leaves = jax.tree.leaves(state.params)
  return StepCost(
    rows=rows,
    model_flops=training_flops(training.task.loss, state.params, state.aux, batch, abstract_key()),
    compiled_flops=float(analysis["flops"]),
    compiled_bytes=float(analysis["bytes accessed"]),
    gradient_bytes=sum(x.size * x.dtype.itemsize for x in leaves),
    parameters=sum(x.size for x in leaves),
  )


def predict(cost: StepCost, chip: Chip, chips: int, mfu: float) -> dict[str, float]:
  """Seconds of a step and network bytes of each chip; see the formula above."""
  compute = max(cost.model_flops / (chip.peak_flops * mfu), cost.compiled_bytes / chip.memory)
  moved = 2 * (chips - 1) / chips * cost.gradient_bytes
  height = 2 ** (int(math.log2(chips)) // 2)
  hops = 2 * (height - 1 + chips // height - 1)
  network = moved / chip.links + hops * _HOP
  return {
    "chips": chips,
    "global_rows": chips * cost.rows,
    "compute_s": compute,
    "network_bytes_per_chip": moved,
    "network_s": network,
    "step_s": compute + network,
    "rows_per_s": chips * cost.rows / (compute + network),
    "efficiency": compute / (compute + network),
  }


def table(cost: StepCost, mfu: float) -> list[dict[str, Any]]:
  """The predictions for all kinds and numbers of chips."""
  return [
    {"chip": name, **predict(cost, chip, chips, mfu)}
    for name, chip in CHIPS.items()
    for chips in CHIPS_COUNTED
  ]


def lines(cost: StepCost, rows: list[dict[str, Any]]) -> list[str]:
  """The table as text."""
  head = (
    f"one chip, {cost.rows} rows a step: {cost.model_flops / 1e9:.3g} model GFLOPs "
    f"({cost.compiled_flops / 1e9:.3g} compiled), {cost.compiled_bytes / 2**20:.4g} MiB accessed, "
    f"gradient of {cost.gradient_bytes / 2**20:.3g} MiB ({cost.parameters:,} parameters)"
  )
  columns = f"{'chip':<8}{'chips':>6}{'rows':>8}{'compute ms':>12}{'network ms':>12}"
  columns += f"{'step ms':>9}{'MiB/chip':>10}{'rows/s':>11}{'efficiency':>12}"
  body = [
    f"{row['chip']:<8}{row['chips']:>6}{row['global_rows']:>8}{1e3 * row['compute_s']:>12.3f}"
    f"{1e3 * row['network_s']:>12.3f}{1e3 * row['step_s']:>9.3f}"
    f"{row['network_bytes_per_chip'] / 2**20:>10.2f}{row['rows_per_s']:>11.4g}"
    f"{row['efficiency']:>12.1%}"
    for row in rows
  ]
  return [head, columns, *body]
