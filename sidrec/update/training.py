"""Training an updated recommender: from carried-over parameters, on what is recent and a replay."""

import dataclasses
import time
from typing import Any, cast

import numpy as np
import optax
from etils import epath

from sidrec.data.dataset import Dataset
from sidrec.data.events import check_inputs
from sidrec.models.counted import OF_FIT, UNTRAINED
from sidrec.models.own_models import check_grows
from sidrec.models.recommender import architecture
from sidrec.models.transfer import MARK, marked, transfer
from sidrec.parallel import mesh as mesh_lib
from sidrec.run.generations import Chain, Generation
from sidrec.run.load import Trained, trained_of
from sidrec.run.settings import RunConfig
from sidrec.run.tokenize_items import read_ids
from sidrec.run.train import (
  counted_tables,
  load_known,
  make_model,
  records,
  save_known,
  search_by_model_alone,
  search_trie,
  what_is_trained,
)
from sidrec.search.batched import make_recommend_users
from sidrec.trainers.next_item import train_next_item
from sidrec.training.checkpoint import save_params
from sidrec.update.compare import of_users, placed
from sidrec.update.logs import Growth, may_choose, untrained_from
from sidrec.update.shapes import in_equal_shapes, without_room
from sidrec.update.windows import windows_to_train


def write_updated(
  config: RunConfig,
  folder: epath.Path,
  before: Chain,
  tokenized: Generation,
  new: Dataset,
  growth: Growth,
) -> dict[str, Any]:
  """Carries the parameters over to the grown catalogue, trains them further and writes them.

  The optimiser starts afresh. What serves is the mean of what was trained and what was carried over
  (WiSE-FT; Wortsman et al., CVPR 2022), if it is better on validation than the latter.

  Args:
    config: the settings of the run.
    folder: takes the files of the stage 'train'.
    before: the chain of the run before.
    tokenized: the grown catalogue's IDs.
    new: the grown data set.
    growth: of it.

  Returns:
    What was trained on, for `update.json`.
  """
  began = time.process_time()
  check_inputs(config.model.inputs, new, "config.model.inputs")
  ids = read_ids(tokenized)
  old = trained_of(config, before)
  known = load_known(config, before["train"])  # what else users may have by now is unknown
  model, trie = make_model(config, ids, known)
  check_grows(model)
  params = transfer(old.params, old.trie, trie, growth.old_row_N)
  settings, nightly = train_config(config), config.nightly
  windows = windows_to_train(
    new.histories,
    untrained_from(new, growth, nightly.recent_share),
    nightly.replay,
    config.model.history_length,
    config.seed + (before["train"].record.inputs.update or {}).get("number", 0) + 1,
    _events_trained(settings) / nightly.most_passes if nightly.most_passes else 0.0,
  )
  is_trained = settings.train.steps > 0 and windows.num_targets > 0
  if is_trained:
    mesh = mesh_lib.make_mesh(model=config.mesh.model)
    # In the shapes of the comparison, whose search has to be compiled anyway.
    _, roomy = in_equal_shapes([old, Trained(ids, model, params, trie)])
    what = what_is_trained(settings, roomy.model, roomy.trie, mesh)
    make = what.make_batches
    search_config, placed_trie = search_by_model_alone(config), search_trie(roomy.trie, mesh)
    search = make_recommend_users(roomy.model, placed_trie, search_config, mesh)
    untrained = (MARK, *UNTRAINED)
    start = {name: value for name, value in roomy.params.items() if name not in untrained}

    def merged(params: dict) -> dict:
      return cast(dict, optax.incremental_update(params, start, nightly.trained_share))

    what = what._replace(
      make_batches=lambda view, *rest: make(windows.source, *rest),
      recommend_users=lambda params, *asked: search(
        placed(config, marked(merged(params), roomy.trie)), *asked
      ),
      num_items=trie.num_items,
    )
    # Users whose last event is new choose the parameters: what they meet before it is recent, too.
    newest_R = np.flatnonzero(may_choose(new, growth))
    users = of_users(new.histories, newest_R) if len(newest_R) else new.histories
    trained = train_next_item(
      what, settings.train, users, config.seed, mesh, records(settings, folder), start
    )
    params = without_room(roomy._replace(params=marked(merged(trained), roomy.trie)), trie)
  params |= counted_tables(config, new, tokenized)
  # They were fitted on more users than an update has.
  params |= {name: old.params[name] for name in OF_FIT if name in old.params}
  save_params(folder / "recommender", params)
  save_known(folder, model)
  return {
    "steps": settings.train.steps if is_trained else 0,
    "recent targets": windows.recent_targets,
    "replayed targets": windows.replayed,
    "only read": int((~windows.target_T).sum()),
    "cpu_seconds": round(time.process_time() - began, 2),
  }


def _events_trained(settings: RunConfig) -> int:
  """How many events the training's steps have room for, with repetition."""
  c, train = settings.model, settings.train
  if architecture(c).causal:
    return train.steps * train.batch_size * c.history_length
  return train.steps * train.batch_size  # a row for each target


def train_config(config: RunConfig) -> RunConfig:
  """The settings with those of an update's training in place of the training from zero."""
  nightly, train = config.nightly, config.train
  steps = round(nightly.steps_share * train.steps)
  # Whole calls, and validations at both ends alone: another number of steps would compile another
  # program, which takes longer than a night's steps on small data.
  per_call = max(1, min(train.steps_per_call, steps))
  steps = -(-steps // per_call) * per_call
  return dataclasses.replace(
    config,
    train=dataclasses.replace(
      train,
      steps=steps,
      steps_per_call=per_call,
      learning_rate=nightly.learning_rate_share * train.learning_rate,
      warmup_steps=min(train.warmup_steps, steps // 10),
      validate_every=max(1, steps),
      patience=0,
    ),
  )
