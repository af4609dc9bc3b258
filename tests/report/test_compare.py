"""Several runs on one page, and which may not be compared."""

import dataclasses
import re

import numpy as np
import pytest
from pages import Page

from sidrec.evaluation.bootstrap import bootstrap_difference
from sidrec.report.__main__ import main
from sidrec.report.charts.points import Named, best
from sidrec.report.compare import compare, compare_text
from sidrec.report.compare_ids import bytes_of, overlap


def worse(run):
  """A run whose users fare differently, with other settings."""
  per_user = dict(run.per_user)
  for path, value_U in run.per_user.items():
    if path.startswith("sidrec/"):
      per_user[path] = np.roll(value_U, 1) * np.float32(0.5)
  train = dataclasses.replace(run.config.train, steps=1234)
  config = dataclasses.replace(run.config, train=train)
  return run._replace(name="worse<b>", per_user=per_user, config=config)


def test_the_page_holds_paired_differences_to_the_first_run(run):
  other = worse(run)
  text = compare_text([run, other])
  assert text == compare_text([run, other])
  page = Page(text)
  rows = page.tables[f"Differences to {run.name}, paired bootstrap on the same users"]
  row = next(row for row in rows if row[0] == "worse<b>")
  numbers = [float(x) for x in re.findall(r"[+-]\d\.\d+", " ".join(row))]
  path = "sidrec/test/masked/ndcg@10"
  gap = bootstrap_difference(other.per_user[path], run.per_user[path])
  assert numbers[3:6] == pytest.approx([gap.mean, gap.low, gap.high], abs=6e-5)
  assert "b" not in page.names()
  assert "http" not in text.replace("http-equiv", "")
  settings = page.tables["Settings that are not the same in all runs"]
  assert settings[1:] == [["train.steps", "4", "1234"]]


def test_lists_and_sizes_are_compared(run):
  page = Page(compare_text([run, run]))
  names = [f"{run.name} (1)", f"{run.name} (2)"]
  common = page.tables["Share of a list of ten that two runs have in common, whatever the order"]
  assert common == [["run", *names], [names[0], "–", "1.0000"], [names[1], "1.0000", "–"]]
  assert page.tables["Sizes"][1][1:] == page.tables["Sizes"][2][1:]
  params, trie = bytes_of(run)
  each = int(page.tables["Sizes"][1][-1].replace(",", ""))
  assert each == pytest.approx((params + trie) / 30, abs=1)
  assert "cannot be told apart" in page.text


def test_overlap_counts_common_items_of_the_longer_list():
  one = np.array([[1, 2, 3, -1], [4, -1, -1, -1], [-1, -1, -1, -1]])
  other = np.array([[3, 9, 1, 8], [4, -1, -1, -1], [-1, -1, -1, -1]])
  assert overlap(one, other) == pytest.approx((2 / 4 + 1 + 0) / 3)


def test_the_front_holds_what_no_other_beats():
  points = [Named("a", 1, 1), Named("b", 2, 2), Named("c", 3, 2), Named("d", 1, 0.5)]
  assert [point.name for point in best(points)] == ["a", "b"]


def changed(run, what):
  """The run with other users, items, histories, or another protocol."""
  histories, items = run.dataset.histories, run.dataset.items
  match what:
    case "users":
      data = run.dataset._replace(histories=histories._replace(user_ids_U=np.arange(60)[::-1]))
    case "items":
      data = run.dataset._replace(items=items._replace(ids_N=items.ids_N[::-1]))
    case "histories":
      data = run.dataset._replace(histories=histories._replace(item_T=histories.item_T[::-1]))
    case _:
      data = run.dataset
  protocol = run.protocol._replace(time_ties="at random") if what == "protocols" else run.protocol
  return run._replace(name="changed", dataset=data, protocol=protocol)


@pytest.mark.parametrize("what", ["users", "items", "histories", "protocols"])
def test_runs_that_differ_in_more_than_their_system_are_refused(run, what):
  with pytest.raises(ValueError, match=rf"cannot be compared: .*{what}"):
    compare_text([run, changed(run, what)])


def test_other_beams_may_be_compared(run):
  other = run._replace(name="wide", protocol=run.protocol._replace(num_beams=99))
  assert "wide" in compare_text([run, other])


def test_known_and_unknown_request_times_are_refused(run):
  def asked(kind):
    inputs = dataclasses.replace(run.config.model.inputs, gap=True, request_time=kind)
    model = dataclasses.replace(run.config.model, inputs=inputs)
    return run._replace(config=dataclasses.replace(run.config, model=model))

  with pytest.raises(ValueError, match="asked at the target's time and the other was not"):
    compare_text([asked("known"), asked("unknown")])


def test_the_command_compares_folders(trained, tmp_path, capsys, monkeypatch):
  _, workdir = trained
  output = tmp_path / "new" / "compare.html"
  assert main(["compare", str(workdir), str(workdir), f"--output={output}"]) == 0
  assert "the two highest, cannot be told apart: NDCG@10" in capsys.readouterr().out
  assert str(workdir) not in output.read_text(encoding="utf-8")
  assert main(["compare", str(workdir), f"--output={output}"]) == 1
  assert "give 2 to 10 runs to compare, not 1" in capsys.readouterr().err
  monkeypatch.chdir(tmp_path)
  assert main(["compare", str(workdir), str(workdir)]) == 0
  assert (tmp_path / "compare.html").is_file()
  with pytest.raises(FileNotFoundError, match="there is no run"):
    compare([workdir, tmp_path], output)
