"""What `import sidrec` offers: a run trained, loaded from its folder, and asked."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny import tiny_config

import sidrec
from sidrec.data.dataset import held_out_view
from sidrec.data.seen import seen_items
from sidrec.models.settings import CatalogueSizes
from sidrec.run.load import load_recommender
from sidrec.run.recommend import histories_before, write_lists
from sidrec.tokenizers.lsh import lsh


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  config = tiny_config(folder)
  config.model.item_head = True
  return config, folder, sidrec.fit(config, folder)


def test_library_evaluation_and_command_line_give_the_same_lists(trained, tmp_path):
  config, folder, run = trained
  recommender = load_recommender(config, folder)
  task = held_out_view(run.dataset.histories, "test")
  users_U, seen = np.arange(60), seen_items(task.histories)
  evaluated = recommender.recommend_users(recommender.params, task.histories, users_U, seen)
  histories = [task.histories.of(user).tolist() for user in users_U]
  filters = sidrec.Filters(sidrec.padded_lists(histories))
  history_UxS = np.array([row + [-1] * (8 - len(row)) for row in histories])
  found = sidrec.load(folder).recommend_rows(history_UxS, 20, filters)
  np.testing.assert_array_equal(found.item_BxK, evaluated.item_BxK)
  np.testing.assert_allclose(found.score_BxK, evaluated.score_BxK, atol=1e-5)

  path = tmp_path / "lists.jsonl"
  before = histories_before(run.dataset.histories, "test")
  write_lists(recommender, before, users_U, 20, True, path)
  lines = [json.loads(line)["items"] for line in path.open()]
  assert lines == [
    run.dataset.items.ids_N[row[valid]].tolist()
    for row, valid in zip(np.asarray(found.item_BxK), np.asarray(found.valid_BxK), strict=True)
  ]


def test_the_library_adds_the_item_head_by_default(trained):
  _, _, run = trained
  history = np.array([[0, 1, 2]])
  default = sidrec.recommend(run.params, run.trie, history, 20, model=run.model)
  without = sidrec.SearchConfig(item_weight=0.0)
  plain = sidrec.recommend(run.params, run.trie, history, 20, model=run.model, search=without)
  assert not np.allclose(default.score_BxK, plain.score_BxK)
  # What is evaluated, but for the number of beams, which is the default's here.
  evaluated = dataclasses.replace(run.search, beams=sidrec.SearchConfig.beams)
  ranked = sidrec.recommend(run.params, run.trie, history, 20, model=run.model, search=evaluated)
  jax.tree.map(np.testing.assert_array_equal, default, ranked)


def test_a_run_searches_from_encoder_states(trained):
  _, _, run = trained
  found = run.beam_search(run.encode([[0, 1, 2]]), 30)
  known = {tuple(code) for code in run.ids.codes.tolist()}
  assert {tuple(code) for code in np.asarray(found.code_BxKxL[0]).tolist()} == known
  assert float(found.p_BxK.sum()) == pytest.approx(1, abs=1e-3)


def test_saved_parameters_say_which_catalogue_they_are_for(trained):
  _, folder, run = trained
  other = sidrec.build_trie(run.ids.codes[::-1])
  model = run.model.clone(sizes=CatalogueSizes.of(other, run.model.sizes.codebook_size))
  with pytest.raises(ValueError, match="the parameters are for another trie"):
    sidrec.recommend(sidrec.load(folder).params, other, [[0]], 5, model=model)


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"there is no run in .*: no stage is done there"):
    sidrec.load(tmp_path)


def test_parameters_of_another_catalogue_are_refused(trained):
  _, _, run = trained
  smaller = sidrec.build_trie(run.ids.codes[:20])
  with pytest.raises(ValueError, match=r"the trie has 20 items and the model 30.*transfer"):
    sidrec.recommend(run.params, smaller, np.array([[0]]), 5, model=run.model)


def test_registered_tokenizers_are_known_by_name(trained, tmp_path, monkeypatch):
  from sidrec.tokenizers import registry

  monkeypatch.setattr(registry, "TOKENIZERS", dict(registry.TOKENIZERS))
  sidrec.register_tokenizer(
    "mine", lambda config, train: lsh(config.num_levels, config.codebook_size)
  )
  with pytest.raises(ValueError, match="there is a tokenizer 'mine' already"):
    sidrec.register_tokenizer("mine", lambda config, train: None)
  config = tiny_config(tmp_path)
  config.tokenizer.name = "mine"
  config.tokenizer.codebook_size = 8
  assert sidrec.fit(config, tmp_path).ids.metadata["generation_method"] == "mine"
