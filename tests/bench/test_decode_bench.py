"""The benchmarks of the search, at sizes that take moments: what is compared agrees."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from sidrec.bench import faiss_indexes, growth, layouts, trie
from sidrec.bench.decoding_model import make_model, make_params, random_codes
from sidrec.bench.tiled_beam import next_states
from sidrec.bench.unconstrained_beam import unconstrained_search
from sidrec.catalogue.trie.trie import build_trie
from sidrec.models.memory import KINDS
from sidrec.search import beam
from sidrec.search.settings import SearchConfig

SMALL = {
  "width": 16,
  "heads": 2,
  "head_width": 8,
  "hidden": 16,
  "encoder_layers": 1,
  "decoder_layers": 1,
}


def test_random_codes_differ():
  codes_NxL = random_codes(1000, 3, 13)
  assert codes_NxL.shape == (1000, 3)
  assert len(np.unique(codes_NxL, axis=0)) == 1000
  assert codes_NxL.max() == 12
  with pytest.raises(ValueError, match="do not fit well"):
    random_codes(1000, 3, 12)


def test_next_states_lead_to_every_item():
  codes_NxL = random_codes(50, 3, 5)
  table_ExV = next_states(codes_NxL, 5)
  at_N = np.zeros(50, int)
  for token_N in codes_NxL.T:
    at_N = table_ExV[at_N, token_N]
  assert at_N.tolist() == list(range(50))
  # As many ways as there are prefixes, the root left out.
  prefixes = sum(len(np.unique(codes_NxL[:, : depth + 1], axis=0)) for depth in range(3))
  assert (table_ExV >= 0).sum() == prefixes


def test_layouts_find_the_same_items():
  sizes = layouts.Sizes(
    (2,), (6,), (5,), items=300, codes=8, repeats=1, generate=False, model=SMALL
  )
  measured = layouts.measure(sizes, say=lambda line: None)  # compares results itself
  assert measured["tiled_ms_b2_s6_k5"] > 0
  assert measured["ours_temp_mib_b2_s6_k5"] < measured["tiled_temp_mib_b2_s6_k5"]
  assert_parameters(measured, "layouts", codes=8, levels=layouts.LEVELS)


def assert_parameters(measured, case, codes, levels):
  """The figures say that nothing is by item or node, and count what there is."""
  assert measured[f"parameters_items_{case}"] == measured[f"parameters_nodes_{case}"] == 0
  assert measured[f"parameters_levels_{case}"] == 2 * levels * codes * SMALL["width"]
  kinds = [measured[f"parameters_{kind}_{case}"] for kind in KINDS]
  assert sum(kinds) == measured[f"parameters_{case}"] > 0


def test_other_items_are_noticed():
  result = lambda item: beam.Recommendations(np.array([[0, item]]), np.zeros((1, 2)), None)
  layouts._check_same("x", result(1), result(1))
  with pytest.raises(AssertionError, match="found 1 of 2"):
    layouts._check_same("x", result(1), result(2))


def test_unconstrained_search_is_ours_over_all_ids():
  codes_NxL = np.stack(np.unravel_index(np.arange(64), (8, 8)), axis=1)
  tree = build_trie(codes_NxL, every_prefix=False)
  model = make_model(64, 2, 8, 4, **SMALL).clone(given_states=True)
  params = make_params(model.clone(given_states=False))
  states = jax.random.normal(jax.random.key(0), (3, 4, 16))
  ours = jax.jit(lambda params: beam.search(model, params, tree, states, SearchConfig(beams=6)))(
    params
  )
  search = jax.jit(lambda params: unconstrained_search(model, params, tree.codes_NxL, states, 6))
  code_BxKxL, score_BxK = search(params)
  assert (codes_NxL[ours.item_BxK] == np.asarray(code_BxKxL)).all()
  np.testing.assert_allclose(score_BxK, ours.score_BxK, rtol=1e-5)


def test_the_trie_is_measured():
  sizes = trie.Sizes((200,), (8,), (3,), (4,), batch=2, positions=4, repeats=1, model=SMALL)
  measured = trie.measure(sizes, say=lambda line: None)
  assert measured["bytes_per_item_n200_v8_l3"] < 30
  assert measured["constraint_overhead_v8_max"] == measured["overhead_n200_v8_l3_k4"] > -1
  assert_parameters(measured, "n200_v8_l3", codes=8, levels=3)
  of_parameters = 4 * measured["parameters_n200_v8_l3"] / 200
  of_trie = measured["bytes_per_item_n200_v8_l3"]
  assert measured["model_bytes_n200_v8_l3"] == pytest.approx(of_parameters + of_trie, rel=0.01)


def test_exact_retrieval_in_chunks(monkeypatch):
  monkeypatch.setattr(growth, "CHUNK", 16)
  table = jax.random.normal(jax.random.key(0), (50, 4))
  user = jax.random.normal(jax.random.key(1), (3, 4))
  score_BxK, item_BxK = growth.top_items(table, user, 7)
  expected_score, expected_item = jax.lax.top_k(user @ table.T, 7)
  np.testing.assert_allclose(score_BxK, expected_score, rtol=1e-5)
  assert (item_BxK == jnp.asarray(expected_item)).all()


def without_faiss():
  raise ImportError("no FAISS")


def test_growth_without_faiss_measures_the_rest(monkeypatch, tmp_path):
  """And what is measured is written before a plot fails, whose library may be missing, too."""
  monkeypatch.setattr(faiss_indexes, "imported", without_faiss)
  sizes = growth.Sizes((30, 60), codes=8, levels=3, batch=2, positions=4, repeats=1, model=SMALL)
  said = []
  measured = growth.measure(sizes, said.append)
  (missing,) = [line for line in said if "FAISS" in line]
  assert missing.endswith("so that its indexes are left out: pip install 'sidrec[bench]'")
  for items in sizes.items:
    for name in ("sidrec_ms_per_user", "encoder_ms_per_user", "exact_ms_per_user"):
      assert measured[f"{name}_n{items}"] > 0
    assert measured[f"exact_over_sidrec_n{items}"] > 0
  assert not [name for name in measured if "flat" in name or "hnsw" in name]

  monkeypatch.setattr(growth, "measure", lambda sizes: measured)
  monkeypatch.setattr(growth, "plot_sizes", lambda *args: without_faiss())
  values = flags.FlagValues()
  growth.define_flags(values)
  values(["growth", "--items=30,60", f"--json={tmp_path / 'g.json'}", "--plot=x.png"])
  with pytest.raises(SystemExit, match="no FAISS"):
    growth.main(["growth"], values)
  written = json.loads((tmp_path / "g.json").read_text())
  assert {name: written[name] for name in measured} == measured


@pytest.mark.parametrize(
  ("ratios", "expected"),
  [([2, 3, 4], 10), ([0.1, 0.5, 0.9], None), ([0.1, 10, 100], 31.6), ([2, 0.1, 10], 316)],
)
def test_crossing(ratios, expected):
  found = growth.crossing_point([10, 100, 1000], ratios)
  assert found == (expected if expected is None else pytest.approx(expected, rel=0.01))
