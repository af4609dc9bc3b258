"""Models that plugins register: what they have to offer, and a check before they are trained."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie, children, paths
from sidrec.core.plugged import Chosen, check_signature, file_of
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.base import SemanticIDModel
from sidrec.models.inputs import example_events
from sidrec.models.interface import NextItemModel
from sidrec.models.settings import MODELS, CatalogueSizes, RecommenderConfig

# What a model defines: method → what it is called with.
METHODS = {
  "encode": ("self", "history_BxS", "codes_NxL", "beams", "num_items"),
  "step": ("self", "encoded", "caches", "token_BxK", "level", "children", "temperature"),
  "empty_caches": ("self", "batch", "beams"),
  "log_likelihood": (
    *("self", "history_BxS", "target_BxQ", "trie", "path_NxLp1", "segment_BxS", "train"),
  ),
}
_EXAMPLES = 4  # that are checked


def register_model(
  name: str,
  model: Any = None,
  settings: Any = None,
  *,
  files: Callable[..., Iterable[str]] | None = None,
) -> Any:
  """Makes a model of the next item known by a name: `@register_model("bigram")` before the class.

  Args:
    name: for `config.model.setting`.
    model: a subclass of `NextItemModel`, which documents what it has to define: `encode` and
      `step`, and `log_likelihood` if it is `causal`. Or one of `SemanticIDModel`, which has a
      decoder over the levels already and needs `encode_states` and `encode`.
    settings: a frozen dataclass of its own settings with their defaults. Configs have them as
      `config.model.plugins.<name>`, and the model as `self.settings`.
    files: settings (or nothing, where there are none) → the files that it reads. Their contents
      count as inputs of the training.

  Raises:
    ValueError: if the name is taken or no Python name, or the class lacks a method.
    TypeError: for settings that are no instance of a dataclass.
  """
  if model is not None:
    _check_class(name, model)
  registered = MODELS.add(name, model, settings, files)
  if model is not None:
    return registered

  def decorator(decorated: Any) -> Any:
    return register_model(name, decorated, settings, files=files)

  return decorator


def _check_class(name: str, model: Any) -> None:
  """Raises ValueError for what is no model, or lacks a method."""
  if not (isinstance(model, type) and issubclass(model, NextItemModel)):
    raise ValueError(
      f"the model {name!r} is {model!r}; give a subclass of sidrec.NextItemModel (docs/plug_in.md)"
    )
  what = f"the model {name!r} ({file_of(model)})"
  abstract: dict[str, tuple[Any, ...]] = {
    "encode": (NextItemModel.encode, SemanticIDModel.encode),
    "step": (NextItemModel.step,),
  }
  if issubclass(model, SemanticIDModel) and model.log_likelihood is SemanticIDModel.log_likelihood:
    abstract["encode_states"] = (SemanticIDModel.encode_states,)
  for method, undefined in abstract.items():
    if getattr(model, method) in undefined:
      raise ValueError(f"{what} lacks the method `{method}`; define it (docs/plug_in.md)")
  for method, arguments in METHODS.items():
    check_signature(f"`{method}` of {what}", getattr(model, method), arguments)
  if model.causal and model.log_likelihood is NextItemModel.log_likelihood:
    raise ValueError(
      f"{what} is causal and lacks the method `log_likelihood` for targets after each position; "
      "define it, or set causal = False"
    )


def chosen_model(config: RecommenderConfig) -> Chosen | None:
  """The registered model that the settings name, or None for one of sidrec's own."""
  if MODELS.taken(config.setting):
    return None
  return MODELS.choose(config.setting, config.plugins.get(config.setting, {}))


def make_registered(chosen: Chosen, config: RecommenderConfig, sizes: CatalogueSizes) -> Any:
  """A registered model for a catalogue.

  Raises:
    ValueError: if the settings want it to read what it does not read.
  """
  model = cast(type[NextItemModel], chosen.plugged.function)
  if config.inputs.any and not model.reads_events:
    raise ValueError(
      f"{chosen.plugged} reads items alone, and model.inputs asks for more; leave model.inputs as "
      "it is, or set reads_events = True in a model that does read it"
    )
  return model(config, sizes, chosen.settings)


def check_grows(model: NextItemModel) -> None:
  """Raises ValueError for a model whose parameters cannot move to a catalogue with other items."""
  if not vars(type(model)).get("grows", False):
    raise ValueError(
      f"the model {model.config.setting!r} cannot take in other items, as updates, new items and "
      "the server need; see `grows` in sidrec.NextItemModel"
    )


def check_agrees(chosen: Chosen, model: NextItemModel, trie: Trie) -> None:
  """Checks a registered model on some histories, with random parameters, before it is trained.

  Raises:
    ValueError: if it fails, its probabilities do not add up to 1, or `log_likelihood` and `step`
      disagree: it would be trained as one model, and searched as another.
  """
  rng, length = np.random.default_rng(0), model.config.history_length
  history_BxS = rng.integers(0, trie.num_items, (_EXAMPLES, length))
  filled_B = np.maximum(length * np.arange(1, _EXAMPLES + 1) // _EXAMPLES, 1)
  history_BxS = np.where(np.arange(length) < filled_B[:, None], history_BxS, NO_ITEM)
  events = example_events(jnp.asarray(history_BxS, jnp.int32), model.config)
  target_B = jnp.asarray(rng.integers(0, trie.num_items, _EXAMPLES), jnp.int32)
  at_B = filled_B - 1 if model.causal else np.zeros(_EXAMPLES, int)
  shape = (_EXAMPLES, length if model.causal else 1)
  target_BxQ = jnp.full(shape, NO_ITEM, jnp.int32).at[np.arange(_EXAMPLES), at_B].set(target_B)
  path_NxLp1 = paths(trie)

  def run(key):
    inputs = (events, target_BxQ, trie, path_NxLp1)
    params = model.init(key, *inputs, method="log_likelihood")
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(key, x.shape, x.dtype), params)
    trained = model.apply(params, *inputs, method="log_likelihood")
    inputs = (events, target_B[:, None], trie, path_NxLp1)
    searched = model.apply(params, *inputs, method=NextItemModel.log_likelihood)
    return trained, searched, model.apply(params, events, trie, method=_first_level)

  try:
    trained, searched, first_Bx1xC = jax.jit(run)(jax.random.key(0))
  except Exception as error:
    raise ValueError(f"{chosen.plugged} fails: {type(error).__name__}: {error}") from error
  if trained.shape != (*shape, trie.num_levels):
    raise ValueError(
      f"`log_likelihood` of {chosen.plugged} returns shape {list(trained.shape)}; give "
      f"{[*shape, trie.num_levels]}: histories, targets, levels"
    )
  trained_BxL = np.asarray(trained)[np.arange(_EXAMPLES), at_B]
  if not np.isfinite(trained_BxL).all() or not np.isfinite(searched).all():
    raise ValueError(f"{chosen.plugged} gives a real item a log probability that is not finite")
  total = float(np.exp(np.asarray(first_Bx1xC, np.float64)).sum(axis=-1).max())
  if model.config.constrained_softmax and abs(total - 1) > 1e-2:
    raise ValueError(
      f"`step` of {chosen.plugged} gives the children of a prefix a probability of {total:.4g} "
      "together; make it 1, as child_log_softmax does"
    )
  apart = float(np.abs(trained_BxL - np.asarray(searched)[:, 0]).max())
  if apart > 0.05 * (1 + float(np.abs(trained_BxL).max()) * (model.config.dtype != "float32")):
    raise ValueError(
      f"`log_likelihood` and `step` of {chosen.plugged} disagree: log p of the same tokens differs "
      f"by {apart:.4g}; what is trained would not be what is searched"
    )


def _first_level(model: NextItemModel, events: Any, trie: Trie) -> jax.Array:
  """log p of the root's children: [B, 1, C]."""
  encoded = model.encode(events, trie.codes_NxL)
  batch = jax.tree.leaves(events)[0].shape[0]
  root_Bx1 = jnp.zeros((batch, 1), jnp.int32)
  below = children(trie, root_Bx1, trie.fan_outs[0], 0)
  return model.step(encoded, model.empty_caches(batch, 1), root_Bx1, 0, below, 1.0)[0]
