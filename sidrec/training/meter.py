"""The speed of a training: steps, tokens and model FLOPs a second, and model FLOPs utilisation.

Model FLOPs of a step are three times those of the matrix products of a forward pass, because the
backward pass has twice as many (Chowdhery et al., 2022, arXiv:2204.02311, appendix B). They are
counted in the traced program, which compiles nothing and, unlike XLA's cost analysis, counts a
loop's body as often as it runs; recomputed activations and micro-batches do not change them.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jax.sharding import Mesh

PyTree = Any

# Dense bfloat16 FLOP/s of one JAX device, by the start of its `device_kind`, longest first.
# Sources: cloud.google.com/tpu/docs (system architecture), NVIDIA's data sheets.
PEAK_FLOPS: dict[str, float] = {
  "TPU7x": 2307e12 / 2,  # a chip is two devices
  "TPU v6 lite": 918e12,
  "TPU v5 lite": 197e12,
  "TPU v5": 459e12,
  "TPU v4": 275e12,
  "TPU v3": 123e12 / 2,
  "TPU v2": 45e12 / 2,
  "NVIDIA B200": 2250e12,
  "NVIDIA H200": 989e12,
  "NVIDIA H100": 989e12,
  "NVIDIA A100": 312e12,
}


class Meter:
  """Measures rates between readings. The first reading is empty: it would count compilation."""

  def __init__(
    self,
    flops_per_step: float,
    devices: int,
    peak_flops: float | None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Sets up the measurement; the clock starts at the first reading.

    Args:
      flops_per_step: of the model; see `training_flops`.
      devices: that share a step.
      peak_flops: of one of them; None if unknown, and then no reading has 'mfu'.
      clock: in seconds.
    """
    self._flops, self._devices, self._peak, self._clock = flops_per_step, devices, peak_flops, clock
    self._step, self._time = 0, math.inf

  def restart(self, step: int) -> None:
    """Counts from now on, so that a validation does not count."""
    self._step, self._time = step, self._clock()

  def read(self, step: int, tokens: float | None) -> dict[str, float]:
    """Rates of the steps since the last call, by name.

    Args:
      step: the steps done so far.
      tokens: of one step; None where a step has none.
    """
    steps, seconds = step - self._step, self._clock() - self._time
    self.restart(step)
    if not steps or not 0 < seconds < math.inf:
      return {}
    rate = steps / seconds
    rates = {"steps_per_second": rate, "model_flops_per_second": rate * self._flops}
    if tokens is not None:
      rates["tokens_per_second"] = rate * tokens
    if self._peak is not None:
      rates["mfu"] = rate * self._flops / (self._devices * self._peak)
    return rates


def make_meter(loss: Callable[..., Any], state: Any, batches: PyTree, mesh: Mesh) -> Meter:
  """The meter of a training.

  Args:
    loss: of the `Task`.
    state: a `TrainState`, perhaps an abstract one.
    batches: of several steps, stacked.
    mesh: the devices.
  """
  batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batches)
  key = jax.eval_shape(lambda: jax.random.key(0))
  flops = training_flops(loss, state.params, state.aux, batch, key)
  return Meter(flops, mesh.devices.size, peak_flops(mesh.devices.flat[0]))


def peak_flops(device: jax.Device) -> float | None:
  """The device's peak by `PEAK_FLOPS`; None where the table lacks it, as for a CPU."""
  return next(
    (peak for kind, peak in PEAK_FLOPS.items() if device.device_kind.startswith(kind)), None
  )


def training_flops(loss: Callable[..., Any], *args: PyTree) -> float:
  """Model FLOPs of one step that differentiates `loss(*args)`; arrays may be abstract."""
  return 3.0 * matmul_flops(jax.make_jaxpr(loss)(*args).jaxpr)


def matmul_flops(jaxpr: core.Jaxpr) -> float:
  """FLOPs of all matrix products of a program; a loop counts as often as it runs.

  A `while` counts once, because the program does not say how often it runs; of a `cond` the
  most expensive branch counts.
  """
  total = 0.0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      shape = equation.invars[0].aval.shape  # pyrefly: ignore[missing-attribute]
      depth = math.prod(shape[axis] for axis in contracted)
      size = math.prod(equation.outvars[0].aval.shape)  # pyrefly: ignore[missing-attribute]
      total += 2.0 * size * depth
      continue
    inner = [matmul_flops(part) for part in _inner(equation.params)]
    if equation.primitive.name == "cond":
      total += max(inner, default=0.0)
    else:
      times = equation.params["length"] if equation.primitive.name == "scan" else 1
      total += times * sum(inner)
  return total


def _inner(params: dict[str, Any]) -> list[core.Jaxpr]:
  """The programs in an equation's parameters."""
  programs = (core.Jaxpr, core.ClosedJaxpr)  # one class from jax 0.12 on
  leaves = jax.tree.leaves(list(params.values()), is_leaf=lambda x: isinstance(x, programs))
  found = [x for x in leaves if isinstance(x, programs)]
  return [x.jaxpr if isinstance(x, core.ClosedJaxpr) else x for x in found]


def human(rates: dict[str, float]) -> str:
  """For a progress line: '12.3k tokens/s  MFU 41.2%', or as much as is known."""
  parts = []
  if "tokens_per_second" in rates:
    parts.append(f"{_short(rates['tokens_per_second'])} tokens/s")
  if "model_flops_per_second" in rates:
    parts.append(f"{_short(rates['model_flops_per_second'])}FLOP/s")
  if "mfu" in rates:
    parts.append(f"MFU {rates['mfu']:.1%}")
  return "  ".join(parts)


def _short(x: float) -> str:
  """12345 → '12.3k'."""
  for power, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
    if x >= power:
      return f"{x / power:.3g}{unit}"
  return f"{x:.3g}"
