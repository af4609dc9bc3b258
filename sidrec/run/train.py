"""Stage 3: dataset.npz and semantic_ids.json → the recommender's best parameters."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.sharding import shard_trie
from sidrec.catalogue.trie.trie import Trie, build_trie
from sidrec.core.atomic import load_array, write_whole_text
from sidrec.core.content import stamps
from sidrec.core.settings import to_dict
from sidrec.data import store
from sidrec.data.batches import BatchAt, packed_batches, sliding_batches
from sidrec.data.dataset import Dataset, Histories, held_out_view, training_view
from sidrec.data.events import check_inputs
from sidrec.data.inputs import InputsConfig, KnownInputs, with_known, without_idle_inputs
from sidrec.data.user_attributes import Attribute, Users, as_json, from_json
from sidrec.models import own_models
from sidrec.models import recommender as models
from sidrec.models.base import SemanticIDModel
from sidrec.models.counted import tables
from sidrec.models.memory import described, memory_of
from sidrec.models.sasrec import SASRecSettings
from sidrec.models.settings import MODELS, CatalogueSizes, RecommenderConfig
from sidrec.models.transfer import marked
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hosts import from_primary, is_primary
from sidrec.run.generations import Chain, Generation
from sidrec.run.prepare import load_prepared, samples_users, targets_of
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Stage
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.tokenize_items import read_ids
from sidrec.search import evidence
from sidrec.search.batched import make_recommend_users
from sidrec.search.settings import SearchConfig
from sidrec.trainers.evidence_weights import fitted
from sidrec.trainers.next_item import NextItem, train_next_item, validation_users
from sidrec.trainers.recommender import check_lazy_adam, recommender_task
from sidrec.trainers.settings import TrainConfig
from sidrec.training.checkpoint import check_can_save, save_params
from sidrec.training.logging import make_logger
from sidrec.training.loop import Records
from sidrec.training.profile import Trace

KNOWN = "user_attributes.json"  # what training met, where the model reads users' attributes
_HOW = ("accumulate", "remat")  # settings that save memory
_OFF = {  # settings that decide nothing while they have these values
  "repeats": False,
  "unseen": 0.0,
  "norms": "before",
  "counted_from": "oldest",
  "predicts": "every",
  "followers": 0,
  "similarity": False,
  "similarity_bytes": 0,
  "item_width": 0,
  "node_width": 0,
  "lazy_adam": False,
}
_OF_DATA = ("targets", "least_rating")  # settings that decide the stage 'prepare'


def train(config: RunConfig, folder: epath.Path, before: Chain) -> None:
  """Trains the recommender and writes its parameters."""
  check_can_save(folder)
  check_lazy_adam(config.model, config.train)
  dataset = load_prepared(before)
  check_inputs(config.model.inputs, dataset, "config.model.inputs")
  ids = read_ids(before["tokenize"])
  model, trie = make_model(config, ids, dataset.users)
  if chosen := own_models.chosen_model(config.model):
    own_models.check_agrees(chosen, model, trie)
  mesh = mesh_lib.make_mesh(model=config.mesh.model)
  what = what_is_trained(config, model, trie, mesh)
  shapes, _ = jax.eval_shape(what.task.init, jax.random.key(0))
  counted = counted_tables(config, dataset, before["tokenize"])
  averaged, lazy = config.train.average_decay > 0, config.train.lazy_adam
  memory = memory_of({**shapes, **counted}, trie, model.sizes, averaged, lazy)
  if is_primary():
    print(f"recommender: {described(memory)}", flush=True)
  params = train_next_item(
    what, config.train, dataset.histories, config.seed, mesh, records(config, folder)
  )
  params = marked({**params, **counted}, trie)
  if config.search.is_fitted and evidence.is_used(config.model, config.search):
    task = held_out_view(dataset.histories, "valid")
    users_R = validation_users(task, config.train.valid_users, config.seed)
    placed_trie = search_trie(trie, mesh)
    params |= fitted(model, placed_trie, params, config.search, mesh, task, users_R)
  save_params(folder / "recommender", params)
  save_known(folder, model)


def counted_tables(
  config: RunConfig, dataset: Dataset, tokenized: Generation
) -> dict[str, np.ndarray]:
  """What a search reads beside trained parameters, of a catalogue with its semantic IDs."""
  vectors_NxF = None
  if config.model.similarity:
    vectors_NxF = load_array(tokenized.file("vectors.npy"))
  training = training_view(dataset.histories)
  parts: Iterable[Histories] = [training]
  if samples_users(config):
    parts = store.training_parts(store.open_store(config.data.path), targets_of(config))
  return tables(config.model, training, parts, dataset.items.num_items, vectors_NxF)


def what_is_trained(
  config: RunConfig, model: SemanticIDModel, trie: Trie, mesh: jax.sharding.Mesh
) -> NextItem:
  """The recommender's task, its batches, and its search for the validation."""
  # As few beams as fill the lists: validation has to be cheap, not exact.
  results = config.search.results
  search = dataclasses.replace(search_by_model_alone(config), beams=results)
  recommend_users = make_recommend_users(model, search_trie(trie, mesh), search, mesh)
  return NextItem(
    recommender_task(model, trie, config.train.item_loss, config.train.lazy_adam),
    make_batches(config, model.config.inputs),
    recommend_users,
    config.model.history_length,
    trie.num_items,
    results,
    masks_seen=not config.model.repeats,
  )


def search_by_model_alone(config: RunConfig) -> SearchConfig:
  """The search that validates while a model is trained, whose other tables are made at the end.

  Of models without such tables it is that of the run, whose program may be there already.
  """
  search = config.search.uncertified
  return search.by_model_alone if config.model.has_evidence or search.is_fitted else search


def records(config: RunConfig, folder: epath.Path) -> Records:
  """Where the training writes."""
  steps = config.train.steps
  return Records(
    folder / "checkpoints",
    functools.partial(make_logger, folder, "recommender", steps),
    Trace(folder / "profile", config.profile_steps, steps),
  )


def make_model(
  config: RunConfig, ids: SemanticIDManager, users: Users | Sequence[Attribute] = ()
) -> tuple[SemanticIDModel, Trie]:
  """The model and the trie for a catalogue.

  Args:
    config: of the run.
    ids: of the catalogue.
    users: of the training, or what it knows of their attributes, where the model reads these.

  Raises:
    ValueError: as `inputs.with_known` does.
  """
  # Only models with parameters by node need nodes for tails that do not branch.
  every_prefix = config.model.node_bias or config.model.node_vectors
  trie = build_trie(ids.codes, every_prefix=every_prefix)
  inputs = with_known(config.model.inputs, users)
  settings = dataclasses.replace(config.model, inputs=inputs)
  return models.make_model(settings, CatalogueSizes.of(trie, ids.codebook_size)), trie


def save_known(folder: epath.Path, model: SemanticIDModel) -> None:
  """Writes what a model knows of users' attributes, where it reads any."""
  if isinstance(inputs := model.config.inputs, KnownInputs):
    content = json.dumps(as_json(inputs.known), indent=1, ensure_ascii=False) + "\n"
    from_primary(lambda: write_whole_text(folder / KNOWN, content))


def load_known(config: RunConfig, trained: Generation) -> tuple[Attribute, ...]:
  """What `save_known` wrote beside trained parameters; nothing where no attribute is read."""
  if not config.model.inputs.user_attributes:
    return ()
  return from_json(json.loads(trained.file(KNOWN).read_bytes()))


def search_trie(trie: Trie, mesh: jax.sharding.Mesh) -> Trie:
  """The trie as a search on these devices takes it: rows over 'model' where that has several."""
  return shard_trie(trie, mesh) if mesh.shape["model"] > 1 else trie


def make_batches(config: RunConfig, inputs: InputsConfig) -> Callable[..., BatchAt]:
  """The training batches that the model's setting wants; the inputs are those of the model."""
  c = config.model
  if models.architecture(c).causal:
    return training_users(config, functools.partial(packed_batches, inputs=inputs))
  batches = functools.partial(sliding_batches, num_user_tokens=c.user_tokens, inputs=inputs)
  return training_users(config, batches)


def training_users(config: RunConfig, batches: Callable[..., BatchAt]) -> Callable[..., BatchAt]:
  """The batches of all users: from shards where only a sample of the users is in memory."""
  if not samples_users(config):
    return batches
  return store.from_shards(batches, config.data.path, targets=targets_of(config))


def deciding(section: RecommenderConfig | SASRecSettings | TrainConfig) -> dict[str, Any]:
  """The settings that decide what is trained, without those that save memory or are off."""
  values = without_idle_inputs(to_dict(section))
  idle = {name for name, off in _OFF.items() if values.get(name) == off} | {"plugins"}
  if not values.get("filter", {}).get("share"):
    idle.add("filter")
  return {name: value for name, value in values.items() if name not in (*_HOW, *_OF_DATA, *idle)}


def _settings(config: RunConfig) -> dict[str, Any]:
  own: dict[str, Any] = {}
  if chosen := own_models.chosen_model(config.model):
    own = {MODELS.section: {chosen.name: chosen.values}}
    own[f"code of {MODELS.section}"] = MODELS.code_of([chosen])
  return {
    "seed": config.seed,
    "model": deciding(config.model),
    **own,
    "train": deciding(config.train),
  }


def _files(config: RunConfig) -> dict[str, Any]:
  chosen = own_models.chosen_model(config.model)
  return {"files": stamps(chosen.files() if chosen else [])}


TRAIN = Stage(
  "train",
  after=lambda config: (TOKENIZE,),
  settings=_settings,
  files=_files,
  outputs=lambda config: (
    "checkpoints",
    "recommender",
    *((KNOWN,) if config.model.inputs.user_attributes else ()),
  ),
  build=train,
)
