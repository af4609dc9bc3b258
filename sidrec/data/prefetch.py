"""Batches made ahead by threads, behind the contract of `batches`: a function of the step."""

from collections.abc import Iterator
from typing import Any

from sidrec.data.batches import BatchAt

_STEPS = 1 << 31  # more than any run has


def prefetched(batch_at: BatchAt, num_threads: int = 2, ahead: int = 8) -> BatchAt:
  """`batch_at` with the batches of the next steps in the making.

  Asked for consecutive steps, it returns what Grain's threads have made meanwhile; asked for any
  other, it starts anew from there. What it returns is the same.

  Args:
    batch_at: makes the batch of a step; called by several threads at once.
    num_threads: that make batches.
    ahead: batches that may wait for their turn.
  """
  import grain  # takes a while, and most runs do not need it

  steps = grain.MapDataset.range(_STEPS).map(batch_at)
  options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
  batches: Iterator[Any] = iter(())
  next_step = -1

  def at(step: int) -> dict[str, Any]:
    nonlocal batches, next_step
    if step != next_step:
      batches = iter(steps[step:].to_iter_dataset(options))
    next_step = step + 1
    return next(batches)

  return at
