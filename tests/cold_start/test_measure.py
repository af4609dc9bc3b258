"""The experiment on the shipped data, small; and new items in a finished run."""

import json

import numpy as np
import pytest

from sidrec.cold_start import measure, new_items
from sidrec.config import default_config
from sidrec.data.cache import load_dataset
from sidrec.data.sources.build import item_table
from sidrec.run import recommend
from sidrec.run.load import load_recommender


def small_config():
  config = default_config()
  config.features.cooccurrence.dim = 8
  config.features.content.title_buckets = 16
  config.tokenizer.update(name="residual_kmeans", codebook_size=64)
  config.tokenizer.kmeans.iterations = 5
  config.model.update(history_length=8, width=16, heads=1, head_width=16, hidden=16)
  config.model.update(encoder_layers=1)
  config.train.update(steps=20, steps_per_call=10, validate_every=20, valid_users=256)
  config.search.update(beams=10, results=10, batch_size=512)
  config.cold_start.update(shares=(0.01, 0.5), largest_loss=1.0)
  return config


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("cold")
  config = small_config()
  measure.cold_start(config, workdir)
  return config, workdir


def test_nothing_of_a_held_out_item_is_in_the_run(done):
  _, workdir = done
  whole = load_dataset(workdir / "dataset.npz")
  left = load_dataset(workdir / "cold_start" / "stages" / "prepare.1" / "dataset.npz")
  measured = json.loads((workdir / "cold_start.json").read_text())
  assert measured["items"] == {"known": left.items.num_items, "new": 2414 - left.items.num_items}
  assert 121 <= measured["items"]["new"] < 135
  assert np.isin(left.items.ids_N, whole.items.ids_N).all()
  assert (
    len(np.load(workdir / "cold_start" / "stages" / "tokenize.1" / "vectors.npy"))
    == left.items.num_items
  )


def test_the_share_governs_how_many_new_items_are_shown(done):
  _, workdir = done
  measured = json.loads((workdir / "cold_start.json").read_text())
  shown = [measured["valid"][share]["all"]["new@10"] for share in ("0", "0.01", "0.5")]
  assert shown[0] == 0 < shown[1] < shown[2]
  assert measured["share"] == 0.5
  test = measured["test"]
  assert test["known items alone"]["cold"]["recall@10"] == 0
  assert test["share 0.5"]["cold"]["recall@10"] > 0
  users = test["share 0.5"]
  assert users["cold"]["users"] + users["warm"]["users"] == users["all"]["users"]
  assert users["all"]["users"] + measured["users_left_out"]["test"] == 4333


def test_a_second_run_keeps_what_is_there(done, capsys):
  config, workdir = done
  capsys.readouterr()
  measure.cold_start(config, workdir)
  out = capsys.readouterr().out
  assert "train: unchanged, kept" in out
  assert "cold_start: unchanged, kept" in out
  assert "items were held out" in out


def test_a_finished_run_recommends_new_items(done):
  config, workdir = done
  run = config.copy_and_resolve_references()
  run.cold_start.held_out = True
  films = item_table(["9999999", "9999998"], ["New (2014)", "Newer (2015)"], [["Drama"]] * 2, {})
  before = load_recommender(run, workdir / "cold_start")
  histories, users = before.dataset.histories, np.arange(40)
  old = recommend.recommend(before, histories, users, exclude_seen=True)
  count = before.dataset.items.num_items
  shown = []
  for share in (0.0, 0.05, 1.0):
    grown = new_items.with_new_items(run, workdir / "cold_start", films, share)
    assert grown.dataset.items.titles_N[-2:].tolist() == ["New (2014)", "Newer (2015)"]
    np.testing.assert_array_equal(grown.ids.codes[:count], before.ids.codes)
    result = recommend.recommend(grown, histories, users, exclude_seen=True)
    if share == 0:
      np.testing.assert_array_equal(result.item_BxK, old.item_BxK)
      np.testing.assert_allclose(result.score_BxK, old.score_BxK, atol=1e-4)
    shown.append((result.item_BxK >= count).mean())
  assert shown[0] == 0 < shown[1] <= shown[2]
  # New items count as history, too, and are not recommended again.
  mine = recommend.history_of_items([0, count])
  result = recommend.recommend(grown, mine, np.array([0]), exclude_seen=True)
  assert result.item_BxK[0][result.valid_BxK[0]].tolist() == [count + 1]


def test_an_item_of_the_catalogue_is_refused(done):
  config, workdir = done
  run = config.copy_and_resolve_references()
  run.cold_start.held_out = True
  there = load_dataset(
    workdir / "cold_start" / "stages" / "prepare.1" / "dataset.npz"
  ).items.ids_N.item(0)
  film = item_table([there], ["Old (2014)"], [["Drama"]], {})
  with pytest.raises(ValueError, match="is in the catalogue already"):
    new_items.with_new_items(run, workdir / "cold_start", film, 0.1)
