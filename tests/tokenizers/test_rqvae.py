"""RQ-VAE: quantisation against NumPy, gradients by hand, dead codes, and training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sidrec.tokenizers import rqvae as module
from sidrec.tokenizers.kmeans import BLOCK_SIZE
from sidrec.tokenizers.quality import report, unexplained_variance
from sidrec.tokenizers.rqvae import (
  RQVAEConfig,
  decode,
  encode,
  quantise,
  reconstruct,
  rqvae,
  rqvae_task,
  selection_score,
  straight_through,
)
from sidrec.training.state import init_state, update

SMALL = RQVAEConfig(num_levels=3, codebook_size=16, hidden=(32, 16), latent_dim=8)
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
  aux = {"usage_LxV": np.full((3, 16), 1 / 16, np.float32), "sums_LxVxD": draw(3, 16, 8)}
  config = dataclasses.replace(SMALL, hidden=(), commitment=0.0)
  return config, params, aux


def reference_codes(codebooks, latents):
  """Residual nearest-neighbour search, item by item, in float64."""
  codes = []
  for residual in np.asarray(latents, np.float64):
    codes.append([])
    for codebook in np.asarray(codebooks, np.float64):
      code = np.square(codebook - residual).sum(1).argmin()
      residual = residual - codebook[code]
      codes[-1].append(code)
  return np.array(codes)


def test_codes_equal_a_numpy_search(start, vectors):
  params, _ = start
  latents = module._latents(SMALL, params["encoder"], jnp.asarray(vectors))
  codes = encode(SMALL, params, vectors)
  assert codes.dtype == np.int32
  np.testing.assert_array_equal(codes, reference_codes(params["codebooks_LxVxD"], latents))


def test_quantise_returns_what_each_level_was_given():
  codebooks = jnp.array([[[0.0], [10.0]], [[0.0], [2.0]], [[-1.0], [1.0]]])
  codes, residuals = quantise(codebooks, jnp.array([[11.5], [0.9]]))
  np.testing.assert_array_equal(codes, [[1, 0], [1, 0], [0, 1]])
  np.testing.assert_allclose(residuals[..., 0], [[11.5, 0.9], [1.5, 0.9], [-0.5, 0.9]], rtol=1e-5)


def test_decode_sums_codewords(start):
  params, _ = start
  codes = np.array([[3, 0, 15], [1, 1, 1]])
  books = np.asarray(params["codebooks_LxVxD"])
  latents = np.stack([sum(books[level, c] for level, c in enumerate(row)) for row in codes])
  expected = module._outputs(SMALL, params["decoder"], jnp.asarray(latents))
  np.testing.assert_allclose(decode(SMALL, params, codes), expected, rtol=1e-5, atol=1e-6)


def test_blocks_change_nothing(start):
  params, _ = start
  many = mixture(num_items=2 * BLOCK_SIZE + 5)
  whole = encode(SMALL, params, many)
  parts = [encode(SMALL, params, many[i : i + 300]) for i in range(0, len(many), 300)]
  np.testing.assert_array_equal(whole, np.concatenate(parts))
  decoded = decode(SMALL, params, whole)
  assert decoded.shape == many.shape
  np.testing.assert_allclose(decoded[-5:], decode(SMALL, params, whole[-5:]), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(decoded, reconstruct(SMALL, params, many))
  assert encode(SMALL, params, many[:0]).shape == (0, 3)


def test_straight_through_is_the_identity_for_gradients():
  latents, quantised = jnp.array([[0.3, -2.0]]), jnp.array([[1.0, -1.0]])
  weights = jnp.array([[5.0, 7.0]])
  value, (to_latents, to_quantised) = jax.value_and_grad(
    lambda z, q: (weights * straight_through(z, q) ** 2).sum(), argnums=(0, 1)
  )(latents, quantised)
  assert float(value) == pytest.approx(12.0)
  np.testing.assert_allclose(to_latents, 2 * weights * quantised, rtol=1e-6)  # 2 w q · dz/dz
  np.testing.assert_array_equal(to_quantised, jnp.zeros((1, 2)))


def test_reconstruction_gradient_by_hand(linear, vectors):
  config, params, aux = linear
  task = rqvae_task(config, vectors)
  batch = vectors[:BATCH]
  grads = jax.grad(lambda p: task.loss(p, aux, {"vectors_BxF": batch}, jax.random.key(0))[0])(
    params
  )

  decoder, books = params["decoder"]["layer_0"], params["codebooks_LxVxD"]
  codes = np.asarray(encode(config, params, batch))
  quantised = books[0, codes[:, 0]] + books[1, codes[:, 1]] + books[2, codes[:, 2]]
  error = quantised @ decoder["kernel"] + decoder["bias"] - batch
  to_outputs = 2 * error / BATCH / vectors.var(0).sum()
  to_latents = to_outputs @ decoder["kernel"].T  # straight through
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
  close(grads["encoder"]["layer_0"]["kernel"], batch.T @ to_latents)
  close(grads["encoder"]["layer_0"]["bias"], to_latents.sum(0))
  close(grads["decoder"]["layer_0"]["kernel"], quantised.T @ to_outputs)
  np.testing.assert_array_equal(grads["codebooks_LxVxD"], 0)


def test_commitment_gradient_reaches_the_encoder_only(linear, vectors):
  config, params, aux = linear
  batch = {"vectors_BxF": vectors[:BATCH]}

  def gradients(weight):
    task = rqvae_task(dataclasses.replace(config, commitment=weight), vectors)
    return jax.grad(lambda p: task.loss(p, aux, batch, jax.random.key(0))[0])(params)

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


def test_losses_by_hand(task, start, vectors):
  params, aux = start
  batch = vectors[:50]
  loss, (_, metrics) = task.loss(params, aux, {"vectors_BxF": batch}, jax.random.key(0))
  latents = np.asarray(module._latents(SMALL, params["encoder"], jnp.asarray(batch)))
  codes = np.asarray(encode(SMALL, params, batch))
  partial, commitment = 0, 0
  for level in range(SMALL.num_levels):
    partial = partial + np.asarray(params["codebooks_LxVxD"])[level, codes[:, level]]
    commitment += np.square(latents - partial).mean()
    share = np.bincount(codes[:, level]) / 50
    share = share[share > 0]
    perplexity = np.exp(-(share * np.log(share)).sum())
    assert float(metrics[f"perplexity_{level + 1}"]) == pytest.approx(perplexity, rel=1e-4)
  squares = np.square(np.asarray(reconstruct(SMALL, params, batch)) - batch).sum(1).mean()
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
    float(rqvae_task(config, x).loss(p, aux, {"vectors_BxF": x}, jax.random.key(0))[0])
    for p, x in ((params, vectors), (scaled, small * vectors))
  ]
  assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_start_is_standardised_and_near_the_mean(start, vectors):
  params, aux = start
  latents = np.asarray(module._latents(SMALL, params["encoder"], jnp.asarray(vectors)))
  np.testing.assert_allclose(latents.mean(0), 0, atol=1e-4)
  assert 0.8 < latents.std() < 1.3
  assert unexplained_variance(vectors, reconstruct(SMALL, params, vectors)) < 1.2
  np.testing.assert_allclose(aux["usage_LxV"].sum(1), 1, rtol=1e-5)


def test_kmeans_start_quantises_better_than_random_items(start, vectors):
  params, _ = start
  latents = module._latents(SMALL, params["encoder"], jnp.asarray(vectors))

  def error(codebooks):
    codes, residuals = quantise(codebooks, latents)
    return float(jnp.square(residuals[-1] - codebooks[-1][codes[-1]]).mean())

  random, residuals = [], latents
  for level in range(SMALL.num_levels):
    rows = jax.random.choice(jax.random.key(level), len(vectors), (16,), replace=False)
    random.append(residuals[rows])
    residuals = residuals - random[-1][quantise(random[-1][None], residuals)[0][0]]
  assert error(params["codebooks_LxVxD"]) < 0.8 * error(jnp.stack(random))


def test_codebooks_follow_moving_averages(task, start, vectors):
  params, aux = start
  batch = {"vectors_BxF": vectors[:BATCH]}
  _, (after, _) = task.loss(params, aux, batch, jax.random.key(0))
  moved, _ = task.amend(params, after, batch, jax.random.key(0))
  latents = np.asarray(module._latents(SMALL, params["encoder"], jnp.asarray(batch["vectors_BxF"])))
  codes = np.asarray(encode(SMALL, params, batch["vectors_BxF"]))[:, 0]
  for code in range(SMALL.codebook_size):
    own = latents[codes == code]
    before = float(aux["usage_LxV"][0, code])
    usage = 0.97 * before + 0.03 * len(own) / BATCH
    sums = 0.97 * before * params["codebooks_LxVxD"][0, code] + 0.03 * own.sum(0) / BATCH
    np.testing.assert_allclose(moved["codebooks_LxVxD"][0, code], sums / usage, atol=1e-4)


def test_dead_codes_are_revived_and_live_ones_stay(task, start, vectors):
  params, aux = start
  dead = np.zeros(aux["usage_LxV"].shape, bool)
  dead[0, [2, 7]] = dead[2, 5] = True
  far = 1e3
  codebooks = jnp.where(dead[..., None], far, params["codebooks_LxVxD"])
  usage = jnp.where(dead, 1e-6, jnp.maximum(aux["usage_LxV"], 0.01))
  params = {**params, "codebooks_LxVxD": codebooks}
  aux = {"usage_LxV": usage, "sums_LxVxD": codebooks * usage[..., None]}
  batch = {"vectors_BxF": jnp.asarray(vectors[:BATCH])}
  after, after_aux = jax.jit(task.amend)(params, aux, batch, jax.random.key(0))

  moved = np.asarray(after["codebooks_LxVxD"])
  np.testing.assert_allclose(moved[~dead], np.asarray(codebooks)[~dead], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(after_aux["usage_LxV"][~dead], np.asarray(usage)[~dead])
  # Each dead code now is something that its level was given, another one for each code.
  latents = module._latents(SMALL, params["encoder"], batch["vectors_BxF"])
  _, residuals = quantise(after["codebooks_LxVxD"], latents)
  for level, code in zip(*np.nonzero(dead), strict=True):
    distance = np.abs(np.asarray(residuals)[level] - moved[level, code]).max(1)
    assert distance.min() < 1e-5
  assert not np.allclose(moved[0, 2], moved[0, 7])
  assert (encode(SMALL, after, batch["vectors_BxF"])[:, 0] == 2).any()
  # It is not dead any more, and a second look moves nothing.
  again, _ = task.amend(after, after_aux, batch, jax.random.key(1))
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


def test_selection_score_adds_error_and_collisions(trained, vectors):
  params, _ = trained
  # Every item twice: all collide, and the reconstruction is as good as before.
  twice = selection_score(SMALL, params, np.repeat(vectors, 2, axis=0))
  assert twice["collision_rate"] == 1.0
  error = unexplained_variance(vectors, reconstruct(SMALL, params, vectors))
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
  _, (aux, _) = task.loss(params, aux, batch, jax.random.key(0))
  params, _ = task.amend(params, aux, batch, jax.random.key(0))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
  codes = np.asarray(encode(SMALL, params, few))
  np.testing.assert_array_equal(codes[::2], codes[1::2])
  assert len(np.unique(codes, axis=0)) == 5


def test_a_large_catalogue_is_sampled_for_the_start(vectors, monkeypatch):
  monkeypatch.setattr(module, "INIT_ITEMS", 200)
  params, aux = jax.jit(rqvae_task(SMALL, vectors).init)(jax.random.key(0))
  counts = np.asarray(aux["usage_LxV"]) * 200
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
  np.testing.assert_array_equal(
    tokenizer.decode(params, codes), reconstruct(SMALL, params, vectors)
  )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_named(start, vectors, bad):
  broken = vectors.copy()
  broken[[41, 77], 3] = bad
  for use in (lambda: rqvae_task(SMALL, broken), lambda: encode(SMALL, start[0], broken)):
    with pytest.raises(ValueError, match=r"row 41 \(2 such rows"):
      use()


def test_vectors_without_variance_are_refused():
  with pytest.raises(ValueError, match="all 9 rows equal row 0"):
    rqvae_task(SMALL, np.ones((9, 4), np.float32))


def test_other_shapes_are_refused(start, vectors):
  params, _ = start
  with pytest.raises(ValueError, match=r"5 wide.*width 12"):
    encode(SMALL, params, vectors[:, :5])
  with pytest.raises(ValueError, match="items, width"):
    encode(SMALL, params, vectors[0])
  with pytest.raises(ValueError, match=r"items, 3"):
    decode(SMALL, params, np.zeros((4, 2), int))
  with pytest.raises(ValueError, match=r"outside 0\.\.15"):
    decode(SMALL, params, np.full((4, 3), 16))


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
  ],
)
def test_settings_that_make_no_sense_are_named(setting):
  with pytest.raises(ValueError, match=next(iter(setting))):
    RQVAEConfig(**setting)


def test_settings_may_come_as_lists():
  assert hash(RQVAEConfig(hidden=[8, 4])) == hash(RQVAEConfig(hidden=(8, 4)))
