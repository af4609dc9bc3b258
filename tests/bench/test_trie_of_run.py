"""The search of a run beside one without its catalogue; tests/run/test_stages.py measures a run."""

import types

import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.bench.trie_of_run import compare, without_catalogue
from sidrec.data.events import Events
from sidrec.search.settings import SearchConfig


def quiet(line):
  pass


def test_a_search_beside_one_without_its_catalogue():
  model, trie, path = make_model(all_codes(2, 6)[:30], item_head=True)
  params = init_params(model, trie, path)
  events = Events(np.array([[0, 4, 2, 9], [7, 1, -1, -1]], np.int32))
  measured = compare(model, params, trie, SearchConfig(beams=6), events, 1, quiet)
  assert (measured["run_batch"], measured["run_beams"]) == (2, 6)
  assert measured["run_item_head"]
  for name in ("served", "levels", "unconstrained"):
    assert measured[f"run_{name}_ms"] > 0
  ratio = measured["run_levels_ms"] / measured["run_unconstrained_ms"]
  assert measured["run_overhead"] == pytest.approx(ratio - 1)
  assert measured["parameters_items_run"] == 30 * (8 + 1)
  assert measured["parameters_nodes_run"] == trie.num_nodes * (8 + 1)
  with pytest.raises(ValueError, match="7 beams, and without a trie it begins with at most 6"):
    compare(model, params, trie, SearchConfig(beams=7), events, 1, quiet)
  plugged = types.SimpleNamespace(config=types.SimpleNamespace(setting="mine"))
  with pytest.raises(ValueError, match="'mine' is a plugin's"):
    without_catalogue(plugged)
