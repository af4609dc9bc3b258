"""Our trie beside STATIC's index: same continuations and IDs, or it is said that they differ.

Here X counts the beams of all histories.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from sidrec.bench import static_index, step_indexes
from sidrec.bench.decoding_model import random_codes
from sidrec.bench.static_index import Continuations, Index, Sizes
from sidrec.catalogue.trie.trie import ROOT

SIZES = Sizes((60,), codes=6, levels=4, beams=5, batch=3, repeats=1)
TIMES = [*(f"step{level}" for level in range(4)), "search"]
OURS = {"ours_build_s", "ours_bytes", "ours_bytes_read", "ours_bytes_without_codes"} | {
  f"fan_out{level}" for level in range(4)
}
STATIC = {"static_sort_s", "static_build_s", "static_bytes", "static_bytes_dense"}


def missing():
  raise ImportError("no static_decoding")


def names(figures, name):
  return {f"{x}_n60" for x in figures | {f"{name}_{what}_ms" for what in TIMES}}


def measured_with(monkeypatch, other):
  """What `measure` does with this index in place of STATIC's."""
  monkeypatch.setattr(static_index, "installed", lambda say: True)
  figures = dict.fromkeys(STATIC, 1.0)
  monkeypatch.setattr(static_index, "build_static", lambda codes_NxL, codes: (other, figures))
  return static_index.measure(SIZES, say=lambda line: None)


def ours_of(codes_NxL):
  return static_index.build_ours(codes_NxL, SIZES.codes)[0]


def test_without_static_ours_is_measured_alone(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(step_indexes, "imported", missing)
  values = flags.FlagValues()
  static_index.define_flags(values)
  path = tmp_path / "static.json"
  given = ["--items=60", "--codes=6", "--levels=4", "--beams=5", "--batch=3", "--repeats=1"]
  values(["static_index", *given, f"--json={path}"])
  static_index.main(["static_index"], values)
  said = [line for line in capsys.readouterr().out.split("\n") if "static_decoding" in line]
  assert said == [
    "static_decoding is not installed, so that our trie is measured alone: "
    "pip install git+https://github.com/youtube/static-constraint-decoding"
  ]
  written = json.loads(path.read_text())
  assert written.keys() == names(OURS, "ours") | {"repeats", "hardware"}
  assert all(written[name] > 0 for name in names(OURS, "ours"))


def test_bytes_say_what_they_count():
  codes_NxL = random_codes(60, 4, 6)
  index, figures = static_index.build_ours(codes_NxL, 6)
  assert figures["ours_bytes"] == index.arrays.num_bytes
  # IDs of 12 bits in a word of 4 bytes, and 4 bytes from an item to its row.
  assert figures["ours_bytes"] - figures["ours_bytes_without_codes"] == 60 * (4 + 4)
  first, second, *_ = (figures[f"fan_out{level}"] for level in range(4))
  assert first == len(np.unique(codes_NxL[:, 0]))
  seconds = [len({*codes_NxL[codes_NxL[:, 0] == code, 1].tolist()}) for code in range(6)]
  assert second == max(seconds)
  # Neither from rows to items nor back; `used` and `numbering` are a number each.
  assert figures["ours_bytes"] - figures["ours_bytes_read"] == 60 * (4 + 4) + 4 + 4


def test_both_are_measured_where_static_is_installed():
  pytest.importorskip("static_decoding")
  said = []
  measured = static_index.measure(SIZES, said.append)  # compares continuations and IDs itself
  assert measured.keys() == names(OURS, "ours") | names(STATIC, "static")
  assert all(value > 0 for value in measured.values())
  assert not [line for line in said if "not installed" in line]
  dense = 6 + 6 * 6 * (1 + 4)  # a mask of the root; for pairs a mask and a state
  assert measured["static_bytes_dense_n60"] == dense
  codes_NxL = random_codes(60, 4, 6)
  prefixes = {depth: len(np.unique(codes_NxL[:, :depth], axis=0)) for depth in (2, 3, 4)}
  # The root, each first token, all longer prefixes but whole IDs; padding, and where each one ends.
  states, transitions = 1 + 6 + prefixes[2] + prefixes[3], sum(prefixes.values()) + 6
  assert measured["static_bytes_n60"] - dense == 8 * transitions + 4 * (states + 2)


@pytest.mark.parametrize(("items", "codes", "levels"), [(13, 3, 3), (500, 7, 5), (300, 300, 4)])
def test_static_gives_what_the_ids_say(items, codes, levels):
  """Continuations of both are those of the table of IDs; so are all IDs that a search finds."""
  pytest.importorskip("static_decoding")
  codes_NxL = random_codes(items, levels, codes)
  logp_LxBxKxV = static_index.random_logp(
    Sizes((items,), codes=codes, levels=levels, beams=4, batch=2)
  )
  for build in (static_index.build_ours, static_index.build_static):
    index, _ = build(codes_NxL, codes)
    node_BxK = jnp.full((2, 1), ROOT, jnp.int32)
    at_BxK = np.arange(8).reshape(2, 4)
    for level, logp_BxKxV in enumerate(logp_LxBxKxV):
      logp_BxKxV = logp_BxKxV[:, : node_BxK.shape[1]]
      more = index.extend(index.arrays, logp_BxKxV, node_BxK, level)
      prefix_BxKxl = codes_NxL[at_BxK[:, : node_BxK.shape[1]], :level]
      expected = expected_pairs(codes_NxL, prefix_BxKxl, np.asarray(logp_BxKxV))
      assert static_index._valid(more) == expected
      node_BxK = static_index.next_nodes(more, codes_NxL[at_BxK, level])
    code_BxKxL, score_BxK = static_index.search(index.extend, index.arrays, logp_LxBxKxV, 4)
    found = {tuple(code_L) for code_L in np.asarray(code_BxKxL)[np.isfinite(score_BxK)].tolist()}
    assert found
    assert found <= {tuple(code_L) for code_L in codes_NxL.tolist()}


def expected_pairs(codes_NxL, prefix_BxKxl, logp_BxKxV):
  """Tokens with log p of each beam, from the IDs themselves."""
  batch, beams, level = prefix_BxKxl.shape
  prefix_Xxl, logp_XxV = (x.reshape(batch * beams, x.shape[2]) for x in (prefix_BxKxl, logp_BxKxV))
  pairs = []
  for prefix_l, logp_V in zip(prefix_Xxl, logp_XxV, strict=True):
    here_N = (codes_NxL[:, :level] == prefix_l).all(axis=1)
    pairs.append([(x, float(logp_V[x])) for x in np.unique(codes_NxL[here_N, level]).tolist()])
  return pairs


def test_a_search_finds_the_best_ids():
  """With as many beams as there are prefixes, it is the exact list of the best."""
  codes_NxL = random_codes(30, 3, 4)
  logp_LxBxKxV = static_index.random_logp(Sizes((30,), codes=4, levels=3, beams=30, batch=2))
  logp_LxBxKxV = jnp.broadcast_to(logp_LxBxKxV[:, :, :1], logp_LxBxKxV.shape)  # the same everywhere
  index = ours_of(codes_NxL)
  code_BxKxL, score_BxK = static_index.search(index.extend, index.arrays, logp_LxBxKxV, 30)
  for history in range(2):
    level_L = np.arange(3)
    logp_N = np.asarray(logp_LxBxKxV)[level_L, history, 0, codes_NxL].sum(axis=1)
    order_N = np.argsort(-logp_N)
    np.testing.assert_allclose(score_BxK[history], logp_N[order_N], rtol=1e-5)
    np.testing.assert_array_equal(code_BxKxL[history], codes_NxL[order_N])


def test_the_same_ids_pass(monkeypatch):
  measured = measured_with(monkeypatch, ours_of(random_codes(60, 4, 6)))
  assert measured.keys() == names(OURS, "ours") | names(STATIC, "static")


def test_an_index_with_an_id_more_is_noticed(monkeypatch):
  codes_NxL = random_codes(60, 4, 6)
  # A continuation more behind the first beam's item, whose last token has siblings it lacks.
  first_L = codes_NxL[np.random.default_rng(2).integers(0, 60, (3, 5))[0, 0]]
  known = {tuple(code_L) for code_L in codes_NxL.tolist()}
  added_L = next(code_L for x in range(6) if (code_L := (*first_L[:3].tolist(), x)) not in known)
  other = ours_of(np.concatenate([codes_NxL, np.array([added_L], np.uint16)]))
  with pytest.raises(
    AssertionError, match=r"level 3, beam 0: ours has 2 .* other 3, of which 2 are"
  ):
    measured_with(monkeypatch, other)


def test_an_index_that_leads_elsewhere_is_noticed(monkeypatch):
  """Its continuations of a level are right, but the nodes behind them are other ones."""
  trie = ours_of(random_codes(60, 4, 6))

  def extend(arrays, logp_BxKxV, node_BxK, level):
    more = trie.extend(arrays, logp_BxKxV, node_BxK, level)
    turned = jnp.roll(more.node_BxKxC, 1, axis=-1)
    return more._replace(node_BxKxC=turned) if level == 0 else more

  with pytest.raises(AssertionError, match="level 1, beam 0: ours has"):
    measured_with(monkeypatch, Index(trie.arrays, extend))


def test_an_index_with_other_probabilities_is_noticed(monkeypatch):
  trie = ours_of(random_codes(60, 4, 6))

  def extend(arrays, logp_BxKxV, node_BxK, level):
    return trie.extend(arrays, logp_BxKxV + 0.25 * (level == 2), node_BxK, level)

  with pytest.raises(AssertionError, match=r"level 2, beam 0: .* of which 0 are the same"):
    measured_with(monkeypatch, Index(trie.arrays, extend))


def test_an_index_that_lacks_an_item_is_noticed():
  trie, row = ours_of(random_codes(60, 4, 6)), np.array([[7]])
  more = trie.extend(trie.arrays, jnp.zeros((1, 1, 6)), jnp.array([[ROOT]]), 0)
  with pytest.raises(AssertionError, match="does not lead to an item"):
    static_index.next_nodes(more, row)


def test_searches_that_differ_are_noticed():
  found = jnp.zeros((1, 2, 3), jnp.int32), jnp.array([[-1.0, -jnp.inf]])
  check = static_index.check_same_search
  check(found, (found[0].at[0, 1].set(1), found[1]))  # what stands in no beam does not count
  with pytest.raises(AssertionError, match="found other IDs"):
    check(found, (found[0].at[0, 0, 2].set(1), found[1]))
  with pytest.raises(AssertionError, match="other log probabilities"):
    check(found, (found[0], found[1] - 0.5))


def test_searches_are_compared_before_they_are_timed(monkeypatch):
  monkeypatch.setattr(static_index, "alternate", lambda runs, repeats: dict.fromkeys(runs, 1.0))
  codes_NxL, logp_LxBxKxV = random_codes(60, 4, 6), static_index.random_logp(SIZES)
  indexes = {"ours": ours_of(codes_NxL), "static": ours_of(codes_NxL[:, ::-1])}
  with pytest.raises(AssertionError, match="found other IDs"):
    static_index._measure_searches(indexes, logp_LxBxKxV, 1)
  same = {"ours": indexes["ours"], "static": indexes["ours"]}
  expected = {"ours_search": 1.0, "static_search": 1.0}
  assert static_index._measure_searches(same, logp_LxBxKxV, 1) == expected


def test_twice_the_same_continuation_is_noticed():
  once = Continuations(jnp.array([[[-1.0, -jnp.inf]]]), jnp.zeros((1, 1, 2), int), jnp.zeros(2))
  twice = once._replace(logp_BxKxC=jnp.full((1, 1, 2), -1.0))
  static_index.check_same_continuations(0, once, once)
  with pytest.raises(AssertionError, match="ours has 1 continuations and the other 2, of which 1"):
    static_index.check_same_continuations(0, once, twice)
