"""Blocks of item vectors that plugins register, from what describes items or from histories."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import numpy as np

from sidrec.core.plugged import Chosen, Register
from sidrec.data.dataset import Histories, Items
from sidrec.data.parts import take_items

Source = Literal["items", "histories"]

BUILT_IN = ("content", "cooccurrence", "item2vec", "sasrec", "text", "image", "audio", "whiten")
_ALONE = 3  # items that are described again, each by itself

BLOCKS = Register(
  "feature block",
  "features.plugins",
  ("weight", 0.0),
  ("known", "items"),
  lambda name: name in BUILT_IN,
)


def register_features(
  name: str,
  function: Callable[..., Any] | None = None,
  settings: Any = None,
  *,
  learns_from: Source = "items",
  files: Callable[..., Iterable[str]] | None = None,
) -> Any:
  """Makes a block of item vectors known by a name: `@register_features("years")`.

  Args:
    name: of the block, and of `config.features.plugins.<name>`, where `weight` decides how much it
      counts; at 0, the default, it is left out.
    function: what makes the vectors, float [items, F] with any F. Where `learns_from` is 'items',
      it is (catalogue, items) → a vector for each of `items`, which may be new ones. Means and
      vocabularies are to be taken from `catalogue`, so that an item has one vector, whatever items
      are asked for with it. Where it is 'histories', it is (training, items) → a vector for each
      item of the catalogue, learnt from the training interactions; new items get those of the items
      with the most similar descriptions.
    settings: a frozen dataclass of its own settings with their defaults, which the function gets
      as a third argument.
    learns_from: 'items' or 'histories'.
    files: settings (or nothing, where there are none) → the files that it reads. Their contents
      count as inputs of the semantic IDs.

  Raises:
    ValueError: if the name is taken or no Python name, the function takes other arguments, or for
      another `learns_from`.
    TypeError: for settings that are no instance of a dataclass.
  """
  if learns_from not in get_args(Source):
    raise ValueError(
      f"the feature block {name!r} learns from {learns_from!r}; choose 'items' or 'histories'"
    )
  return BLOCKS.add(name, function, settings, files, {"learns_from": learns_from})


def chosen_blocks(plugins: dict[str, Any], source: Source) -> list[Chosen]:
  """The blocks with a weight in `config.features.plugins` that learn from this source."""
  return [x for x in BLOCKS.chosen(plugins) if x.plugged.options["learns_from"] == source]


def described(chosen: Chosen, catalogue: Items, items: Items) -> np.ndarray:
  """The vectors of items by what describes them: float [M, F].

  Raises:
    ValueError: if the block fails, gives no finite vector for each item, or gives an item of the
      catalogue another vector alone than among the others.
  """
  vectors_MxF = _checked(chosen, chosen(catalogue, items), items.num_items)
  if items is not catalogue:
    return vectors_MxF
  for row in np.linspace(0, items.num_items - 1, _ALONE).astype(int):
    alone = chosen(catalogue, take_items(catalogue, np.array([row])))
    alone_1xF = _checked(chosen, alone, 1)
    same = alone_1xF.shape[1] == vectors_MxF.shape[1]
    if not same or not np.allclose(alone_1xF[0], vectors_MxF[row], rtol=1e-3, atol=1e-5):
      raise ValueError(
        f"{chosen.plugged} gives item row {row} another vector alone than with the whole "
        "catalogue, so new items could not be compared; take what it learns from `catalogue`, not "
        "from `items`, or register it with learns_from='histories'"
      )
  return vectors_MxF


def learnt(chosen: Chosen, training: Histories, items: Items) -> np.ndarray:
  """The vectors of the catalogue's items from the training interactions: float [N, F].

  Raises:
    ValueError: if the block fails, or gives no finite vector for each item.
  """
  return _checked(chosen, chosen(training, items), items.num_items)


def _checked(chosen: Chosen, found: Any, num_items: int) -> np.ndarray:
  """What a block returned, as floats [items, F]."""
  wanted = f"give finite numbers [{num_items}, F], a row for each item"
  try:
    vectors_NxF = np.asarray(found)
  except ValueError:  # rows of different lengths
    raise ValueError(f"{chosen.plugged} returns rows of different lengths; {wanted}") from None
  shape = list(vectors_NxF.shape)
  is_table = len(shape) == 2 and shape[0] == num_items and shape[1] > 0
  if vectors_NxF.dtype.kind not in "biuf" or not is_table:
    raise ValueError(
      f"{chosen.plugged} returns values of type {vectors_NxF.dtype} and shape {shape}; {wanted}"
    )
  fits_NxF = np.abs(vectors_NxF.astype(np.float64)) <= np.finfo(np.float32).max
  if not fits_NxF.all():
    row = int(np.argwhere(~fits_NxF)[0][0])
    raise ValueError(f"{chosen.plugged} returns a value that is not finite for item row {row}")
  return vectors_NxF.astype(np.float32)
