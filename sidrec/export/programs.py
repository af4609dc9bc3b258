"""The search as StableHLO: one program for each width of histories and lists, for any batch size.

A program takes its arrays as a flat list, so that whoever calls it needs no class of sidrec. What
is fixed when it is traced (`statics_of`) is in no shape: two catalogues may have arrays of equal
shapes and need different programs. So a digest of it is in the name of every program, and among
the arrays.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.settings import to_dict
from sidrec.data.events import Events
from sidrec.data.inputs import KnownInputs
from sidrec.data.user_attributes import as_json
from sidrec.models.base import SemanticIDModel
from sidrec.search.batched import history_width
from sidrec.search.buckets import NARROWEST, bucket_function, lists_ahead
from sidrec.search.checks import check_fit
from sidrec.search.settings import SearchConfig

PLATFORMS = ("cpu", "cuda", "tpu")
STATICS = "statics"  # the name of the digest among the arrays


class Searched(NamedTuple):
  """What a search needs, except for requests."""

  model: SemanticIDModel
  params: dict
  trie: Trie
  config: SearchConfig


class Widths(NamedTuple):
  """What a program takes."""

  history: int  # columns, without that of the user's token
  listed: int
  allows: bool

  @property
  def name(self) -> str:
    """Of the program."""
    return f"{'allow' if self.allows else 'exclude'}_h{self.history}_l{self.listed}"


def widths_of(searched: Searched) -> list[Widths]:
  """The programs of a bundle, narrowest histories first.

  The whole length with the lists that a server compiles, and what `history_width` makes of shorter
  histories, with short lists alone.
  """
  length = searched.model.config.history_length
  shorter = {history_width(longest, length) for longest in range(1, length + 1)} - {length}
  found = [Widths(width, NARROWEST, False) for width in shorter]
  found += [Widths(length, *lists) for lists in lists_ahead(int(searched.trie.used))]
  return sorted(found)


def statics_of(searched: Searched) -> dict[str, Any]:
  """All that is fixed when a program is traced, as JSON holds it."""
  model, trie = searched.model, searched.trie
  config = searched.config.what_ranks()
  for name in ("temperature", "batch_size", "results"):  # given with requests, or of no search
    del config[name]
  of_trie = ("fan_outs", "kinds", "every_prefix", "origin", "filling")
  statics = {
    "model": to_dict(model.config),
    "sizes": dataclasses.asdict(model.sizes),
    "search": config,
    "trie": {name: getattr(trie, name) for name in of_trie},
    "codes": {"bits": trie.codes_NxL.bits, "num_levels": trie.codes_NxL.num_levels},
    "num_items": int(trie.used),
  }
  if isinstance(model.config.inputs, KnownInputs):
    statics["model"]["inputs"]["known"] = as_json(model.config.inputs.known)
  return json.loads(json.dumps(statics, allow_nan=False))


def digest(statics: dict[str, Any]) -> str:
  """The SHA-256 of statics, in hexadecimal digits."""
  return hashlib.sha256(json.dumps(statics, sort_keys=True).encode()).hexdigest()


def arrays_of(searched: Searched) -> dict[str, np.ndarray]:
  """The parameters and the trie by name, in the order in which programs take them, on the host.

  Raises:
    ValueError: for a type that .npy files do not have, or parameters of another catalogue.
  """
  check_fit(*searched[:3])
  arrays = dict(zip(_names(searched), map(np.asarray, _leaves(searched)), strict=True))
  for name, array in arrays.items():
    if array.dtype.kind not in "biuf":
      raise ValueError(f"{name} is {array.dtype}, which no .npy file holds; save it as float32")
  return arrays


def exported(searched: Searched, widths: Widths, sha256: str) -> bytes:
  """A program: (arrays, history_BxS, listed_BxJ, temperature_B) → items, scores, which are real.

  A model that reads more than items takes it after the temperatures, as `columns_read` says.

  Args:
    searched: the model and its catalogue.
    widths: of the requests.
    sha256: the digest of the statics, which becomes part of the program's name.
  """
  function = _flat(searched, widths)
  function.__name__ = f"{widths.name}_{sha256}"
  (batch,) = jax.export.symbolic_shape("b")
  columns = searched.model.config.input_length - searched.model.config.history_length
  specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in _leaves(searched)]
  with _bare_locations():
    made = jax.export.export(jax.jit(function), platforms=PLATFORMS)(
      specs,
      jax.ShapeDtypeStruct((batch, columns + widths.history), np.int32),
      jax.ShapeDtypeStruct((batch, widths.listed), np.int32),
      jax.ShapeDtypeStruct((batch,), np.float32),
      *(
        jax.ShapeDtypeStruct((batch, columns_of(name, searched.model, widths)), dtype)
        for name, dtype in columns_read(searched.model).items()
      ),
    )
  return bytes(made.serialize())


def columns_read(model: SemanticIDModel) -> dict[str, type]:
  """What a model reads beside items, by the names of `Events` and in their order."""
  inputs = model.config.inputs
  read = {
    "time_BxS": (inputs.times, np.int32),
    "asked_BxS": (inputs.asks, np.int32),
    "rating_BxS": (inputs.rating, np.float32),
    "action_BxS": (bool(inputs.actions), np.int32),
    "earlier_BxX": (inputs.earlier, np.int32),
    "user_BxX": (bool(inputs.user_attributes), np.int32),
  }
  return {name: dtype for name, (is_read, dtype) in read.items() if is_read}


def columns_of(name: str, model: SemanticIDModel, widths: Widths) -> int:
  """How many columns an array of `columns_read` has."""
  inputs = model.config.inputs
  of_request = {"earlier_BxX": inputs.earlier, "user_BxX": len(inputs.user_attributes)}
  return of_request.get(name, widths.history)


@contextlib.contextmanager
def _bare_locations() -> Iterator[None]:
  """Programs name the files that their operations come from: without folders or call stacks."""
  wanted = {
    "jax_include_full_tracebacks_in_locations": False,
    "jax_hlo_source_file_canonicalization_regex": ".*/",
  }
  before = {name: getattr(jax.config, name) for name in wanted}
  try:
    for name, value in wanted.items():
      jax.config.update(name, value)
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)


def _flat(searched: Searched, widths: Widths) -> Callable:
  find = bucket_function(searched.model, searched.config.uncertified, widths.allows)
  tree = jax.tree.structure((searched.params, searched.trie))
  names = tuple(columns_read(searched.model))

  def program(leaves, history_BxS, listed_BxJ, temperature_B, *columns):
    params, trie = jax.tree.unflatten(tree, leaves)
    if names:
      history_BxS = Events(history_BxS, **dict(zip(names, columns, strict=True)))
    return tuple(find(params, trie, history_BxS, listed_BxJ, temperature_B))

  return program


def _leaves(searched: Searched) -> list[Any]:
  return jax.tree.leaves((searched.params, searched.trie))


def _names(searched: Searched) -> list[str]:
  paths, _ = jax.tree.flatten_with_path({"params": searched.params, "trie": searched.trie})
  return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
