"""The optimiser of every trained thing."""

import jax
import optax


def adamw(
  learning_rate: float, warmup_steps: int, steps: int, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
  """AdamW behind a global-norm clip, with linear warm-up and cosine decay to 2% of the peak.

  Vectors (norm scales, biases) are not decayed.

  Args:
    learning_rate: the peak.
    warmup_steps: steps up to the peak; at most half of `steps` is used.
    steps: at which the decay ends.
    weight_decay: decoupled (Loshchilov & Hutter, 2019).
    clip_norm: of the gradient.
  """
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, learning_rate, min(warmup_steps, steps // 2), steps, 0.02 * learning_rate
  )
  matrices = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(schedule, weight_decay=weight_decay, mask=matrices),
  )
