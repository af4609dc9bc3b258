"""The search from encoder states."""

import jax
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

import sidrec
from sidrec.search import beam
from sidrec.search.settings import SearchConfig

CODES = np.random.default_rng(0).permutation(all_codes(3, 4))[:40]
HISTORY = np.array([[3, 1, 4, -1], [5, 9, 2, 6], [-1, -1, -1, -1]], np.int32)


@pytest.fixture(scope="module", params=["dense", "tiger"])
def case(request):
  model, trie, path = make_model(CODES, setting=request.param)
  return {"params": init_params(model, trie, path, scale=3.0), "trie": trie, "model": model}


def found(case, *args, **options):
  return sidrec.beam_search(sidrec.encode(history_BxS=HISTORY, **case), *args, **case, **options)


def test_codes_and_probabilities_are_those_of_the_search(case):
  result = found(case, 40)
  config = SearchConfig(beams=40, item_weight=0.0)
  items = beam.search(case["model"], case["params"], case["trie"], HISTORY, config)
  np.testing.assert_array_equal(result.code_BxKxL, CODES[np.asarray(items.item_BxK)])
  # Two programs, which later versions of XLA fuse in different ways.
  np.testing.assert_allclose(result.logp_BxK, items.score_BxK, rtol=5e-5, atol=1e-5)
  np.testing.assert_allclose(result.p_BxK.sum(axis=1), 1.0, atol=1e-4)
  assert result.valid_BxK.all()


def test_prefixes_have_the_probabilities_of_all_that_follows(case):
  whole, prefixes = found(case, 40), found(case, 16, 2)
  assert prefixes.code_BxKxL.shape == (3, 16, 2)
  for b in range(3):
    for code, p, valid in zip(*(np.asarray(x[b]) for x in prefixes), strict=True):
      below = (np.asarray(whole.code_BxKxL[b])[:, :2] == code).all(axis=1)
      expected = float(whole.p_BxK[b][below].sum())
      assert valid == bool(below.any())
      assert expected == pytest.approx(np.exp(p), abs=1e-5)


def test_filters_and_too_many_beams(case):
  result = found(case, 5, filters=sidrec.Filters(None, [[3], [], [1, 2]]))
  assert result.valid_BxK.sum(axis=1).tolist() == [1, 0, 2]
  assert result.code_BxKxL[0].tolist() == [CODES[3].tolist()] + [[-1] * 3] * 4
  assert np.isneginf(result.logp_BxK[1]).all()


def test_a_draw_is_repeated_by_its_key(case):
  draws = [found(case, 5, key=jax.random.key(seed)).code_BxKxL.tolist() for seed in (0, 0, 1)]
  assert draws[0] == draws[1] != draws[2]


def test_no_histories_have_no_results(case):
  encoded = sidrec.encode(history_BxS=[], **case)
  result = sidrec.beam_search(encoded, 5, **case)
  assert [x.shape for x in result] == [(0, 5, 3), (0, 5), (0, 5)]


@pytest.mark.parametrize(
  ("args", "message"),
  [((0,), "beam_size is 0"), ((5, 0), "max_length is 0; IDs have 1 to 3"), ((5, 4), "is 4; IDs")],
)
def test_numbers_that_make_no_sense(case, args, message):
  with pytest.raises(ValueError, match=message):
    found(case, *args)


def test_other_encoder_outputs_are_refused(case):
  with pytest.raises(TypeError, match=r"encoder_output is a ndarray; see sidrec\.encode"):
    sidrec.beam_search(np.zeros((3, 8)), 5, **case)
