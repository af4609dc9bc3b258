"""The optimiser of every trained thing."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adamw(
  learning_rate: float,
  warmup_steps: int,
  steps: int,
  weight_decay: float,
  clip_norm: float,
  schedule: str = "cosine",
) -> optax.GradientTransformation:
  """AdamW after a clip of the gradient's global norm.

  Vectors (norm scales, biases) are not decayed.

  Args:
    learning_rate: the peak.
    warmup_steps: see `schedule`.
    steps: at which the cosine decay ends.
    weight_decay: decoupled (Loshchilov & Hutter, 2019).
    clip_norm: of the gradient.
    schedule: of the learning rate. 'cosine' is a linear warm-up (over at most half of `steps`) and
      a cosine decay to 2% of the peak; 'inverse_sqrt' stays at the peak for `warmup_steps`, then
      falls with the inverse square root of the step (Raffel et al., 2020).

  Raises:
    ValueError: for another schedule.
  """
  match schedule:
    case "cosine":
      rate = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(warmup_steps, steps // 2), steps, 0.02 * learning_rate
      )
    case "inverse_sqrt":
      rate = functools.partial(_inverse_sqrt, learning_rate, max(warmup_steps, 1))
    case _:
      raise ValueError(f"train.schedule must be 'cosine' or 'inverse_sqrt', not {schedule!r}")
  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(rate, weight_decay=weight_decay, mask=_is_decayed),
  )


def _inverse_sqrt(peak: float, steps_at_peak: int, step: jax.Array) -> jax.Array:
  return peak * jnp.sqrt(steps_at_peak / jnp.maximum(step, steps_at_peak))


def _is_decayed(params: Any) -> Any:
  return jax.tree.map(lambda x: x.ndim > 1, params)
