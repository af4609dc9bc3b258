"""SASRec trained: its loss, a pattern that it has to find, and the search over many users."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_models import draw
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import last_items, packed_batches
from sidrec.data.dataset import held_out_view
from sidrec.data.prefix_batches import prefix_batches
from sidrec.data.seen import seen_items
from sidrec.evaluation.evaluate import evaluate
from sidrec.models.frequency import FilterConfig
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.parallel.mesh import make_mesh
from sidrec.search.exact import make_sasrec_recommend_users, recommend
from sidrec.trainers import next_item
from sidrec.trainers.sasrec import item_embeddings, sasrec_task, train_sasrec
from sidrec.trainers.settings import SASRecTrainConfig

NUM_ITEMS = 30
LENGTHS = [3, 0, 20, 5, 25, 1, 4, 2, 26, 6, 8]


def small_model(**changes):
  settings = {"history_length": 6, "width": 16, "heads": 1, "layers": 1, "hidden": 16}
  return SASRec(SASRecConfig(num_items=NUM_ITEMS, **{**settings, "dropout": 0.0, **changes}))


def random_params(model):
  """Parameters of the size that training starts from."""
  shapes, _ = jax.eval_shape(sasrec_task(model).init, jax.random.key(0))
  return draw(shapes)


def short_training(**changes):
  settings = {"batch_size": 16, "steps": 4, "steps_per_call": 4, "validate_every": 4}
  settings |= {"warmup_steps": 10, "average_decay": 0.9}
  return SASRecTrainConfig(**{**settings, **changes})


def cyclic_histories(count, length):
  """Users who start anywhere and always go on to the next item but six of a ring."""
  starts = np.random.default_rng(0).integers(0, NUM_ITEMS, count)
  return make_histories(
    [((start + 7 * np.arange(length)) % NUM_ITEMS).tolist() for start in starts]
  )


def test_the_loss_is_the_mean_over_real_targets():
  histories = make_histories([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11]])
  batch = packed_batches(histories, 6, 2, seed=0)(0)
  task = sasrec_task(small_model())
  params = jax.tree.map(lambda x: 3 * x, random_params(small_model()))
  loss, _ = jax.jit(task.loss)(params, (), batch, jax.random.key(1))
  run = jax.jit(lambda row: small_model().apply({"params": params}, row, method="next_item"))
  logps = []
  for history in ([1, 2, 3, 4, 5], [6, 7], [8, 9, 10]):
    for t in range(1, len(history)):
      row = jnp.asarray([history[:t] + [NO_ITEM] * (6 - t)], jnp.int32)
      logps.append(float(run(row)[0, history[t]]))
  assert float(loss) == pytest.approx(-np.mean(logps), rel=1e-5)


def test_a_batch_of_fillers_has_zero_loss_and_gradient():
  for negatives in (0, 4):
    model = small_model(negatives=negatives)
    task, params = sasrec_task(model), random_params(model)
    empty = jnp.full((2, 6), NO_ITEM, jnp.int32)
    batch = {"history_BxS": empty, "target_BxS": empty, "segment_BxS": jnp.full((2, 6), 6)}
    grads, _ = jax.jit(jax.grad(task.loss, has_aux=True))(params, (), batch, jax.random.key(1))
    assert all(np.isfinite(x).all() and not x.any() for x in jax.tree.leaves(grads))


def test_a_planted_pattern_is_learnt(tmp_path):
  histories = cyclic_histories(200, 9)
  model = small_model()
  config = short_training(
    steps=150, steps_per_call=50, validate_every=150, learning_rate=1e-2, valid_users=64
  )
  params = train_sasrec(model, config, histories, 0, tmp_path)
  recommend_users = make_sasrec_recommend_users(model, 5, 40, make_mesh())
  held_out = held_out_view(histories, "test")
  metrics = evaluate(recommend_users, params, held_out, NUM_ITEMS, 5).means
  assert metrics["masked"]["recall@1"] > 0.95
  assert metrics["unmasked"]["recall@1"] > 0.95
  assert (tmp_path / "metrics.jsonl").read_text().count('"stage": "sasrec"') >= 3
  assert (tmp_path / "sasrec/checkpoints/best").is_dir()


BSAREC = {"norms": "after", "counted_from": "newest", "filter": FilterConfig(0.7), "dropout": 0.5}


@pytest.mark.slow
def test_one_device_trains_bsarec_like_eight(tmp_path):
  histories = cyclic_histories(40, 9)
  config = short_training(predicts="last", valid_users=16)
  one, eight = (
    train_sasrec(
      small_model(**BSAREC),
      *(config, histories, 0, tmp_path / str(count)),
      mesh=make_mesh(jax.devices()[:count]),
    )
    for count in (1, 8)
  )
  start, _ = sasrec_task(small_model(**BSAREC)).init(jax.random.key(0))
  assert np.abs(one["item"] - start["item"]).max() > 1e-5  # it learnt
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), one, eight)


def test_states_that_see_ahead_are_not_trained_where_they_see_targets(tmp_path):
  for changes in (BSAREC, {"counted_from": "newest"}):
    with pytest.raises(ValueError, match=r"sasrec\.train\.predicts is 'every'.* to 'last'"):
      train_sasrec(small_model(**changes), short_training(), cyclic_histories(8, 5), 0, tmp_path)


def test_the_loss_of_prefixes_is_the_mean_over_their_targets():
  histories = make_histories([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11]])
  model = small_model(**{**BSAREC, "dropout": 0.0})
  batch = prefix_batches(histories, 6, 4, seed=0)(0)
  task = sasrec_task(model)
  params = jax.tree.map(lambda x: 3 * x, random_params(model))
  loss, _ = jax.jit(task.loss)(params, (), batch, jax.random.key(1))
  run = jax.jit(lambda row: model.apply({"params": params}, row, method="next_item"))
  logps = []
  for history in ([1, 2, 3, 4, 5], [6, 7], [8, 9, 10]):
    for t in range(1, len(history)):
      row = jnp.asarray([history[:t] + [NO_ITEM] * (6 - t)], jnp.int32)
      logps.append(float(run(row)[0, history[t]]))
  assert int(task.weight(batch)) == len(logps)  # four rows are all there are
  assert float(loss) == pytest.approx(-np.mean(logps), rel=1e-5)


def test_two_sasrecs_of_a_run_keep_apart(tmp_path):
  histories = cyclic_histories(40, 6)
  config = short_training(validate_every=2)
  first = train_sasrec(small_model(), config, histories, 0, tmp_path)
  other = train_sasrec(small_model(), config, histories, 1, tmp_path, "other")
  assert not np.array_equal(first["item"], other["item"])  # else it went on from the first's
  assert (tmp_path / "other/checkpoints/best").is_dir()
  stages = [json.loads(line)["stage"] for line in (tmp_path / "metrics.jsonl").open()]
  assert stages.count("sasrec") == stages.count("other") > 0


def test_the_last_two_items_of_a_user_are_not_learnt_from(tmp_path, monkeypatch):
  histories = make_histories([[user, user + 1, user + 2, 20 + user, 29] for user in range(8)])
  batches = []
  monkeypatch.setattr(
    next_item, "train", lambda task, optimizer, batch_at, *_: batches.append(batch_at(0))
  )
  train_sasrec(small_model(), short_training(batch_size=8), histories, 0, tmp_path)
  items = np.concatenate([batches[0]["history_BxS"], batches[0]["target_BxS"]])
  assert sorted(set(items[items != NO_ITEM].tolist())) == list(range(10))


def test_item_embeddings_are_the_item_table():
  params = random_params(small_model())
  vectors = item_embeddings(params)
  assert vectors.dtype == np.float32
  np.testing.assert_array_equal(vectors, params["item"])
  assert vectors.shape == (NUM_ITEMS, 16)


@pytest.mark.parametrize("masked", [True, False])
def test_batches_give_what_single_users_get(masked):
  rng = np.random.default_rng(0)
  histories = make_histories([rng.permutation(NUM_ITEMS)[:n].tolist() for n in LENGTHS])
  model = small_model()
  params = jax.tree.map(lambda x: 3 * x, random_params(model))
  users = np.array([10, 2, 1, 0, 4, 8, 3, 9, 5])
  recommend_users = make_sasrec_recommend_users(model, 12, 8, make_mesh())
  found = recommend_users(params, histories, users, seen_items(histories) if masked else None)
  single = jax.jit(lambda h, f: recommend(model, params, h, 12, f))
  history = last_items(histories, 6)
  assert found.item_BxK.shape == (9, 12)
  for at, user in enumerate(users):
    forbidden = np.full((1, NUM_ITEMS), NO_ITEM, np.int32)
    if masked:
      forbidden[0, : LENGTHS[user]] = histories.of(user)
    alone = single(history[user : user + 1], forbidden)
    np.testing.assert_array_equal(found.item_BxK[at], alone.item_BxK[0])
    np.testing.assert_allclose(found.score_BxK[at], alone.score_BxK[0], atol=1e-5)
  assert found.valid_BxK[1].sum() == (10 if masked else 12)  # user 2 has seen 20 of 30
