"""Catalogues in equal shapes: one program for all of them, and no number changes."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny import all_codes, init_params, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.transfer import NODE_TABLES
from sidrec.parallel.mesh import make_mesh, on_all_devices, state_shardings
from sidrec.run.load import Trained
from sidrec.trainers.recommender import recommender_task
from sidrec.training.loop import LoopConfig, make_run
from sidrec.training.optimizer import adamw
from sidrec.training.state import init_state
from sidrec.update.shapes import in_equal_shapes, without_room

CODES = np.random.default_rng(2).permutation(all_codes(2, 5))
SHAPE = {"history_length": 3, "encoder_layers": 1, "encoder_dropout": 0.0}
BATCH = {
  "history_BxS": jnp.array([[4, 5, 4], [8, 2, NO_ITEM]], jnp.int32),
  "target_BxS": jnp.array([[5, 4, 7], [9, NO_ITEM, NO_ITEM]], jnp.int32),
  "segment_BxS": jnp.array([[0, 0, 0], [0, 1, 1]], jnp.int32),
}


def trained(codes_NxL, **changes):
  model, trie, path_NxLp1 = make_model(codes_NxL, **SHAPE, **changes)
  return Trained(None, model, init_params(model, trie, path_NxLp1), trie)


def training_program(one, batch):
  """The text of what two steps compile, and what else they are found by."""
  task, mesh = recommender_task(one.model, one.trie), make_mesh(jax.devices()[:1])
  optimizer = adamw(1e-2, 1, 9, 0.05, 1.0)
  state = jax.eval_shape(lambda key: init_state(task, optimizer, key), jax.random.key(0))
  config = LoopConfig(2, 2, 2, metric="none")
  run = make_run(task, optimizer, config, mesh, state_shardings(mesh, state))
  batches = jax.tree.map(lambda x: jnp.stack([x, x]), batch)
  return run.lower(state, batches, on_all_devices(mesh, task.arrays)).as_text()


def test_nights_with_new_items_train_and_search_by_the_programs_of_the_night_before():
  nights = [trained(codes) for codes in (CODES[:17], CODES[:18], CODES[1:19])]
  assert len({one.trie.num_nodes for one in nights}) > 1
  first, second, third = in_equal_shapes(nights)
  assert first.model == second.model == third.model  # what searches are found by
  structures = [jax.tree.structure((one.params, one.trie)) for one in (first, second, third)]
  assert structures[0] == structures[1] == structures[2]
  assert len({int(one.trie.numbering) for one in (first, second, third)}) == 3
  assert training_program(second, BATCH) == training_program(third, BATCH)


def test_room_takes_part_in_no_likelihood():
  exact = trained(CODES[:17], item_head=True, repeats=True)
  (roomy,) = in_equal_shapes([exact])
  used, params = 17, dict(roomy.params)
  assert len(params["item_bias"]) == roomy.trie.num_items > used
  params["item_bias"] = np.where(np.arange(len(params["item_bias"])) < used, params["item_bias"], 9)
  taken = np.isin(np.arange(len(params["node_bias"])), np.asarray(paths_of(roomy)))
  params["node_bias"] = np.where(taken, params["node_bias"], 9)
  losses = [
    jax.jit(recommender_task(one.model, one.trie).loss)(
      {name: value for name, value in given.items() if name != "trie"}, (), BATCH, jax.random.key(1)
    )[0]
    for one, given in ((exact, exact.params), (roomy, params))
  ]
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def paths_of(one):
  """The nodes that items in use lie below."""
  return recommender_task(one.model, one.trie).arrays[1][: int(one.trie.used)]


def test_parameters_come_back_as_they_were():
  exact = trained(CODES[:17], item_head=True)
  _, roomy = in_equal_shapes([trained(CODES[:20], item_head=True), exact])
  back = without_room(roomy, exact.trie)
  nodes = np.unique(paths_of(exact))  # the others only close ranges
  for name, value in exact.params.items():
    rows = nodes if name in NODE_TABLES else ...
    pairs = zip(jax.tree.leaves(back[name]), jax.tree.leaves(value), strict=True)
    assert all(np.array_equal(x[rows], y[rows]) for x, y in pairs)
  assert back["trie"][1] == exact.trie.numbering
