"""Batches for any number of devices: rows without an event fill up what the devices share.

Such rows have no target, so that they add nothing to a loss or a gradient. They stand behind all
others, where they change no row's place in the batch, and with it no mask of dropout.
"""

from collections.abc import Callable

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import BatchAt
from sidrec.data.columns import filler_of


def spread(
  make_batches: Callable[[int, int, int], BatchAt],
  batch_size: int,
  rows: int,
  process_index: int = 0,
  process_count: int = 1,
) -> BatchAt:
  """One process's share of batches that are filled up to so many rows.

  Args:
    make_batches: (batch size, process, number of processes) → batches, such as
      `batches.packed_batches` of some histories.
    batch_size: B, examples of all processes together.
    rows: B or more, a multiple of the number of processes. If it is B, nothing is filled up, and
      each process makes its own examples alone. If not, each makes them all and takes its share.
    process_index: of this process.
    process_count: number of processes.

  Returns:
    step → arrays [rows / process_count, …].
  """
  if rows == batch_size:
    return make_batches(batch_size, process_index, process_count)
  share = rows // process_count
  first, batch_at = process_index * share, make_batches(batch_size, 0, 1)

  def filled(name: str, x_Bx: np.ndarray) -> np.ndarray:
    of_process = x_Bx[first : first + share]
    full = np.full((share, *x_Bx.shape[1:]), _filler(name, x_Bx), x_Bx.dtype)
    full[: len(of_process)] = of_process
    return full

  return lambda step: {name: filled(name, x_Bx) for name, x_Bx in batch_at(step).items()}


def _filler(name: str, x_Bx: np.ndarray) -> float:
  """What stands in a row without an event."""
  if name.startswith(("history_", "target_", "earlier_")):
    return NO_ITEM
  if name == "segment_BxS":  # that of other fillers, see `batches.packed_batches`
    return x_Bx.shape[1]
  return filler_of(name)
