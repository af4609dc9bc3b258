"""The whole pipeline on the shipped data, small: stages, files, recommendations."""

import json
import shutil

import numpy as np
import pytest
from tiny import tiny_config

import sidrec
from sidrec import SemanticIDManager
from sidrec.bench import beam_recall, trie_of_run
from sidrec.config import default_config
from sidrec.data.cache import load_dataset
from sidrec.data.dataset import held_out_view
from sidrec.evaluation.metrics import per_user_metrics, rank_in_list, summarise
from sidrec.run import item_vectors, named_rows, recommend
from sidrec.run.evaluate import EVALUATE
from sidrec.run.load import load_recommender, load_semantic_ids
from sidrec.run.stages import STAGES, run_to, status_text


def small_config():
  config = default_config()
  config.features.cooccurrence.dim = 8
  config.features.content.title_buckets = 16
  config.tokenizer.codebook_size = 64
  config.tokenizer.rqvae.update(hidden=(16,), latent_dim=8, batch_size=256)
  config.tokenizer.rqvae.update(steps=20, steps_per_call=20, validate_every=20)
  config.model.update(history_length=8, width=16, heads=1, head_width=16, hidden=16)
  config.model.update(encoder_layers=1)
  config.train.update(steps=20, steps_per_call=10, validate_every=20, valid_users=64)
  config.search.update(beams=20, batch_size=512)
  return config


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """A finished run."""
  workdir = tmp_path_factory.mktemp("run")
  config = small_config()
  run_to("evaluate", config, workdir)
  return config, workdir


def test_every_file_of_a_run_is_there(done):
  _, workdir = done
  names = {path.name for path in workdir.iterdir()}
  assert names >= {
    "config.json",
    "dataset.npz",
    "items.tsv",
    "vectors.npy",
    "tokenizer",
    "features",
    "tokenizer.json",
    "tokenizer.txt",
    "meanings.txt",
    "semantic_ids.json",
    "index.json",
    "new_tokens.txt",
    "checkpoints",
    "recommender",
    "per_user.npz",
    "evaluation.json",
    "evaluation.txt",
  }
  assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == 20
  for folder, stage in (("tokenize.1", "tokenizer"), ("train.1", "recommender")):
    path = workdir / "stages" / folder
    assert {json.loads(line)["stage"] for line in (path / "metrics.jsonl").open()} == {stage}
    assert any((path / "tensorboard" / stage).iterdir())


def test_semantic_ids_name_every_item_once(done):
  _, workdir = done
  ids = SemanticIDManager.load_from_file(workdir / "semantic_ids.json")
  assert ids.num_items == 2414
  assert ids.metadata["generation_method"] == "rqvae"
  assert len(np.unique(ids.codes, axis=0)) == 2414
  report = json.loads((workdir / "tokenizer.json").read_text())
  assert report["levels"][0]["codes_used"] > 32


def test_evaluation_json_has_systems_splits_and_both_ways(done):
  _, workdir = done
  evaluation = json.loads((workdir / "evaluation.json").read_text())
  assert evaluation["protocol"]["num_users"] == 4333
  assert set(evaluation["results"]) == {"sidrec", "item-knn", "item-knn-cosine", "popular"}
  for splits in evaluation["results"].values():
    assert set(splits) == {"valid", "test"}
    for ways in splits.values():
      assert set(ways) == {"masked", "unmasked"}
      for metrics in ways.values():
        assert 0 < metrics["ndcg@10"] <= metrics["recall@10"] <= metrics["recall@20"] < 1


def test_a_second_run_redoes_nothing_and_a_changed_setting_only_what_follows(
  done, tmp_path, capsys, monkeypatch
):
  config, workdir = done
  workdir = shutil.copytree(workdir, tmp_path / "run", symlinks=True)
  written = []

  def write(config, folder, before):
    written.append(config.search.results)
    (folder / "evaluation.txt").touch()

  monkeypatch.setitem(STAGES, "evaluate", EVALUATE._replace(build=write, shows=None))
  capsys.readouterr()
  run_to("evaluate", config, workdir)
  out = capsys.readouterr().out
  assert all(f"{s}: unchanged, kept" in out for s in ("prepare", "tokenize", "train", "evaluate"))
  changed = config.copy_and_resolve_references()
  changed.search.results = 10
  run_to("evaluate", changed, workdir)
  out = capsys.readouterr().out
  assert "train: unchanged, kept" in out
  assert "evaluate: done again, because search.results was 20 and is 10" in out
  assert written == [10]


def test_a_finished_run_answers_without_writing_anything(done, capsys):
  """As it must in a folder that cannot be written to."""
  config, workdir = done

  def times():
    return {path: path.lstat().st_mtime_ns for path in [workdir, *workdir.rglob("*")]}

  before, item = times(), str(load_recommender(config, workdir).dataset.items.ids_N[0])
  run_to("evaluate", config, workdir)
  recommend.answer(config, workdir, recommend.Request(items=[item]))
  sidrec.load(workdir)
  status_text(config, workdir)
  assert times() == before


def test_written_lists_give_the_metrics_of_the_table(done, tmp_path):
  config, workdir = done
  recommender = load_recommender(config, workdir)
  dataset = load_dataset(workdir / "dataset.npz")
  histories = recommend.histories_before(dataset.histories, "test")
  users = np.arange(histories.num_users)
  table = json.loads((workdir / "evaluation.json").read_text())["results"]["sidrec"]["test"]
  row_of = {item: row for row, item in enumerate(dataset.items.ids_N.tolist())}
  target = held_out_view(dataset.histories, "test").target_U
  for exclude, way in [(True, "masked"), (False, "unmasked")]:
    path = tmp_path / f"{way}.jsonl"
    recommend.write_lists(recommender, histories, users, 20, exclude, path)
    lines = [json.loads(line) for line in path.open()]
    assert [line["user"] for line in lines] == dataset.histories.user_ids_U.tolist()
    items = np.array([[row_of[item] for item in line["items"]] for line in lines])
    assert (np.diff([line["scores"] for line in lines], axis=1) <= 0).all()
    again = summarise(per_user_metrics(rank_in_list(items, np.ones_like(items, bool), target), 20))
    assert again["ndcg@10"] == pytest.approx(table[way]["ndcg@10"])
    if exclude:
      seen = [set(histories.of(user).tolist()) for user in users]
      assert not any(set(row) & s for row, s in zip(items.tolist(), seen, strict=True))


def test_a_user_who_has_seen_almost_everything(done):
  config, workdir = done
  recommender = load_recommender(config, workdir)
  histories = recommend.history_of_items(np.arange(2414 - 3))
  result = recommend.recommend(recommender, histories, np.array([0]), exclude_seen=True)
  assert sorted(result.item_BxK[0, :3]) == [2411, 2412, 2413]
  assert result.valid_BxK[0].sum() == 3


def test_printed_recommendations(done, capsys):
  config, workdir = done
  recommender = load_recommender(config, workdir)
  rows = named_rows.rows_of_titles("The Matrix, Nosuchfilm (1900)", recommender.dataset.items)
  assert recommender.dataset.items.titles_N[rows[0]] == "The Matrix (1999)"
  assert "not in the catalogue: 'Nosuchfilm (1900)'" in capsys.readouterr().out
  recommend.print_lists(recommender, recommend.history_of_items(rows), np.array([0]), 4)
  out = capsys.readouterr().out
  assert "after: The Matrix (1999)" in out
  assert "  4. " in out
  assert "  5. " not in out
  assert out.count("[") == 4


@pytest.mark.slow
def test_beam_recall_of_a_run(done, monkeypatch):
  """As many beams as items find the exact top ten; ten beams miss some of it."""
  _, workdir = done
  monkeypatch.setattr(beam_recall, "USERS_AT_ONCE", 8)
  found = beam_recall.measure(workdir, (10, 2414), 4, say=lambda line: None)
  assert (found["recall_users"], found["recall_items"]) == (4, 2414)
  assert found["beam_recall_2414"] == found["exact_match_2414"] == 1.0
  assert 0 < found["beam_recall_10"] < 1
  # Without an item head, what is served is ranked by the IDs.
  assert found["served_recall_10"] == found["beam_recall_10"]
  assert found["parameters_items_run"] == 2414 * 16
  measured = trie_of_run.measure(workdir, 4, 1, say=lambda line: None)
  assert (measured["run_batch"], measured["run_beams"]) == (4, 20)
  assert measured["parameters_run"] == found["parameters_run"]
  assert 0.5 < found["bf16_overlap"] <= 1
  # Its softmax ran over real continuations only: of free codes it knows nothing.
  assert found["illegal_share"] > 0.5


def test_unknown_ids_and_titles_are_refused(done):
  config, workdir = done
  recommender = load_recommender(config, workdir)
  with pytest.raises(ValueError, match="item '12' is not in the data set"):
    named_rows.rows_of_ids("12", recommender.dataset.items.ids_N, "item")
  with pytest.raises(ValueError, match="none of the titles"):
    named_rows.rows_of_titles("zzz", recommender.dataset.items)


def test_recommending_with_other_settings_is_refused(done):
  config, workdir = done
  other = config.copy_and_resolve_references()
  other.model.width = 32
  with pytest.raises(ValueError, match=r"model.width was 16 and is 32"):
    load_recommender(other, workdir)


def test_recommending_before_training_says_what_to_do(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"stage 'prepare' is not done .*--mode=all"):
    load_recommender(small_config(), tmp_path)


def test_radix_ids_need_no_digit(tmp_path):
  config = small_config()
  config.tokenizer.update(name="radix", num_levels=2, codebook_size=64)
  run_to("tokenize", config, tmp_path)
  ids = load_semantic_ids(config, tmp_path)
  assert ids.get_semantic_id(520) == [8, 8]
  assert ids.id_length == 2


def test_item_vectors_of_other_settings_do_not_go_on_from_the_checkpoints(tmp_path, monkeypatch):
  found = []

  def train_sasrec(model, config, histories, seed, workdir, name, mesh):
    del mesh
    folder = workdir / name / "checkpoints"
    found.append(folder.exists())
    folder.mkdir(parents=True, exist_ok=True)
    return {"item": np.eye(model.config.num_items, 8, dtype=np.float32)}

  monkeypatch.setattr(item_vectors, "train_sasrec", train_sasrec)
  config = tiny_config(tmp_path)
  config.features.cooccurrence.weight = 0.0
  config.features.sasrec.weight = 1.0
  run_to("tokenize", config, tmp_path)
  run_to("tokenize", config, tmp_path)
  config.features.sasrec.steps = 7
  run_to("tokenize", config, tmp_path)
  assert found == [False, False]


def told(capsys, run, *args):
  """What a function prints."""
  capsys.readouterr()
  run(*args)
  return capsys.readouterr().out


@pytest.mark.parametrize("paper", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_tiger_setting_trains_and_recommends(tmp_path, paper, capsys):
  config = tiny_config(tmp_path)
  config.model.setting = "tiger"
  config.train.update(steps=4, steps_per_call=2, validate_every=4)
  if paper:
    config.model.update(positions="relative", user_tokens=20, constrained_softmax=False)
    config.model.update(item_embedding=False, node_bias=False, node_vectors=False)
    config.train.update(schedule="inverse_sqrt")
  else:  # large parameters and the trie's rows spread over two devices, memory saved
    config.mesh.model = 2
    config.train.accumulate = 2
    config.model.remat = True
  run_to("train", config, tmp_path)
  # How a run is computed may change; what it computes is not done again for that.
  config.mesh.model, config.train.accumulate, config.model.remat = 4, 1, False
  assert "train: unchanged, kept" in told(capsys, run_to, "train", config, tmp_path)
  recommender = load_recommender(config, tmp_path)
  result = recommend.recommend(
    recommender, recommend.history_of_items([0, 1]), np.array([0]), exclude_seen=True
  )
  assert result.valid_BxK.all()
  assert not set(result.item_BxK[0].tolist()) & {0, 1}


def test_unknown_tokenizer_names_the_nearest(tmp_path):
  config = small_config()
  config.tokenizer.name = "rqva"
  with pytest.raises(ValueError, match="did you mean 'rqvae'"):
    run_to("tokenize", config, tmp_path)
