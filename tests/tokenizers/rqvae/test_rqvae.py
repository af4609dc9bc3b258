"""RQ-VAE: losses and gradients by hand, dead codes, blocks, costs, and training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sidrec.tokenizers.base import BLOCK_SIZE
from sidrec.tokenizers.report.quality import report, unexplained_variance
from sidrec.tokenizers.rqvae import autoencoder
from sidrec.tokenizers.rqvae import task as rqvae_task_module
from sidrec.tokenizers.rqvae.quantizer import Averages, quantize
from sidrec.tokenizers.rqvae.rqvae import costs, decode, encode, rqvae, selection_score
from sidrec.tokenizers.rqvae.task import rqvae_task
from sidrec.tokenizers.settings import RQVAEConfig
from sidrec.training.state import init_state, update

SIZES = {"num_levels": 3, "codebook_size": 16}
SMALL = RQVAEConfig(**SIZES, hidden=(32, 16), latent_dim=8, commitment=0.25)
BATCH = 128


def mixture(num_items=600, num_groups=60, width=12, noise=0.3, seed=0):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(num_groups, width))
  vectors = centers[rng.integers(num_groups, size=num_items)]
  return (vectors + noise * rng.normal(size=vectors.shape)).astype(np.float32)


def trainer(task, vectors, steps=400, learning_rate=3e-3):
  """A plain loop: key → the last parameters, and the metrics of every step."""
  optimizer = optax.adamw(learning_rate)
  vectors = jnp.asarray(vectors)

  def step(state, key):
    rows = jax.random.choice(key, len(vectors), (BATCH,), replace=False)
    return update(task, optimizer, state, {"vectors_BxF": vectors[rows]})

  start = jax.jit(functools.partial(init_state, task, optimizer))
  run = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys), donate_argnums=0)

  def train(key):
    state, metrics = run(start(key), jax.random.split(key, steps))
    return state.params, metrics

  return train


def evaluate(config, vectors, params, aux, batch):
  """A batch's loss, metrics, averages with it, and gradients."""
  task = rqvae_task(config, vectors)
  loss = lambda params: task.loss(params, aux, {"vectors_BxF": batch}, jax.random.key(0))
  (value, (averages, metrics)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  return value, metrics, averages, grads


@pytest.fixture(scope="module")
def vectors():
  return mixture()


@pytest.fixture(scope="module")
def task(vectors):
  return rqvae_task(SMALL, vectors)


@pytest.fixture(scope="module")
def start(task):
  return jax.jit(task.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def train(task, vectors):
  return trainer(task, vectors)


@pytest.fixture(scope="module")
def trained(train):
  return train(jax.random.key(1))


@pytest.fixture
def linear(vectors):
  """An RQ-VAE without hidden layers, whose gradients are two matrix products."""
  rng = np.random.default_rng(3)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  params = {
    "encoder": {"layer_0": {"kernel": draw(12, 8), "bias": draw(8)}},
    "decoder": {"layer_0": {"kernel": draw(8, 12), "bias": draw(12)}},
    "codebooks_LxVxD": draw(3, 16, 8),
  }
  aux = Averages(np.full((3, 16), 1 / 16, np.float32), draw(3, 16, 8))
  config = dataclasses.replace(SMALL, hidden=(), commitment=0.0)
  return config, params, aux


def test_decode_sums_codewords(start):
  params, _ = start
  codes = np.array([[3, 0, 15], [1, 1, 1]])
  books = np.asarray(params["codebooks_LxVxD"])
  latents = np.stack([sum(books[level, c] for level, c in enumerate(row)) for row in codes])
  expected = autoencoder.apply(params["decoder"], jnp.asarray(latents))
  np.testing.assert_allclose(decode(params, codes), expected, rtol=1e-5, atol=1e-6)


def test_an_item_alone_is_encoded_as_among_many(start, tmp_path):
  params, _ = start
  many = mixture(num_items=2 * BLOCK_SIZE + 5)
  np.save(tmp_path / "many.npy", many)
  mapped = np.load(tmp_path / "many.npy", mmap_mode="r")
  whole = encode(SMALL, params, mapped)
  assert whole.dtype == np.int32
  assert whole.shape == (2 * BLOCK_SIZE + 5, 3)
  for row in (0, 17, BLOCK_SIZE, 2 * BLOCK_SIZE + 4):
    np.testing.assert_array_equal(encode(SMALL, params, many[row : row + 1])[0], whole[row])
  np.testing.assert_array_equal(encode(SMALL, params, many[100:400]), whole[100:400])
  decoded = decode(params, whole)
  assert decoded.shape == many.shape
  np.testing.assert_allclose(decoded[-5:], decode(params, whole[-5:]), rtol=1e-5, atol=1e-6)


def test_encode_quantizes_the_latents(start, vectors):
  params, _ = start
  latents = autoencoder.apply(params["encoder"], jnp.asarray(vectors))
  expected = quantize(params["codebooks_LxVxD"], latents).codes_LxB.T
  np.testing.assert_array_equal(encode(SMALL, params, vectors), expected)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_costs_agree_with_encode(start, vectors, distance):
  config, params = dataclasses.replace(SMALL, distance=distance), start[0]
  codes = encode(config, params, vectors)
  for level in range(SMALL.num_levels):
    unread = codes.copy()
    unread[:, level:] = -1
    cost = costs(config, params, vectors, unread, level)
    assert cost.shape == (len(vectors), 16)
    assert cost.dtype == np.float32
    np.testing.assert_array_equal(cost.argmin(1), codes[:, level])


def test_costs_are_squared_distances_given_any_codes_above(start, vectors):
  params, items = start[0], vectors[:50]
  codes = np.random.default_rng(0).integers(16, size=(50, 3))
  books = np.asarray(params["codebooks_LxVxD"], np.float64)
  latents = np.asarray(autoencoder.apply(params["encoder"], jnp.asarray(items)))
  residual = latents - books[0, codes[:, 0]] - books[1, codes[:, 1]]
  expected = np.square(residual[:, None] - books[2][None]).sum(-1)
  np.testing.assert_allclose(costs(SMALL, params, items, codes, 2), expected, rtol=1e-4, atol=1e-4)


def test_reconstruction_gradient_by_hand(linear, vectors):
  config, params, aux = linear
  batch = vectors[:BATCH]
  *_, grads = evaluate(config, vectors, params, aux, batch)

  decoder, books = params["decoder"]["layer_0"], params["codebooks_LxVxD"]
  codes = np.asarray(encode(config, params, batch))
  quantized = books[0, codes[:, 0]] + books[1, codes[:, 1]] + books[2, codes[:, 2]]
  error = quantized @ decoder["kernel"] + decoder["bias"] - batch
  to_outputs = 2 * error / BATCH / vectors.var(0).sum()
  to_latents = to_outputs @ decoder["kernel"].T  # straight through
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
  close(grads["encoder"]["layer_0"]["kernel"], batch.T @ to_latents)
  close(grads["encoder"]["layer_0"]["bias"], to_latents.sum(0))
  close(grads["decoder"]["layer_0"]["kernel"], quantized.T @ to_outputs)
  np.testing.assert_array_equal(grads["codebooks_LxVxD"], 0)


def test_commitment_gradient_reaches_the_encoder_only(linear, vectors):
  config, params, aux = linear

  def gradients(weight):
    weighted = dataclasses.replace(config, commitment=weight)
    return evaluate(weighted, vectors, params, aux, vectors[:BATCH])[-1]

  without, with_it = gradients(0.0), gradients(0.5)
  encoder, books = params["encoder"]["layer_0"], params["codebooks_LxVxD"]
  latents = vectors[:BATCH] @ encoder["kernel"] + encoder["bias"]
  codes = np.asarray(encode(config, params, vectors[:BATCH]))
  to_latents, partial = 0, 0
  for level in range(3):
    partial = partial + books[level, codes[:, level]]
    to_latents = to_latents + 0.5 * 2 * (latents - partial) / latents.size
  difference = jax.tree.map(lambda a, b: a - b, with_it, without)
  np.testing.assert_allclose(
    difference["encoder"]["layer_0"]["bias"], to_latents.sum(0), rtol=1e-3, atol=1e-4
  )
  jax.tree.map(lambda g: np.testing.assert_allclose(g, 0, atol=1e-6), difference["decoder"])
  np.testing.assert_array_equal(difference["codebooks_LxVxD"], 0)


def test_losses_by_hand(start, vectors):
  params, aux = start
  batch = vectors[:50]
  loss, metrics, _, _ = evaluate(SMALL, vectors, params, aux, batch)
  latents = np.asarray(autoencoder.apply(params["encoder"], jnp.asarray(batch)))
  codes = np.asarray(encode(SMALL, params, batch))
  partial, commitment = 0, 0
  for level in range(SMALL.num_levels):
    partial = partial + np.asarray(params["codebooks_LxVxD"])[level, codes[:, level]]
    commitment += np.square(latents - partial).mean()
    share = np.bincount(codes[:, level]) / 50
    share = share[share > 0]
    perplexity = np.exp(-(share * np.log(share)).sum())
    assert float(metrics[f"perplexity_{level + 1}"]) == pytest.approx(perplexity, rel=1e-4)
  squares = np.square(decode(params, codes) - batch).sum(1).mean()
  assert float(metrics["reconstruction"]) == pytest.approx(squares / vectors.var(0).sum(), rel=1e-4)
  assert float(metrics["commitment"]) == pytest.approx(commitment, rel=1e-4)
  assert float(metrics["unique_share"]) == pytest.approx(len(np.unique(codes, axis=0)) / 50)
  total = float(metrics["reconstruction"] + 0.25 * metrics["commitment"])
  assert float(loss) == pytest.approx(total, rel=1e-5)


def test_the_loss_does_not_depend_on_the_scale_of_the_vectors(linear, vectors):
  config, params, aux = linear
  small = np.float32(0.01)
  (encoder,), (decoder,) = params["encoder"].values(), params["decoder"].values()
  scaled = {
    "encoder": {"layer_0": {**encoder, "kernel": encoder["kernel"] / small}},
    "decoder": {"layer_0": jax.tree.map(lambda w: w * small, decoder)},
    "codebooks_LxVxD": params["codebooks_LxVxD"],
  }
  losses = [
    float(evaluate(config, x, p, aux, x)[0])
    for p, x in ((params, vectors), (scaled, small * vectors))
  ]
  assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_start_is_standardised_and_near_the_mean(start, vectors):
  params, aux = start
  latents = np.asarray(autoencoder.apply(params["encoder"], jnp.asarray(vectors)))
  np.testing.assert_allclose(latents.mean(0), 0, atol=1e-4)
  assert 0.8 < latents.std() < 1.3
  decoded = decode(params, encode(SMALL, params, vectors))
  assert unexplained_variance(vectors, decoded) < 1.2
  np.testing.assert_allclose(aux.usage_LxV.sum(1), 1, rtol=1e-5)


def test_codebooks_follow_moving_averages(task, start, vectors):
  params, aux = start
  batch = {"vectors_BxF": vectors[:BATCH]}
  _, _, after, _ = evaluate(SMALL, vectors, params, aux, vectors[:BATCH])
  moved, _ = jax.jit(task.amend)(params, after, batch, jax.random.key(0))
  latents = np.asarray(autoencoder.apply(params["encoder"], jnp.asarray(batch["vectors_BxF"])))
  codes = np.asarray(encode(SMALL, params, batch["vectors_BxF"]))[:, 0]
  for code in range(SMALL.codebook_size):
    own = latents[codes == code]
    before = float(aux.usage_LxV[0, code])
    usage = 0.97 * before + 0.03 * len(own) / BATCH
    sums = 0.97 * before * params["codebooks_LxVxD"][0, code] + 0.03 * own.sum(0) / BATCH
    np.testing.assert_allclose(moved["codebooks_LxVxD"][0, code], sums / usage, atol=1e-4)


def test_gradient_codebooks_descend_to_the_means_of_their_residuals(linear, vectors):
  config, params, aux = linear
  config = dataclasses.replace(config, codebook_update="gradient", commitment=0.5)
  *_, grads = evaluate(config, vectors, params, aux, vectors[:BATCH])
  latents = autoencoder.apply(params["encoder"], jnp.asarray(vectors[:BATCH]))
  quantized = quantize(jnp.asarray(params["codebooks_LxVxD"]), latents)
  for level in range(3):
    for code in range(16):
      own = np.asarray(quantized.residuals_LxBxD[level])[quantized.codes_LxB[level] == code]
      codeword = params["codebooks_LxVxD"][level, code]
      # Of mean |r - q|², with weight 1: towards the residuals; the reconstruction adds nothing.
      expected = 2 * (codeword[None] - own).sum(0) / latents.size
      np.testing.assert_allclose(
        grads["codebooks_LxVxD"][level, code], expected, rtol=1e-3, atol=1e-5
      )


def test_the_codebook_loss_is_for_the_codebooks_alone(linear, vectors):
  config, params, aux = linear

  def gradients(update):
    updated = dataclasses.replace(config, codebook_update=update)
    return evaluate(updated, vectors, params, aux, vectors[:BATCH])[-1]

  ema, gradient = gradients("ema"), gradients("gradient")
  for part in ("encoder", "decoder"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ema[part], gradient[part]
    )
  assert np.abs(gradient["codebooks_LxVxD"]).max() > 1e-4


def test_gradient_codebooks_ignore_the_averages_but_are_revived(start, vectors):
  params, aux = start
  task = rqvae_task(dataclasses.replace(SMALL, codebook_update="gradient"), vectors)
  batch = {"vectors_BxF": jnp.asarray(vectors[:BATCH])}
  live = Averages(jnp.full((3, 16), 1 / 16), aux.sums_LxVxD + 9)
  amend = jax.jit(task.amend)
  after, _ = amend(params, live, batch, jax.random.key(0))
  np.testing.assert_array_equal(after["codebooks_LxVxD"], params["codebooks_LxVxD"])
  dead = live._replace(usage_LxV=live.usage_LxV.at[1, 4].set(0.0))
  after, after_aux = amend(params, dead, batch, jax.random.key(0))
  moved = (after["codebooks_LxVxD"] != params["codebooks_LxVxD"]).any(-1)
  assert np.argwhere(moved).tolist() == [[1, 4]]
  assert float(after_aux.usage_LxV[1, 4]) > SMALL.revive_below / 16


def test_rotation_turns_the_gradient_of_the_reconstruction(linear, vectors):
  config, params, aux = linear
  rotated = dataclasses.replace(config, estimator="rotation")
  batch = vectors[:BATCH]
  _, metrics, _, grads = evaluate(rotated, vectors, params, aux, batch)
  _, expected, _, _ = evaluate(config, vectors, params, aux, batch)
  assert float(metrics["reconstruction"]) == pytest.approx(float(expected["reconstruction"]))

  encoder, decoder = params["encoder"]["layer_0"], params["decoder"]["layer_0"]
  latents = batch @ encoder["kernel"] + encoder["bias"]
  codes, books = encode(config, params, batch), params["codebooks_LxVxD"]
  quantized = sum(books[level, codes[:, level]] for level in range(3))
  error = quantized @ decoder["kernel"] + decoder["bias"] - batch
  to_quantized = 2 * error / BATCH / vectors.var(0).sum() @ decoder["kernel"].T
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  z, q = unit(latents), unit(quantized)
  r = unit(z + q)
  turn = np.eye(8) - 2 * r[:, :, None] * r[:, None] + 2 * q[:, :, None] * z[:, None]
  scale = np.linalg.norm(quantized, axis=1) / np.linalg.norm(latents, axis=1)
  to_latents = np.einsum("b,bji,bj->bi", scale, turn, to_quantized)  # the transposed Jacobian
  np.testing.assert_allclose(
    grads["encoder"]["layer_0"]["kernel"], batch.T @ to_latents, rtol=1e-3, atol=1e-4
  )


@pytest.mark.parametrize(("levels", "balanced"), [("none", 0), ("last", 1), ("all", 3)])
def test_sinkhorn_balances_the_levels_it_is_for(linear, vectors, levels, balanced):
  config, params, aux = linear
  # One codeword near everything: the nearest codes of every level are crowded.
  books = 3 * params["codebooks_LxVxD"]
  books[:, 0] = 0
  params = {**params, "codebooks_LxVxD": books}
  config = dataclasses.replace(config, sinkhorn_levels=levels)
  _, metrics, _, _ = evaluate(config, vectors, params, aux, vectors[:BATCH])
  perplexities = np.array([float(metrics[f"perplexity_{level}"]) for level in (1, 2, 3)])
  np.testing.assert_array_equal(perplexities > 14.5, np.arange(3) >= 3 - balanced)
  # Encoding is by the nearest codes nevertheless.
  np.testing.assert_array_equal(encode(config, params, vectors), encode(linear[0], params, vectors))


def test_dead_codes_are_revived_and_live_ones_stay(task, start, vectors):
  params, aux = start
  dead = np.zeros(aux.usage_LxV.shape, bool)
  dead[0, [2, 7]] = dead[2, 5] = True
  far = 1e3
  codebooks = jnp.where(dead[..., None], far, params["codebooks_LxVxD"])
  usage = jnp.where(dead, 1e-6, jnp.maximum(aux.usage_LxV, 0.01))
  params = {**params, "codebooks_LxVxD": codebooks}
  aux = Averages(usage, codebooks * usage[..., None])
  batch = {"vectors_BxF": jnp.asarray(vectors[:BATCH])}
  amend = jax.jit(task.amend)
  after, after_aux = amend(params, aux, batch, jax.random.key(0))

  moved = np.asarray(after["codebooks_LxVxD"])
  np.testing.assert_allclose(moved[~dead], np.asarray(codebooks)[~dead], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(after_aux.usage_LxV[~dead], np.asarray(usage)[~dead])
  # Each dead code now is something that its level was given, another one for each code.
  latents = autoencoder.apply(params["encoder"], batch["vectors_BxF"])
  residuals = quantize(after["codebooks_LxVxD"], latents).residuals_LxBxD
  for level, code in zip(*np.nonzero(dead), strict=True):
    distance = np.abs(np.asarray(residuals)[level] - moved[level, code]).max(1)
    assert distance.min() < 1e-5
  assert not np.allclose(moved[0, 2], moved[0, 7])
  assert (encode(SMALL, after, batch["vectors_BxF"])[:, 0] == 2).any()
  # It is not dead any more, and a second look moves nothing.
  again, _ = amend(after, after_aux, batch, jax.random.key(1))
  np.testing.assert_allclose(again["codebooks_LxVxD"], moved, rtol=1e-5, atol=1e-5)


def test_a_code_that_faded_away_stays_finite(start, vectors):
  params, aux = start
  task = rqvae_task(dataclasses.replace(SMALL, revive_below=0.0), vectors)
  aux = jax.tree.map(jnp.zeros_like, aux)
  after, _ = task.amend(params, aux, {"vectors_BxF": vectors[:8]}, jax.random.key(0))
  np.testing.assert_array_equal(after["codebooks_LxVxD"], params["codebooks_LxVxD"])


def test_training_lowers_the_loss_and_uses_the_codebooks(start, trained, vectors):
  params, metrics = trained
  before = selection_score(SMALL, start[0], vectors)
  after = selection_score(SMALL, params, vectors)
  assert after["reconstruction"] < 0.4 * before["reconstruction"]
  assert metrics["reconstruction"][-50:].mean() < 0.5 * metrics["reconstruction"][:10].mean()
  measured = report(encode(SMALL, params, vectors), SMALL.codebook_size)
  assert min(level["share_used"] for level in measured["levels"]) >= 0.9
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
  "options",
  [
    {"codebook_update": "gradient", "estimator": "rotation"},
    {"distance": "cosine", "sinkhorn_levels": "last", "sinkhorn_iterations": 5},
  ],
)
def test_every_option_trains(vectors, options):
  config = dataclasses.replace(SMALL, kmeans_iterations=3, **options)
  task = rqvae_task(config, vectors)
  before, _ = jax.jit(task.init)(jax.random.key(0))
  params, _ = trainer(task, vectors, steps=60, learning_rate=1e-2)(jax.random.key(0))
  scores = [selection_score(config, p, vectors)["reconstruction"] for p in (before, params)]
  assert scores[1] < 0.7 * scores[0]
  unseen = encode(config, params, 5 * mixture(seed=9, num_items=100))
  assert unseen.min() >= 0
  assert unseen.max() < 16


def test_selection_score_adds_error_and_collisions(trained, vectors):
  params, _ = trained
  # Every item twice: all collide, and the reconstruction is as good as before.
  twice = selection_score(SMALL, params, np.repeat(vectors, 2, axis=0))
  assert twice["collision_rate"] == 1.0
  error = unexplained_variance(vectors, decode(params, encode(SMALL, params, vectors)))
  assert twice["reconstruction"] == pytest.approx(error, rel=1e-5)
  assert twice["score"] == pytest.approx(1.0 + error, rel=1e-5)


def test_the_key_decides(trained, train):
  params, _ = trained
  again, _ = train(jax.random.key(1))
  jax.tree.map(np.testing.assert_array_equal, params, again)
  other, _ = train(jax.random.key(2))
  assert not np.array_equal(params["codebooks_LxVxD"], other["codebooks_LxVxD"])


def test_fewer_items_than_codes_and_repeated_items():
  few = np.repeat(mixture(num_items=5), 2, axis=0)
  task = rqvae_task(SMALL, few)
  params, aux = jax.jit(task.init)(jax.random.key(0))
  batch = {"vectors_BxF": few}
  _, _, aux, _ = evaluate(SMALL, few, params, aux, few)
  params, _ = jax.jit(task.amend)(params, aux, batch, jax.random.key(0))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
  codes = np.asarray(encode(SMALL, params, few))
  np.testing.assert_array_equal(codes[::2], codes[1::2])
  assert len(np.unique(codes, axis=0)) == 5


def test_zero_vectors_among_others_are_encoded(trained, vectors):
  params, _ = trained
  mixed = np.concatenate([np.zeros((2, 12), np.float32), vectors[:4]])
  for distance in ("euclidean", "cosine"):
    config = dataclasses.replace(SMALL, distance=distance)
    codes = encode(config, params, mixed)
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_array_equal(codes[2:], encode(config, params, vectors[:4]))


def test_a_large_catalogue_is_sampled_for_the_start(vectors, monkeypatch):
  monkeypatch.setattr(rqvae_task_module, "INIT_ITEMS", 200)
  samples, start = [], rqvae_task_module.autoencoder.start

  def record(hidden, latent_dim, vectors_NxF, *keys):
    samples.append(vectors_NxF)
    return start(hidden, latent_dim, vectors_NxF, *keys)

  monkeypatch.setattr(rqvae_task_module.autoencoder, "start", record)
  params, aux = jax.jit(rqvae_task(SMALL, vectors).init)(jax.random.key(0))
  (sample,) = samples
  assert len(np.unique(sample, axis=0)) == 200  # no item twice
  counts = np.asarray(aux.usage_LxV) * 200
  np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
  assert np.isfinite(params["codebooks_LxVxD"]).all()


def test_tokenizer_trains_by_the_function_it_is_given(start, vectors):
  seen = {}

  def train_fn(task, key, given):
    seen.update(task=task, key=key, given=given)
    return start[0]

  tokenizer = rqvae(SMALL, train_fn)
  assert (tokenizer.name, tokenizer.num_levels, tokenizer.codebook_size) == ("rqvae", 3, 16)
  key = jax.random.key(7)
  params = tokenizer.fit(key, vectors)
  assert seen["key"] is key
  assert seen["given"] is vectors
  shapes = jax.eval_shape(seen["task"].init, key)[0]
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)
  codes = tokenizer.encode(params, vectors)
  np.testing.assert_array_equal(codes, encode(SMALL, params, vectors))
  np.testing.assert_array_equal(tokenizer.decode(params, codes), decode(params, codes))
  np.testing.assert_array_equal(
    tokenizer.costs(params, vectors, codes, 1), costs(SMALL, params, vectors, codes, 1)
  )


def untrained(start):
  """The tokenizer of the parameters that training starts from."""
  return rqvae(SMALL, lambda *_: start[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_named(start, vectors, bad):
  broken = vectors.copy()
  broken[[41, 77], 3] = bad
  tokenizer = untrained(start)
  for use in (tokenizer.fit, tokenizer.encode):
    with pytest.raises(ValueError, match="row 41;"):
      use(jax.random.key(0) if use is tokenizer.fit else start[0], broken)


def test_vectors_without_variance_are_refused():
  for num_items in (1, 9):
    with pytest.raises(ValueError, match=f"all {num_items} rows equal row 0"):
      rqvae_task(SMALL, np.full((num_items, 4), 0.1, np.float32))


def test_other_shapes_are_refused(start, vectors):
  params, tokenizer = start[0], untrained(start)
  with pytest.raises(ValueError, match=r"5 wide.*width 12"):
    tokenizer.encode(params, vectors[:, :5])
  with pytest.raises(ValueError, match="items, width"):
    tokenizer.encode(params, vectors[0])
  with pytest.raises(ValueError, match="items, width"):
    tokenizer.encode(params, vectors[:0])
  for shape in ((4, 2), (0, 3)):
    with pytest.raises(ValueError, match=r"items, 3"):
      tokenizer.decode(params, np.zeros(shape, int))
  codes = np.zeros((5, 3), int)
  with pytest.raises(ValueError, match=r"6 vectors do not match codes of shape \(5, 3\)"):
    tokenizer.costs(params, vectors[:6], codes, 1)
  with pytest.raises(ValueError, match=r"level 3 is outside 0\.\.2"):
    tokenizer.costs(params, vectors[:5], codes, 3)
  with pytest.raises(ValueError, match=r"token 16 at \[0, 0\] is outside 0\.\.15"):
    tokenizer.costs(params, vectors[:5], codes + 16, 1)
  with pytest.raises(ValueError, match=r"outside 0\.\.15"):
    tokenizer.decode(params, np.full((4, 3), 16))


@pytest.mark.parametrize(
  "setting",
  [
    {"num_levels": 0},
    {"codebook_size": 0},
    {"latent_dim": 0},
    {"hidden": (8, 0)},
    {"commitment": -1.0},
    {"usage_decay": 1.0},
    {"revive_below": -0.1},
    {"sinkhorn_epsilon": 0.0},
    {"sinkhorn_iterations": 0},
  ],
)
def test_settings_that_make_no_sense_are_named(setting):
  with pytest.raises(ValueError, match=next(iter(setting))):
    RQVAEConfig(**SIZES | setting)


def test_the_smallest_settings_are_taken():
  sizes = {"num_levels": 1, "codebook_size": 1, "hidden": (1,), "latent_dim": 1}
  made = RQVAEConfig(**sizes, commitment=0.0, usage_decay=0.0, sinkhorn_iterations=1)
  assert (made.num_levels, made.codebook_size) == (1, 1)


@pytest.mark.parametrize(
  ("name", "wrong", "right"),
  [
    ("codebook_update", "gradients", "gradient"),
    ("estimator", "straight-through", "straight_through"),
    ("distance", "cosin", "cosine"),
    ("sinkhorn_levels", "lasst", "last"),
  ],
)
def test_the_error_of_a_wrong_name_has_the_nearest_right_one(name, wrong, right):
  with pytest.raises(ValueError, match=f"unknown {name} '{wrong}'; did you mean '{right}'"):
    RQVAEConfig(**SIZES, **{name: wrong})


def test_settings_may_come_as_lists():
  made = [RQVAEConfig(**SIZES, hidden=hidden) for hidden in ([8, 4], (8, 4))]
  assert hash(made[0]) == hash(made[1])
