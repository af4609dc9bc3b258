"""What docs/plug_in.md says: its examples as plugin files, in one run with all of them."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from plugged import clean_registers, write_plugins
from tiny import ROWS, tiny_config

import sidrec
from sidrec.config import default_config
from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from sidrec.evaluation.details import read_details
from sidrec.evaluation.intervals import difference_text, interval_text
from sidrec.evaluation.report import read_evaluation, read_per_user
from sidrec.plugins import load_plugins
from sidrec.report.compare import compare
from sidrec.report.finished import read
from sidrec.report.write import write_report
from sidrec.run.stages import run_to, status_text
from sidrec.stored_config import get_config

SYSTEMS = ["sidrec", "item-knn", "item-knn-cosine", "popular", "next_item", "trending"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """(config, plugin files by name, work directory) of a run that uses all examples."""
  folder = tmp_path_factory.mktemp("plugged")
  with clean_registers():
    files = write_plugins(folder)
    load_plugins(list(files.values()))
    config = default_config()  # has the settings of what is registered
    config.update(tiny_config(folder))
    lines = ["item_id\tyear", *(f"{item}\t{1990 + item}" for item in range(30))]
    (folder / "items.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config.data.table.items_path = str(folder / "items.tsv")
    config.data.table.item_columns.update(title="", categories="", year="year")
    config.features.plugins.years.update(weight=0.5, columns=4)
    config.features.plugins.place.weight = 0.2
    config.model.setting = "latest"
    config.model.plugins.latest.width = 8
    config.evaluation.baselines.next_item.enabled = True
    config.evaluation.baselines.trending.enabled = True
    config.evaluation.metrics.novelty.update(enabled=True, first=5)
    run_to("evaluate", config, folder / "run")
    yield config, files, folder / "run"


def test_baselines_and_metrics_are_in_every_file(done):
  _, _, workdir = done
  evaluation = read_evaluation(workdir / "evaluation.json")
  assert list(evaluation["results"]) == SYSTEMS
  per_user = read_per_user(workdir / "per_user.npz")
  text = (workdir / "evaluation.txt").read_text(encoding="utf-8")
  for system in SYSTEMS:
    for split in ("valid", "test"):
      for way in ("masked", "unmasked"):
        value_U = per_user[f"{system}/{split}/{way}/novelty"]
        assert value_U.shape == (60,)
        mean = evaluation["results"][system][split][way]["novelty"]
        assert mean == pytest.approx(value_U.mean())
        assert mean > 3
  found = bootstrap_mean(per_user["sidrec/test/masked/novelty"])
  assert f"{found.mean:.4f} {interval_text(found)}" in text
  pair = [per_user[f"{system}/test/masked/novelty"] for system in ("trending", "sidrec")]
  assert difference_text(bootstrap_difference(*pair)) in text
  assert re.search(r"^metric novelty +of a plugin: Bits of surprise", text, re.MULTILINE)
  assert re.search(r"^baseline trending +of a plugin: The same list", text, re.MULTILINE)


def test_the_example_of_a_baseline_is_what_it_says(done):
  """By hand: what followed a user's latest item most often in training, seen items masked."""
  _, _, workdir = done
  follows = np.zeros((30, 30))
  popular = np.zeros(30)
  for row in ROWS:
    popular += np.bincount(row[:-2], minlength=30)
    for before, after in itertools.pairwise(row[:-2]):
      follows[before, after] += 1
  per_user = read_per_user(workdir / "per_user.npz")
  for user, row in enumerate(ROWS):
    score = follows[row[-2]] + 0.1 * popular / popular.sum()
    score[row[:-1]] = -np.inf
    rank = (score >= score[row[-1]]).sum() - 1
    assert per_user["next_item/test/masked/recall@10"][user] == (rank < 10)


def test_blocks_of_item_vectors_count_by_their_weights(done):
  _, _, workdir = done
  vectors_NxF = np.load(workdir / "vectors.npy")
  assert vectors_NxF.shape == (30, 4 + 1 + 4)  # co-occurrence, place, years
  squares = [np.square(vectors_NxF[:, a:b]).sum(axis=1).mean() for a, b in ((4, 5), (5, 9))]
  np.testing.assert_allclose(squares, [0.2**2, 0.5**2], rtol=1e-4)


def test_the_model_is_loaded_and_searched_as_it_was_evaluated(done):
  _, _, workdir = done
  run = sidrec.load(workdir)
  assert type(run.model).__name__ == "Latest"
  assert run.model.settings.width == run.params["read"].shape[-1] == 8
  shown = read_details(workdir / "per_user.npz").lists["sidrec"]["unmasked"]
  histories = [row[:-1] for row in ROWS[:3]]
  answers = run.recommend(histories=histories, k=10, exclude_seen=False)
  for answer, item_K in zip(answers, shown.item_UxK, strict=False):
    assert [int(item.id) for item in answer.items] == item_K.tolist()


def test_the_report_and_a_comparison_show_them(done, tmp_path):
  _, _, workdir = done
  page = Path(write_report(workdir, output=tmp_path / "report.html")).read_text(encoding="utf-8")
  for words in ("novelty, masked", "novelty, unmasked", "next_item", "metric novelty"):
    assert words in page
  assert "novelty of each system on the test set" in page
  compare([workdir, workdir], tmp_path / "both.html")
  both = (tmp_path / "both.html").read_text(encoding="utf-8")
  assert both.count("novelty, masked") == 2


def test_a_change_of_code_or_settings_is_named_and_of_others_is_not(done):
  config, files, workdir = done
  assert status_text(config, workdir).count("done, kept") == 4
  stored = get_config(str(workdir))
  assert stored.evaluation.to_dict() == config.evaluation.to_dict()
  changed = config.copy_and_resolve_references()
  changed.evaluation.metrics.novelty.first = 3
  assert "to do: evaluation.metrics.novelty.first was 5 and is 3" in status_text(changed, workdir)
  changed.features.plugins.years.width = 5.0
  assert "to do: features.plugins.years.width was 10.0 and is 5.0" in status_text(changed, workdir)

  for name, why in {
    "novelty": "evaluate .* code of evaluation.metrics.novelty was",
    "trending": "evaluate .* code of evaluation.baselines.trending was",
    "latest": "train .* code of model.plugins.latest was",
    "place": "tokenize .* code of features.plugins.place was",
  }.items():
    with clean_registers(empty=True):
      other = dict(files)
      text = Path(files[name]).read_text(encoding="utf-8") + "\n# changed\n"
      other[name] = str(Path(files[name]).with_name(f"{name}_changed.py"))
      Path(other[name]).write_text(text, encoding="utf-8")
      load_plugins(list(other.values()))
      assert re.search(why, status_text(config, workdir)), name


def test_without_the_plugin_the_run_says_what_is_missing(done):
  config, files, workdir = done
  with clean_registers(empty=True):
    with pytest.raises(ValueError, match=r"not 'latest'; .* load it with --plugin=FILE"):
      sidrec.load(workdir)
    load_plugins([files["latest"]])
    with pytest.raises(ValueError, match=r"no feature block 'place'.* \(--plugin=FILE\)"):
      status_text(config, workdir)
    load_plugins([files["years"], files["place"]])
    with pytest.raises(ValueError, match=r"no baseline 'next_item', which evaluation\.baselines\."):
      write_report(workdir)
    load_plugins([files["next_item"], files["trending"]])
    with pytest.raises(ValueError, match="no metric 'novelty'"):
      read(workdir)
