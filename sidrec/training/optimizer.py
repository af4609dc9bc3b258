"""The optimiser of every trained thing."""

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
  """AdamW behind a global-norm clip.

  Vectors (norm scales, biases) are not decayed.

  Args:
    learning_rate: the peak.
    warmup_steps: of the schedule.
    steps: at which a cosine decay ends.
    weight_decay: decoupled (Loshchilov & Hutter, 2019).
    clip_norm: of the gradient.
    schedule: 'cosine', linear warm-up (over at most half of `steps`) and cosine decay to 2% of
      the peak; or 'inverse_sqrt', at its peak for `warmup_steps`, then falling with one over the
      square root of the step (Raffel et al., 2020).

  Raises:
    ValueError: for another schedule.
  """
  match schedule:
    case "cosine":
      rate = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(warmup_steps, steps // 2), steps, 0.02 * learning_rate
      )
    case "inverse_sqrt":
      peak = max(warmup_steps, 1)
      rate = lambda step: learning_rate * jnp.sqrt(peak / jnp.maximum(step, peak))
    case _:
      raise ValueError(f"train.schedule must be 'cosine' or 'inverse_sqrt', not {schedule!r}")
  matrices = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(rate, weight_decay=weight_decay, mask=matrices),
  )
