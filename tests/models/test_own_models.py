"""Models of plugins: the same beam, the same files, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plugged import clean_registers, write_plugins
from tiny import all_codes

from sidrec.catalogue.trie.trie import build_trie, paths
from sidrec.data.inputs import InputsConfig
from sidrec.models.base import SemanticIDModel
from sidrec.models.own_models import check_agrees, check_grows, chosen_model
from sidrec.models.recommender import architecture, make_model
from sidrec.models.settings import MODELS, CatalogueSizes, RecommenderConfig
from sidrec.plugins import NextItemModel, child_log_softmax, load_plugins, register_model
from sidrec.search import beam
from sidrec.search.filters import NO_FILTERS, Filters
from sidrec.search.settings import SearchConfig
from sidrec.trainers.recommender import recommender_task

# 20 of 27 IDs: nodes have one to three children.
CODES_NxL = all_codes(3, 3)[np.random.default_rng(0).permutation(27)[:20]]
TRIE = build_trie(CODES_NxL)
SIZES = CatalogueSizes.of(TRIE, 3)
HISTORY_BxS = np.array([[3, 1, 4, -1], [9, -1, -1, -1], [5, 2, 6, 19], [-1, -1, -1, -1]], np.int32)


@pytest.fixture(autouse=True)
def registers():
  with clean_registers():
    yield


@pytest.fixture
def latest(tmp_path):
  """The example of docs/plug_in.md with random parameters: (model, params)."""
  load_plugins([write_plugins(tmp_path)["latest"]])
  config = RecommenderConfig(
    setting="latest", history_length=4, plugins={"latest": {"width": 5}, "other": {"x": 1}}
  )
  model = make_model(config, SIZES)
  inputs = (HISTORY_BxS, np.zeros((4, 1), np.int32), TRIE, paths(TRIE))
  init = functools.partial(model.init, method="log_likelihood")
  params = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
  rng = np.random.default_rng(1)
  return model, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)


@functools.partial(jax.jit, static_argnames=("model", "beams"))
def search(model, params, beams, filters=NO_FILTERS):
  return beam.search(model, params, TRIE, HISTORY_BxS, SearchConfig(beams=beams), filters)


def by_brute_force(model, params):
  """log p of every item after every history: [B, N]."""
  num_items = len(CODES_NxL)
  likelihood = jax.jit(
    lambda target_Bx1: model.apply(
      {"params": params}, HISTORY_BxS, target_Bx1, TRIE, paths(TRIE), method="log_likelihood"
    ).sum(axis=(1, 2))
  )
  return np.stack([likelihood(np.full((4, 1), item)) for item in range(num_items)], axis=1)


@pytest.mark.parametrize("beams", [20, 5])
def test_beam_search_finds_what_brute_force_finds(latest, beams):
  model, params = latest
  logp_BxN = by_brute_force(model, params)
  np.testing.assert_allclose(np.exp(logp_BxN).sum(axis=1), 1.0, rtol=1e-5)
  found = search(model, params, beams)
  score_BxK = np.take_along_axis(logp_BxN, np.asarray(found.item_BxK), axis=1)
  np.testing.assert_allclose(found.score_BxK, score_BxK, rtol=1e-5)
  if beams == 20:
    np.testing.assert_array_equal(found.item_BxK, np.argsort(-logp_BxN, axis=1))
  forbidden_BxJ = np.asarray(found.item_BxK)[:, :2]
  less = search(model, params, 20, Filters(forbidden_BxJ))
  np.testing.assert_array_equal(
    np.asarray(less.item_BxK)[:, :18],
    [
      [i for i in row if i not in out]
      for row, out in zip(np.argsort(-logp_BxN, axis=1), forbidden_BxJ, strict=True)
    ],
  )


def test_it_learns_what_it_is_shown(latest):
  model, params = latest
  task = recommender_task(model, TRIE)
  batch = {"history_BxS": HISTORY_BxS, "target_Bx1": np.array([[7], [8], [2], [0]], np.int32)}
  gradient = jax.jit(jax.value_and_grad(lambda p: task.loss(p, (), batch, jax.random.key(0))[0]))
  losses = []
  for _ in range(20):
    loss, slope = gradient(params)
    losses.append(float(loss))
    params = jax.tree.map(lambda x, dx: x - 0.1 * dx, params, slope)
  assert losses[-1] < 0.5 * losses[0]
  found = search(model, params, 20)
  first = -np.take_along_axis(by_brute_force(model, params), batch["target_Bx1"], axis=1).mean()
  assert first < losses[-1]
  assert np.isfinite(found.score_BxK).all()


def test_its_settings_are_part_of_the_model_and_its_hash_is_that_of_the_rest(latest):
  model, _ = latest
  assert (model.settings.width, model.settings.decay) == (5, 0.7)
  assert architecture(model.config) is type(model)
  assert hash(model.config) == hash(RecommenderConfig(setting="latest", history_length=4))
  with pytest.raises(ValueError, match=r"setting of model\.plugins\.latest 'widht'; did you mean"):
    make_model(RecommenderConfig(setting="latest", plugins={"latest": {"widht": 3}}), SIZES)
  with pytest.raises(ValueError, match=r"'latest' .*reads items alone, and model\.inputs"):
    make_model(RecommenderConfig(setting="latest", inputs=InputsConfig(gap=True)), SIZES)
  with pytest.raises(ValueError, match=r"not 'latets'; .*--plugin=FILE"):
    RecommenderConfig(setting="latets")
  with pytest.raises(ValueError, match="item_head needs"):
    RecommenderConfig(setting="latest", item_head=True)
  check_grows(model)


class Flat(NextItemModel):
  """Every child is as likely as its siblings."""

  def encode(self, history_BxS, codes_NxL, beams=None, num_items=None):
    return jnp.zeros((jax.tree.leaves(history_BxS)[0].shape[0], 1))

  def step(self, encoded, caches, token_BxK, level, children, temperature=1.0):
    return child_log_softmax(jnp.zeros(children.token.shape), children), caches


def without(name, base=Flat, **members):
  return type("Model", (base,), {name: getattr(NextItemModel, name), **members})


def test_a_model_without_parameters_and_caches_is_searched(tmp_path):
  register_model("flat", Flat)
  model = make_model(RecommenderConfig(setting="flat", history_length=4), SIZES)
  check_agrees(chosen_model(model.config), model, TRIE)
  found = search(model, {}, 20)
  np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, rtol=1e-5)
  with pytest.raises(ValueError, match="the model 'flat' cannot take in other items"):
    check_grows(model)


def short(self, history_BxS):
  return history_BxS


@pytest.mark.parametrize(
  ("model", "said"),
  [
    (without("encode"), r"the model 'mine' \(.*\) lacks the method `encode`; define it"),
    (without("step"), "lacks the method `step`"),
    (type("Model", (Flat,), {"encode": short}), r"`encode` of the model 'mine' .* is called with"),
    (type("Model", (Flat,), {"causal": True}), "is causal and lacks the method `log_likelihood`"),
    (type("Model", (SemanticIDModel,), {"causal": True}), "lacks the method `encode`"),
    (
      type("Model", (SemanticIDModel,), {"causal": True, "encode": Flat.encode}),
      "lacks the method `encode_states`",
    ),
    (3, "is 3; give a subclass of sidrec.NextItemModel"),
    (dict, "give a subclass"),
  ],
)
def test_a_model_that_lacks_something_is_refused(model, said):
  for register in (lambda: register_model("mine", model), lambda: register_model("mine")(model)):
    with pytest.raises(ValueError, match=said):
      register()
  assert "mine" not in MODELS.known


def test_names_are_taken_once():
  for name in ("dense", "tiger"):
    with pytest.raises(ValueError, match="there is a model"):
      register_model(name, Flat)


class Unlike(Flat):
  """It is trained as something else than what is searched."""

  def log_likelihood(
    self, history_BxS, target_BxQ, trie, path_NxLp1, segment_BxS=None, train=False
  ):
    del segment_BxS, train
    found = super().log_likelihood(history_BxS, target_BxQ, trie, path_NxLp1)
    return found - 0.3


class Thin(Unlike):
  """Its log-likelihood has one level."""

  def log_likelihood(
    self, history_BxS, target_BxQ, trie, path_NxLp1, segment_BxS=None, train=False
  ):
    found = super().log_likelihood(history_BxS, target_BxQ, trie, path_NxLp1)
    return found[..., 0]


class Loose(Flat):
  """Its children have a probability of 0.5 each."""

  def step(self, encoded, caches, token_BxK, level, children, temperature=1.0):
    return jnp.where(children.real, jnp.log(0.5), -jnp.inf), caches


class Broken(Flat):
  """It fails."""

  def encode(self, history_BxS, codes_NxL, beams=None, num_items=None):
    return codes_NxL.nothing


@pytest.mark.parametrize(
  ("model", "said"),
  [
    (Unlike, "`log_likelihood` and `step` of the model 'mine' .* disagree: .* by 0.3"),
    (Thin, r"returns shape \[4, 1\]; give \[4, 1, 3\]"),
    (Loose, "gives the children of a prefix a probability of 1.5 together"),
    (Broken, "the model 'mine' .* fails: AttributeError"),
  ],
)
def test_what_would_be_trained_as_something_else_is_refused(model, said):
  register_model("mine", model)
  made = make_model(RecommenderConfig(setting="mine", history_length=4), SIZES)
  with pytest.raises(ValueError, match=said):
    check_agrees(chosen_model(made.config), made, TRIE)
