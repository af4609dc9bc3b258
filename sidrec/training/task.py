"""What is trained (`Task`)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from sidrec.training.table_rows import LazyTables

PyTree = Any


class Task(NamedTuple):
  """A thing to train, as pure functions.

  Attributes:
    init: key → (params, aux). `aux` is what training updates without gradients
      (codebook statistics, for example); an empty tuple where there is none.
    loss: (params, aux, batch, key) → (scalar loss, (aux, metrics)); metrics is a
      dict of scalars. Differentiated with respect to params.
    amend: (params, aux, batch, key) → (params, aux), run after each optimiser
      update (to revive dead codes, for example); None where there is nothing to do.
    weight: batch → scalar, the number of targets that the loss is a mean over; it weights
      micro-batches. With it and without `aux`, each device computes the loss of its own
      examples, so no example's loss may depend on another example. None where all
      micro-batches have the same weight, or where examples depend on each other.
    tokens: batch → scalar, its real history positions, for the meter; None where it has none.
    arrays: pytree of what the loss reads next to parameters and batch, such as a catalogue.
    reading: arrays → the task that reads these instead. Compiled programs take `arrays` as an
      argument, so that others of the same shapes find the same program in a compilation cache.
      None where nothing is read; what `loss` holds in its closure is part of the program.
    lazy: tables of which `loss` gets some rows, as `TableRows`, and the optimiser changes these
      alone. None where there are no such tables. It needs parameters in a dict, steps of one
      micro-batch, and no `amend`.
  """

  init: Callable[[jax.Array], tuple[PyTree, PyTree]]
  loss: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, tuple[PyTree, dict]]]
  amend: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]] | None = None
  weight: Callable[[PyTree], jax.Array] | None = None
  tokens: Callable[[PyTree], jax.Array] | None = None
  arrays: PyTree = ()
  reading: Callable[[PyTree], "Task"] | None = None
  lazy: LazyTables | None = None
