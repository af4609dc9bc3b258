"""A run whose models read times and ratings: trained, evaluated, asked; logs without them."""

import numpy as np
import pytest
from tiny import ROWS, make_dataset, tiny_config

import sidrec
from sidrec.evaluation import report
from sidrec.evaluation.protocol import describe
from sidrec.run import recommend
from sidrec.run.evaluate import protocol_for
from sidrec.run.load import load_recommender
from sidrec.run.recommend import Request
from sidrec.run.settings import run_config
from sidrec.run.stages import run_to
from sidrec.run.train import deciding

START = 1_300_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run whose recommender reads the request's time."""
  folder = tmp_path_factory.mktemp("timed")
  config = tiny_config(folder)
  lines = ["user_id,item_id,timestamp,stars"]
  for user, row in enumerate(ROWS):
    lines += [f"{user},{item},{START + 3600 * t * t},{1 + item % 5}" for t, item in enumerate(row)]
  (folder / "tiny.csv").write_text("\n".join(lines) + "\n")
  config.data.table.columns.rating = "stars"
  config.model.inputs.update(gap=True, time_bias=True, rating=True, request_time="known")
  config.train.update(steps=2, validate_every=2)
  run_to("train", config, folder)
  return config, folder


def test_results_name_what_models_know_of_the_request(tmp_path):
  config, dataset = tiny_config(tmp_path), make_dataset()
  config.model.inputs.update(gap=True, request_time="known")
  config.sasrec.model.inputs.update(time_bias=True, request_time="unknown")
  config.sasrec.enabled = True
  protocol = protocol_for(run_config(config), dataset)
  flat = " ".join(describe(protocol).split())
  assert "sidrec: request_time=known (the target's time, as in serving); " in flat
  assert "sasrec: request_time=unknown (the history's own times)" in flat
  report.write_evaluation(tmp_path / "known.json", protocol, {})
  stored = report.read_evaluation(tmp_path / "known.json")["protocol"]
  assert stored["request_time"] == protocol.request_time
  config.model.inputs.gap = config.sasrec.model.inputs.time_bias = False
  protocol = protocol_for(run_config(config), dataset)
  assert "request_time" not in describe(protocol)
  report.write_evaluation(tmp_path / "off.json", protocol, {})
  assert "request_time" not in (tmp_path / "off.json").read_text()


def test_the_library_gives_what_the_run_evaluates(run):
  config, folder = run
  trained = sidrec.load(folder)
  histories = recommend.histories_before(trained.dataset.histories, "test")
  recommender = load_recommender(config, folder)
  found = recommender.recommend_users(recommender.params, histories, np.arange(3))
  rows = [histories.of(user).tolist() for user in range(3)]
  times = [[START + 3600 * t * t for t in range(7)]] * 3
  stars = [[1 + trained.dataset.items.ids_N[item] % 5 for item in row] for row in rows]
  events = sidrec.Events.of(rows, times, stars, START + 3600 * 49)
  alone = trained.recommend_rows(events, 5)
  np.testing.assert_array_equal(alone.item_BxK, found.item_BxK[:, :5])
  with pytest.raises(ValueError, match="the model reads times and the histories have none"):
    trained.recommend_rows(rows, 5)


def test_requests_name_their_time(run, capsys):
  config, folder = run
  recommend.answer(config, folder, Request(user=["3"], request_time=START + 10**6))
  text = capsys.readouterr().out
  assert "asked at 2011-03-24T20:53:20; the last event of the data set is of 2011-03-15" in text
  recommend.answer(config, folder, Request(user=["3"]))
  assert "asked at 20" in capsys.readouterr().out  # now
  recommend.show_first_users(config, folder, 1)
  assert "asked at 2011-03-15" in capsys.readouterr().out
  recommend.answer(config, folder, Request(user=["3"], split="test"))
  assert "asked at" not in capsys.readouterr().out
  for request, message in [
    (Request(user=["3"], split="test", request_time=5), "--split=test asks at the target's time"),
    (Request(items=["3,4"]), "--history and --items name items alone"),
    (Request(history=["title"]), "--history and --items name items alone"),
    (Request(user=["3"], request_time=5), "before its newest event"),
  ]:
    with pytest.raises(ValueError, match=message):
      recommend.answer(config, folder, request)


@pytest.mark.parametrize(
  ("section", "stage", "inputs", "message"),
  [
    ("model", "train", {"rating": True}, r"config\.model\.inputs reads ratings, and data set"),
    ("model", "train", {"gap": True}, r"config\.model\.inputs reads times, and data set"),
    ("sasrec.model", "sasrec", {"time_bias": True}, r"sasrec\.model\.inputs reads times, and"),
    ("features.sasrec", "tokenize", {"gap": True}, r"features\.sasrec\.inputs reads times, and"),
  ],
)
def test_a_log_without_times_or_ratings_is_told(tmp_path, section, stage, inputs, message):
  config = tiny_config(tmp_path)
  config.data.table.columns.time = ""
  config.features.sasrec.weight = float(section == "features.sasrec")
  part = config
  for name in section.split("."):
    part = part[name]
  part.inputs.update(inputs)
  with pytest.raises(ValueError, match=message):
    run_to(stage, config, tmp_path / "run")


def test_item_vectors_may_read_times_too(tmp_path):
  config = tiny_config(tmp_path)
  config.features.cooccurrence.weight = 0.0
  config.features.sasrec.update(weight=1.0, steps=1, width=8, history_length=8)
  config.features.sasrec.inputs.update(gap=True, time_bias=True, request_time="known")
  chain = run_to("tokenize", config, tmp_path / "run")
  vectors_NxF = np.load(chain["tokenize"].file("vectors.npy"))
  assert vectors_NxF.shape[0] == 30
  assert np.isfinite(vectors_NxF).all()
  assert vectors_NxF.std(axis=0).min() > 0


def test_runs_without_inputs_are_known_by_the_settings_of_before(tmp_path):
  config = run_config(tiny_config(tmp_path))
  assert "inputs" not in deciding(config.model)
  assert "inputs" not in deciding(config.sasrec.model)
