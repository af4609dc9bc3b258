"""What a catalogue's model and trie are made of."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from etils import epath
from tiny import all_codes, init_params, log_likelihood

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import build_trie, paths
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.run.sasrec import SASREC
from sidrec.run.settings import RunConfig
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.train import TRAIN, make_model

CODES = np.random.default_rng(1).permutation(all_codes(4, 6))[:40].astype(np.int32)
SMALL = RecommenderConfig(width=8, heads=1, head_width=8, hidden=8, history_length=4)


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_tails_have_nodes_only_where_the_model_has_parameters_for_them(setting):
  ids = SemanticIDManager.from_codes(CODES, 6)
  sizes = {}
  for node_bias, node_vectors in [(True, False), (False, True), (False, False)]:
    model = dataclasses.replace(
      SMALL, setting=setting, node_bias=node_bias, node_vectors=node_vectors
    )
    model, trie = make_model(RunConfig(model=model), ids)
    assert model.sizes == CatalogueSizes.of(trie, 6)
    assert trie.every_prefix == (node_bias or node_vectors)
    sizes[node_bias, node_vectors] = trie.first_row_node
  assert sizes[False, False] < sizes[True, False] == sizes[False, True]
  # The likelihood is the same, bit for bit.
  whole = build_trie(CODES)
  params = init_params(model, trie, paths(trie))
  history = np.array([[3, 1, 4, -1], [5, 9, 2, 6]], np.int32)
  target = history if setting == "dense" else history[:, :1]
  found, expected = (
    log_likelihood(model, params, history, target, x, paths(x)) for x in (trie, whole)
  )
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("stage", [TOKENIZE, TRAIN, SASREC])
def test_a_training_asks_before_anything_else_whether_it_can_save(stage, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)  # no package is needed to refuse
  nothing_before = {}  # what it would read first
  with pytest.raises(ValueError, match="s3://shop/run: a training cannot save its checkpoints"):
    stage.build(RunConfig(), epath.Path("s3://shop/run"), nothing_before)


@pytest.mark.parametrize(("tokenizer", "weight"), [("rkmeans", 1.0), ("rqvae", 0.0)])
def test_item_vectors_of_a_sasrec_are_trained_too(tokenizer, weight, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
  config = RunConfig()
  sasrec = dataclasses.replace(config.features.sasrec, weight=weight)
  config = dataclasses.replace(
    config,
    features=dataclasses.replace(config.features, sasrec=sasrec),
    tokenizer=dataclasses.replace(config.tokenizer, name=tokenizer),
  )
  with pytest.raises(ValueError, match="a training cannot save"):
    TOKENIZE.build(config, epath.Path("s3://shop/run"), {})


def test_a_tokenizer_that_saves_no_checkpoint_needs_no_folder_for_them():
  config = RunConfig()
  tokenizer = dataclasses.replace(config.tokenizer, name="rkmeans")
  with pytest.raises(KeyError, match="prepare"):  # what it reads first
    TOKENIZE.build(
      dataclasses.replace(config, tokenizer=tokenizer), epath.Path("s3://shop/run"), {}
    )
