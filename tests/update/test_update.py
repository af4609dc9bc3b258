"""A finished run takes in a log that has grown: what stays, what moves, what answers."""

import functools
import json
import shutil
import warnings

import jax
import numpy as np
import polars as pl
import pytest
from shop import GROWN, ITEMS, ROWS_OF_LOG, Shop, by_id

import sidrec
from sidrec.data.dataset import training_view
from sidrec.data.parts import take_items
from sidrec.models import counted, similarity
from sidrec.models.transfer import MARK, UNKNOWN, marked, transfer
from sidrec.run.evaluate import EVALUATE
from sidrec.run.generations import generations
from sidrec.run.load import new_item_vectors
from sidrec.run.stage import Manner
from sidrec.run.stages import STAGES, run_to, status_text
from sidrec.run.train import TRAIN
from sidrec.update import training
from sidrec.update import update as module


def same_params(one, other, rtol=0.0):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol), one, other)


def test_items_keep_ids_and_parameters_though_all_rows_shift(shop):
  before = shop.load()
  shop.grow()
  shop.update()
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    after = shop.load()
  old, new = by_id(before), by_id(after)
  assert set(new) == set(old) | {"a-thing"}
  assert all(new[item][0] == old[item][0] + 1 for item in old)
  assert all(new[item][1] == old[item][1] for item in old)
  assert len(np.unique(after.ids.codes, axis=0)) == 31
  row_of = {item: row for item, (row, _) in old.items()}
  trained_row_N = np.array([row_of.get(item, UNKNOWN) for item in after.dataset.items.ids_N])
  vectors = [np.load(shop.workdir / "stages" / f"tokenize.{n}" / "vectors.npy") for n in (1, 2)]
  training = training_view(after.dataset.histories)
  made = counted.tables(after.model.config, training, [training], 31, vectors[1])
  assert set(made) == {*counted.COUNTED} - {similarity.CODEWORDS}
  for name, table in made.items():
    np.testing.assert_array_equal(after.params.pop(name), table)
    assert not np.array_equal(before.params.pop(name), table)
  same_params(after.params, transfer(before.params, before.trie, after.trie, trained_row_N))
  np.testing.assert_array_equal(vectors[0], vectors[1][1:])
  history = after.dataset.histories.of(after.asker.user_of["a-user"])
  assert [after.dataset.items.ids_N[row] for row in history][:2] == ["a-thing", ITEMS[3]]


def test_training_goes_on_from_what_was_carried_over(shop, monkeypatch):
  before = shop.load()
  shop.grow()
  config = shop.config()
  config.nightly.update(steps_share=1.0, learning_rate_share=0.5, replay=1.0, trained_share=0.25)
  given, searched = [], []
  search = lambda params, *asked: searched.append(params)
  monkeypatch.setattr(training, "make_recommend_users", lambda *args: search)

  def train(what, config, histories, seed, mesh, records, start):
    batch_at = what.make_batches(None, what.history_length, 2, seed)
    targets = np.concatenate([batch_at(step)["target_BxS"] for step in range(9)])
    given.append((config, histories, set(targets[targets >= 0].tolist()), start))
    trained = jax.tree.map(lambda x: x + 4, start)
    what.recommend_users(trained)
    return trained

  monkeypatch.setattr(training, "train_next_item", train)
  shop.update(config)
  ((settings, histories, targets, start),) = given
  assert (settings.steps, settings.learning_rate) == (2, config.train.learning_rate / 2)
  assert histories.user_ids_U.tolist() == ["a-user", "user-05", "user-07"]  # they validate
  after = shop.load()
  row_of = {item: row for item, (row, _) in by_id(before).items()}
  row_N = np.array([row_of.get(item, UNKNOWN) for item in after.dataset.items.ids_N])
  carried = transfer(before.params, before.trie, after.trie, row_N)
  for name in counted.OF_FIT:
    np.testing.assert_array_equal(after.params[name], before.params[name])
  for name in {*counted.UNTRAINED} - {similarity.CODEWORDS}:
    del carried[name], after.params[name]
  trained = marked(jax.tree.map(lambda x: x + 1, dict(carried, trie=0)), after.trie)
  # What serves is the mean, a quarter of which was trained; what is validated, too.
  validated = {name: value for name, value in searched[0].items() if name != MARK}
  same_params(validated, jax.tree.map(lambda x: x + 1, start), 1e-6)
  # Nodes that only close ranges are nobody's, and have zeros again.
  same_params(after.params, transfer(trained, after.trie, after.trie, np.arange(31)), 1e-6)
  assert len(start["item"]) >= len(after.params["item"])  # with room, perhaps
  rows = {row for item, (row, _) in by_id(after).items()}
  assert by_id(after)[ITEMS[3]][0] in targets < rows  # pieces alone, not all of the log
  report = json.loads((shop.workdir / "update.json").read_text())
  # The first two events of a-user train, of which the first is no target. Of the other two users
  # those count that were held out before: two and one. One older history has five targets.
  assert report["trained"] | {"cpu_seconds": 0} == {
    **{"steps": 2, "recent targets": 1 + 2 + 1, "replayed targets": 5},
    **{"only read": 1 + 6 + 6 + 1, "cpu_seconds": 0},
  }
  assert report["log"] == {
    **{"events": 487, "new events": 7, "users": 61, "new users": 1},
    **{"items": 31, "new items": 1, "gone items": 0},
  }


@pytest.mark.slow
def test_an_update_trains_and_searches(trained, tmp_path, caplog):
  """Nothing is left out, a model from zero included."""
  shop = Shop(shutil.copytree(trained, tmp_path / "shop", symlinks=True))
  shop.grow()
  config = shop.config()
  config.nightly.update(steps_share=1.0, max_worse=1.0)
  with jax.log_compiles():
    shop.update(config, from_zero=True)
  searches = [x for x in caplog.messages if "Finished XLA compilation of jit(compiled)" in x]
  # That of the updated model's validations and of the comparison with the model before, and two of
  # the model from zero, whose validation has fewer beams.
  assert len(searches) == 3
  report = json.loads((shop.workdir / "update.json").read_text())
  assert report["newest events"]["users"] == 3
  assert {"updated", "before", "from zero"} < set(report["newest events"])
  assert report["cpu_seconds"]["training from zero"] > 0
  assert not (shop.workdir / "from_zero").exists()
  checkpoints = shop.workdir / "checkpoints" / "best"
  assert "0" in {path.name for path in checkpoints.iterdir()}  # what was carried over
  assert shop.load().recommend(user="a-user").items
  run_to("evaluate", config, shop.workdir)
  assert json.loads((shop.workdir / "evaluation.json").read_text())["protocol"]["num_users"] == 61


def test_a_worse_model_is_refused_and_force_promotes_it(shop, measured, monkeypatch):
  before = shop.load()
  measured["updated"] = 0.39
  shop.grow()
  with pytest.raises(
    module.UpdateRefusedError,
    match=r"refused: NDCG@10 .* is 0.3900, and 0.4000 .*-0.0100 .*--force",
  ):
    shop.update()
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    same_params(shop.load().params, before.params)
  assert "last update: refused" in status_text(shop.config(), shop.workdir)
  assert (shop.workdir / "recommender").resolve().parent.name == "train.1"

  def never(*args):
    raise AssertionError("it is trained already")

  monkeypatch.setattr(module, "write_updated", never)
  shop.update(force=True)
  assert len(by_id(shop.load())) == 31
  assert "last update: forced" in status_text(shop.config(), shop.workdir)


def test_a_little_worse_is_not_worse(shop, measured):
  measured["updated"] = 0.4 * 0.985
  shop.grow()
  shop.update()
  assert len(by_id(shop.load())) == 31


def test_what_is_killed_at_any_step_loses_nothing_and_goes_on(shop, monkeypatch):
  before = shop.load()
  shop.grow()

  def kill_at(name, calls):
    """Lets a function of the update fail at its so-manieth call, before or after its work."""
    real, count = getattr(module, name), iter(range(100))

    def fails(*args, **kwargs):
      if next(count) == calls:
        raise KeyboardInterrupt
      return real(*args, **kwargs)

    monkeypatch.setattr(module, name, fails)
    with pytest.raises(KeyboardInterrupt):
      shop.update()
    monkeypatch.setattr(module, name, real)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # that newer outputs are on their way
      return shop.load()

  steps = [
    ("write", 0),
    ("write_grown_catalogue", 0),
    ("write_updated", 0),
    ("write_whole_text", 0),
  ]
  steps += [("reported", 0), ("promote", 0), ("promote", 1), ("promote", 2), ("promote", 3)]
  for name, calls in steps:
    same_params(kill_at(name, calls).params, before.params)
  after = kill_at("_tidy", 0)
  assert len(by_id(after)) == 31
  shop.update()
  same_params(shop.load().params, after.params)
  assert (shop.workdir / "recommender").resolve().parent.name == "train.2"
  names = {path.name for path in (shop.workdir / "stages").iterdir()}
  assert {f"{stage}.{n}" for stage in ("prepare", "tokenize", "train") for n in (1, 2)} < names
  assert {g.folder.name for g in generations(shop.workdir, "train")} == {"train.1", "train.2"}


def test_nothing_new_does_nothing_and_says_so(shop, capsys):
  before = shop.files()
  shop.update()
  assert "no event that is new, so there is nothing to do" in capsys.readouterr().out
  run_lock = shop.workdir / "run.lock"
  assert {p: t for p, t in shop.files().items() if p not in (shop.workdir, run_lock)} == {
    p: t for p, t in before.items() if p not in (shop.workdir, run_lock)
  }
  shop.grow()
  shop.update()
  capsys.readouterr()
  before = shop.files()
  shop.update()
  assert "nothing to do" in capsys.readouterr().out
  stages = shop.workdir / "stages"
  assert [p for p, t in shop.files().items() if stages in p.parents and before[p] != t] == []


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    (
      lambda rows: rows[8:],
      r"8 events .* no longer in the log.*1 users \(user-00\).*--forget_users",
    ),
    (lambda rows: [(*rows[0][:2], 55), *rows[1:]], r"1 events .* no longer in the log, or changed"),
    (lambda rows: rows[:-1], "1 events"),
  ],
)
def test_a_log_that_lost_events_is_refused_and_nothing_is_written(shop, change, sentence):
  before = shop.files()
  shop.write(change(ROWS_OF_LOG) + GROWN)
  with pytest.raises(ValueError, match=sentence):
    shop.update()
  assert set(shop.files()) == set(before)


def test_twice_in_a_row_items_are_described_by_the_catalogue_of_the_training(shop, trained):
  first = shop.load()
  shop.grow()
  shop.update()
  once = shop.load()
  came = [("b-user", item, 200) for item in ("a-b", ITEMS[1], ITEMS[2])]
  shop.write([*ROWS_OF_LOG, *GROWN, *came], ("a-thing", "a-b"))
  # A new category, and an old item that changed: columns of today's catalogue would mean others.
  items = shop.items.read_text().replace("title of a-b,b", "title of a-b,aaa new kind")
  shop.items.write_text(items.replace("title of item-00,a", "other,zzz"))
  shop.update()
  second = shop.load()
  old, new = by_id(once), by_id(second)
  assert set(new) == {*by_id(first), "a-thing", "a-b"}
  assert all(new[item][1] == old[item][1] for item in old)
  before_NxF, vectors_NxF = (
    np.load(shop.workdir / "stages" / f"tokenize.{number}" / "vectors.npy") for number in (2, 3)
  )
  for item in old:
    np.testing.assert_array_equal(vectors_NxF[new[item][0]], before_NxF[old[item][0]])
  row = new["a-b"][0]
  items = take_items(second.dataset.items, np.array([row]))
  expected = new_item_vectors(first.config, trained / "run", items)
  np.testing.assert_array_equal(vectors_NxF[[row]], expected)
  np.testing.assert_array_equal(new_item_vectors(second.config, shop.workdir, items), expected)
  text = status_text(shop.config(), shop.workdir)
  assert "train     train.3" in text
  assert "update 2 of what was made from zero on 20" in text


def test_plain_stages_keep_an_update_and_say_that_it_is_one(shop, capsys, monkeypatch):
  shop.grow()
  shop.update()
  built = []

  def build(config, folder, before):
    built.append(before["tokenize"].folder.name)
    shutil.copytree(
      before["tokenize"].folder.parent / "train.2/recommender", folder / "recommender"
    )

  monkeypatch.setitem(STAGES, "train", TRAIN._replace(build=build))
  capsys.readouterr()
  run_to("train", shop.config(), shop.workdir)
  out = capsys.readouterr().out
  assert built == []
  assert "prepare: unchanged, kept" in out
  for stage in ("tokenize", "train"):
    assert f"{stage}: kept as --mode=update made it (update 1 of what was made from zero on" in out
  run_to("train", shop.config(), shop.workdir, Manner(redo="train"))
  assert built == ["tokenize.2"]  # from zero, on the same IDs
  capsys.readouterr()
  run_to("train", shop.config(), shop.workdir)
  out = capsys.readouterr().out
  assert "train: unchanged, kept" in out
  assert "tokenize: kept as --mode=update made it" in out
  shop.write([*ROWS_OF_LOG, *GROWN, ("user-09", ITEMS[0], 300)])
  assert "log.csv has other content" in status_text(shop.config(), shop.workdir)
  shop.update()
  record = generations(shop.workdir, "train")[-1].record
  assert record.inputs.update["number"] == 1  # of the training from zero


def test_links_lead_to_no_evaluation_of_the_model_before(shop, monkeypatch):
  def write(config, folder, before):
    for name in EVALUATE.outputs(config):
      (folder / name).write_text(before["train"].folder.name)

  monkeypatch.setitem(STAGES, "evaluate", EVALUATE._replace(build=write, shows=None))
  run_to("evaluate", shop.config(), shop.workdir)
  shop.grow()
  shop.update()
  assert not (shop.workdir / "evaluation.txt").exists()
  run_to("evaluate", shop.config(), shop.workdir)
  assert (shop.workdir / "evaluation.txt").read_text() == "train.2"


def test_items_that_nothing_describes_are_named(shop, capsys):
  shop.write(ROWS_OF_LOG + GROWN, more_items=())
  shop.update()
  out = capsys.readouterr().out
  assert "content: 1 of 1 new items (a-thing) have no title, category, number or text" in out


def test_a_program_gives_the_grown_log_as_a_table(shop, trained):
  run = shop.load()
  names = ["user_id", "item_id", "timestamp"]
  log = pl.DataFrame([*ROWS_OF_LOG, *GROWN], schema=names, orient="row")
  shop.grow()
  with pytest.raises(ValueError, match="events that the run knows are no longer in the log"):
    run.update(log[9:])
  assert not list((shop.workdir / "given").rglob("*.parquet"))
  updated = run.update(log)
  assert len(by_id(updated)) == 31
  assert len(by_id(run)) == 30
  assert len(list((shop.workdir / "given").rglob("*.parquet"))) == 1
  same_params(updated.params, sidrec.load(shop.workdir).params)
  with pytest.raises(TypeError, match="give a list of ids"):
    run.update(log, forget_users="abc")
  with pytest.raises(ValueError, match="not loaded from a folder"):
    sidrec.TrainedRun(run.config, run.dataset, run.ids, run.model, run.params, run.trie).update()


def test_a_folder_without_a_run_stays_as_it_is(shop, tmp_path):
  shop.workdir = tmp_path / "none"
  with pytest.raises(FileNotFoundError, match="stage 'prepare' is not done"):
    shop.update()
  assert not shop.workdir.exists()


def test_other_settings_are_refused(shop):
  config = shop.config()
  config.model.width = 16
  shop.grow()
  with pytest.raises(ValueError, match=r"model.width was 8 and is 16"):
    shop.update(config)
  config = shop.config()
  config.data.source, config.data.store.users = "store", 5
  with pytest.raises(ValueError, match=r"needs data.store.users=0"):
    shop.update(config)
