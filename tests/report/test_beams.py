"""Beams against recall and speed: measured after an evaluation, kept, and drawn."""

import json
import os
import shutil

import numpy as np
import pytest
from pages import Page

from sidrec.core.checked_json import checked_text
from sidrec.evaluation.search_cost import SPLIT
from sidrec.report.beams import beams
from sidrec.report.compare_speed import speeds
from sidrec.report.finished import read
from sidrec.report.write import REPORT, report_text, try_report, write_report
from sidrec.run import search_cost
from sidrec.run.search_cost import FILE, measure_run, try_measure

CAPTION = "Searches of 40 validation users, drawn at random"


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
  """(config, folder) of the run with what its searches cost."""
  config, workdir = trained
  config = config.copy_and_resolve_references()
  config.evaluation.search_cost.update(beams=(5, 30, 50), users=40, passes=2)
  folder = tmp_path_factory.mktemp("measured") / "tiny"
  shutil.copytree(workdir / "stages", folder / "stages")
  measure_run(folder, config)
  return config, folder


@pytest.fixture(scope="module")
def costly(measured):
  """The run as a report reads it."""
  return read(measured[1])


def test_the_point_of_the_runs_own_beams_is_the_evaluation_of_these_users(costly):
  cost = costly.cost
  assert [count.beams for count in cost.counts] == [5, 20, 30]
  assert len(cost.users_R) == 40
  for metric in ("recall@10", "ndcg@10"):
    evaluated_R = costly.per_user[f"sidrec/{SPLIT}/masked/{metric}"][cost.users_R]
    mine_R = cost.with_beams(20).metrics[metric]
    np.testing.assert_array_equal(mine_R.astype(np.float32), evaluated_R)


def test_as_many_beams_as_items_find_the_exact_ten_and_few_do_not(costly):
  cost = costly.cost
  assert cost.no_exact == ""
  assert (cost.exact_X == 10).all()
  assert len(cost.exact_X) == 40
  assert cost.share_of_exact(cost.with_beams(30)) == 1.0
  assert cost.share_of_exact(cost.with_beams(5)) <= 0.5


def test_what_was_measured_is_kept_until_something_changes(measured, capsys, monkeypatch):
  config, folder = measured
  asked = []
  monkeypatch.setattr(search_cost, "measure_run", lambda *_: asked.append(1))
  try_measure(folder, config)
  assert "search cost: unchanged, kept" in capsys.readouterr().out
  assert not asked
  changed = config.copy_and_resolve_references()
  changed.evaluation.search_cost.passes = 3
  try_measure(folder, changed)
  assert len(asked) == 1
  changed.evaluation.search_cost.enabled = False
  try_measure(folder, changed)
  assert len(asked) == 1
  damaged = (folder / FILE).read_text(encoding="utf-8")
  (folder / FILE).write_text(damaged.replace('"split": "valid"', '"split": "test"'))
  with pytest.raises(ValueError, match="its checksum differs; run --mode=search_cost"):
    read(folder)
  try_measure(folder, config)
  assert len(asked) == 2
  (folder / FILE).unlink()
  monkeypatch.setattr(os, "access", lambda *_: False)
  try_measure(folder, config)
  assert "the run's folder is read only" in capsys.readouterr().out
  assert len(asked) == 2
  (folder / FILE).write_text(damaged, encoding="utf-8")


def test_a_measurement_that_fails_is_a_warning(measured, monkeypatch):
  config, folder = measured
  other = config.copy_and_resolve_references()
  other.evaluation.search_cost.users = 39
  monkeypatch.setattr(search_cost, "measured", lambda *_: 1 / 0)
  with pytest.warns(UserWarning, match="what beams cost was not measured: ZeroDivisionError"):
    try_measure(folder, other)


def test_what_was_measured_of_another_model_or_search_is_not_shown(measured, costly):
  _, folder = measured
  path = folder / FILE
  kept = path.read_text(encoding="utf-8")
  content = json.loads(kept)
  content.pop("crc32")
  for change in ({"model": "another"}, {"search": {**content["search"], "temperature": 2.0}}):
    path.write_text(checked_text(content | change), encoding="utf-8")
    assert read(folder).cost is None
  path.write_text(kept, encoding="utf-8")
  assert read(folder).cost.identity == costly.cost.identity


def test_no_stage_knows_of_it(measured):
  _, folder = measured
  for record in folder.glob("stages/*/stage.json"):
    text = record.read_text(encoding="utf-8")
    assert "search_cost" not in text
    assert "seconds" not in text


def test_the_page_shows_it_and_is_drawn_again_when_it_is_measured(measured, costly, capsys):
  config, folder = measured
  text = report_text(costly)
  assert report_text(costly) == text
  page = Page(text)
  header, *rows = page.tables[CAPTION]
  assert header == [
    *("beams", "Recall@10", "NDCG@10", "NDCG@10 minus that of 20 beams", "of the exact ten"),
    "users/s",
  ]
  assert [row[0] for row in rows] == ["5", "20", "30"]
  for row, count in zip(rows, costly.cost.counts, strict=True):
    assert float(row[1].split()[0]) == pytest.approx(count.metrics["recall@10"].mean(), abs=5e-5)
    assert row[5].split()[0] == f"{count.users_per_second:,.0f}"
  assert (rows[1][3], rows[2][4]) == ("–", "100.0%")
  assert "This run searches with 20 beams" in page.text
  write_report(folder)
  try_report(folder, config)
  assert "report: unchanged, kept" in capsys.readouterr().out
  kept = (folder / FILE).read_bytes()
  (folder / FILE).unlink()
  try_report(folder, config)
  (without,) = [x for x in Page((folder / REPORT).read_text()).words if "were not measured" in x]
  assert "for tiny; sidrec search-cost RUN, or --mode=search_cost, measures them" in without
  (folder / FILE).write_bytes(kept)


def test_a_run_whose_exact_lists_are_unknown_says_why(costly):
  none = costly.cost._replace(exact_X=np.zeros(0, int), no_exact="the model has repeats")
  text = beams(costly._replace(cost=none))
  assert "share of the exact ten is not known, because the model has repeats." in text


def faster(run):
  """The run at twice the speed."""
  counts = tuple(
    count._replace(seconds=tuple(x / 2 for x in count.seconds)) for count in run.cost.counts
  )
  return run._replace(name="faster", cost=run.cost._replace(counts=counts))


def test_runs_are_compared_by_users_a_second_on_the_same_hardware_only(costly):
  caption = "Users a second with each run's own beams; NDCG@10 on the test set, masked"
  twice = faster(costly)
  page = Page(speeds([costly, twice]))
  slow, fast = (row[4] for row in page.tables[caption][1:])
  assert float(fast.replace(",", "")) == pytest.approx(2 * float(slow.replace(",", "")), abs=1)
  assert page.names().count("figure") == 2
  elsewhere = twice._replace(cost=twice.cost._replace(hardware="another machine"))
  page = Page(speeds([costly, elsewhere]))
  assert "measured on different hardware" in page.text
  assert page.names().count("figure") == 0
  others = twice._replace(cost=twice.cost._replace(users_R=costly.cost.users_R[::-1]))
  page = Page(speeds([costly, others]))
  assert "curves by number of beams are of different users" in page.text
  assert page.names().count("figure") == 1
  page = Page(speeds([costly, costly._replace(cost=None)]))
  assert "users a second were not measured for tiny" in page.text
  assert page.names().count("figure") == 0
  assert "not measured for tiny, tiny" in speeds([costly._replace(cost=None)] * 2)
