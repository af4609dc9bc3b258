"""The page of a run: its numbers, its safety, and that it is made of the run alone."""

import dataclasses
import itertools
import re
import shutil
import socket
import warnings

import numpy as np
import pytest
from pages import Page

from sidrec.evaluation.bootstrap import bootstrap_mean
from sidrec.evaluation.report import read_evaluation
from sidrec.report import item_map, write
from sidrec.report.__main__ import main
from sidrec.report.finished import read
from sidrec.report.results import headline
from sidrec.report.write import REPORT, report_text, try_report, write_report


@pytest.fixture(scope="module")
def text(run):
  return report_text(run)


@pytest.fixture(scope="module")
def page(text):
  return Page(text)


def test_the_main_table_holds_the_numbers_of_the_run(page, trained, run):
  _, workdir = trained
  results = read_evaluation(workdir / "evaluation.json")["results"]
  header, *rows = page.tables["Means over all test users, with 95% intervals over users"]
  assert [row[0] for row in rows] == ["sidrec", "item-knn", "item-knn-cosine", "popular"]
  assert header[1:] == [
    "Recall@10, masked",
    "NDCG@10, masked",
    "Recall@10, unmasked",
    "NDCG@10, unmasked",
  ]
  for system, *cells in rows:
    for cell, title in zip(cells, header[1:], strict=True):
      metric, way = title.lower().split(", ")
      mean, low, high = map(float, re.findall(r"\d\.\d+", cell))
      assert mean == pytest.approx(results[system]["test"][way][metric], abs=5e-5)
      found = bootstrap_mean(run.per_user[f"{system}/test/{way}/{metric}"])
      assert (low, high) == pytest.approx((found.low, found.high), abs=5e-5)


def test_differences_are_those_of_evaluation_txt_to_the_digit(page, trained):
  _, workdir = trained
  written = (workdir / "evaluation.txt").read_text(encoding="utf-8")
  line = next(x for x in written.split("test: difference")[1].splitlines() if "popular" in x)
  theirs = [float(x) for x in re.findall(r"[+-]\d\.\d+", line)]
  caption = "sidrec minus each other system, on the same users, with 95% intervals"
  row = next(row for row in page.tables[caption] if row[0] == "popular")
  ours = [float(x) for x in re.findall(r"[+-]\d\.\d+", " ".join(row))]
  assert len(ours) == len(theirs) == 12
  for at in range(0, 12, 3):
    mean, low, high = theirs[at : at + 3]
    assert ours[at : at + 3] == [-mean, -high, -low]


def test_hostile_titles_stay_text(page):
  names = set(page.names())
  assert not names & {"script", "img", "b", "iframe", "object"}
  assert '<script>alert("x")</script>' in page.text
  assert '"><img src=x onerror=alert(1)>' in page.text
  assert "</title></svg><b>bold & brash</b>" in page.text
  assert "\u202e" not in page.text
  assert "\x1b" not in page.text
  assert "a<i>" in page.text
  assert not [key for _, given in page.elements for key in given if key.startswith("on")]


def test_the_page_loads_nothing_and_names_no_place(text, page, trained):
  _, workdir = trained
  assert "http:" not in text
  assert "https:" not in text
  links = [given[key] for _, given in page.elements for key in ("src", "href") if key in given]
  assert links
  assert all(link.startswith("#") for link in links)
  ids = {given["id"] for _, given in page.elements if "id" in given}
  assert {link[1:] for link in links} == ids
  assert "url(" not in text
  assert "@import" not in text
  for private in (str(workdir), str(workdir.parent), "/tmp/", socket.gethostname()):
    assert private not in text


def test_headings_tables_and_charts_are_accessible(page):
  levels = [int(name[1]) for name in page.names() if re.fullmatch(r"h\d", name)]
  assert levels[0] == 1
  assert levels.count(1) == 1
  assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
  assert page.names().count("table") == page.names().count("caption")
  for name, given in page.elements:
    if name == "svg":
      assert given.get("aria-label") or given.get("aria-hidden") == "true"
    if name == "th":
      assert given["scope"] in ("row", "col")


def test_the_same_run_gives_the_same_bytes_with_and_without_the_kept_map(text, run):
  assert report_text(run) == text
  (run.workdir / item_map.CACHE).unlink()
  assert report_text(run) == text


def test_the_command_writes_the_page_and_a_second_one_computes_no_map(trained, monkeypatch, capsys):
  _, workdir = trained
  assert main([str(workdir)]) == 0
  assert "report.html" in capsys.readouterr().out
  written = (workdir / REPORT).read_bytes()

  def fail(*_):
    raise AssertionError("the map was computed again")

  monkeypatch.setattr(item_map, "layout", fail)
  assert main([str(workdir), f"--output={workdir / 'other.html'}"]) == 0
  assert (workdir / "other.html").read_bytes() == written


@pytest.mark.parametrize("kept", [b"no such file", b""])
def test_a_damaged_map_is_made_again(run, text, kept):
  (run.workdir / item_map.CACHE).write_bytes(kept)
  assert report_text(run) == text


def only_users(run, users_R):
  """The run with these users alone."""
  histories = run.dataset.histories
  rows = [histories.of(user) for user in users_R]
  few = histories._replace(
    offsets_Up1=np.cumsum([0, *map(len, rows)]),
    item_T=np.concatenate(rows),
    time_T=np.arange(sum(map(len, rows))),
    rating_T=np.zeros(sum(map(len, rows)), np.float32),
    user_ids_U=histories.user_ids_U[users_R],
  )
  lists = {
    system: {
      way: type(found)(*(x if x is None else x[users_R] for x in found))
      for way, found in ways.items()
    }
    for system, ways in run.details.lists.items()
  }
  users = type(run.details.users)(*(x[users_R] for x in run.details.users))
  return run._replace(
    dataset=run.dataset._replace(histories=few),
    protocol=run.protocol._replace(num_users=len(users_R)),
    per_user={path: value_U[users_R] for path, value_U in run.per_user.items()},
    details=run.details._replace(users=users, lists=lists),
  )


def alone(run):
  """The run as if nothing else had been measured."""
  lists = {"sidrec": run.details.lists["sidrec"]}
  return run._replace(details=run.details._replace(lists=lists))


def test_a_run_without_baselines(run):
  page = Page(report_text(alone(run)))
  assert "Nothing else was measured there." in page.text
  assert "there is nothing to compare" in page.text


def test_a_run_of_one_user(run):
  page = Page(report_text(only_users(run, [3])))
  assert "1 test user, drawn" in page.text


def test_a_run_without_categories(run):
  items = run.dataset.items
  offsets_Np1 = np.zeros_like(items.category_offsets_Np1)
  bare = items._replace(category_offsets_Np1=offsets_Np1, category_E=items.category_E[:0])
  page = Page(report_text(run._replace(dataset=run.dataset._replace(items=bare))))
  assert "No item of this catalogue has a category" in page.text
  assert "By category of the target" not in page.text


def test_a_run_without_titles_names_items_by_their_ids(without_titles):
  page = Page(report_text(without_titles))
  assert "title 7" not in page.text
  assert "item 7" in page.text


def test_the_headline_says_who_wins_and_who_loses(run):
  def with_gap(gap):
    other = dict(run.per_user)
    other["item-knn/test/masked/ndcg@10"] = run.values("sidrec", "ndcg@10") - gap
    means = {"item-knn": {"test": {"masked": {"ndcg@10": 1.0}}}}
    return headline(run._replace(per_user=other, results={**run.results, **means}))

  assert "ahead of item-knn" in with_gap(np.full(60, 0.1))
  assert "behind item-knn" in with_gap(np.full(60, -0.1))
  assert "cannot be told apart" in with_gap(np.tile([0.1, -0.1], 30))


def test_baselines_that_only_repeat_are_measured_in_one_way(run):
  """Their column of the other way is a dash, and they are not in pictures of it."""
  lists = {
    **run.details.lists,
    "own-frequency": {"unmasked": run.details.lists["sidrec"]["unmasked"]},
  }
  per_user = {
    f"own-frequency/test/unmasked/{metric}": run.values("sidrec", metric, "unmasked")
    for metric in ("recall@10", "ndcg@10")
  }
  more = run._replace(
    details=run.details._replace(lists=lists), per_user={**run.per_user, **per_user}
  )
  text = report_text(more)
  assert re.search(r"own-frequency</t[hd]>(\s*<td[^>]*>–</td>){2}\s*<td[^>]*>\d", text)
  assert headline(more) == headline(run)


def test_weighted_levels_have_no_calibration_curve(run):
  search = dataclasses.replace(run.config.search, level_weights=(1.0, 1.0, 0.5))
  weighted = run._replace(config=dataclasses.replace(run.config, search=search))
  assert "Scores of this run are no probabilities, because" in report_text(weighted)
  assert "Scores of this run are no probabilities" not in report_text(run)


def test_a_report_that_fails_is_a_warning_and_the_evaluation_stays(trained, monkeypatch):
  config, workdir = trained
  before = (workdir / "evaluation.json").read_bytes()
  (workdir / REPORT).unlink(missing_ok=True)
  monkeypatch.setattr(write, "report_text", lambda run: 1 / 0)
  with pytest.warns(UserWarning, match="evaluation is finished, but its report was not drawn"):
    try_report(workdir, config)
  assert (workdir / "evaluation.json").read_bytes() == before
  monkeypatch.undo()
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    try_report(workdir, config)


def test_a_page_that_shows_the_evaluation_is_kept_and_another_is_not(trained, monkeypatch, capsys):
  config, workdir = trained
  write_report(workdir)
  written = (workdir / REPORT).read_bytes()
  monkeypatch.setattr(write, "report_text", lambda run: "drawn again")
  try_report(workdir, config)
  assert (workdir / REPORT).read_bytes() == written
  assert "report: unchanged, kept" in capsys.readouterr().out
  (workdir / REPORT).write_bytes(written.replace(b'name="made-of" content="2 ', b'content="0 '))
  try_report(workdir, config)
  assert (workdir / REPORT).read_bytes() == b"drawn again"


def test_a_run_that_was_not_evaluated_is_refused(trained, tmp_path, capsys):
  _, workdir = trained
  shutil.copytree(workdir / "stages", tmp_path / "stages")
  shutil.rmtree(tmp_path / "stages" / "evaluate.1")
  with pytest.raises(FileNotFoundError, match="stage 'evaluate' is not done"):
    write_report(tmp_path)
  assert main([str(tmp_path)]) == 1
  assert "stage 'evaluate' is not done" in capsys.readouterr().err


def test_damage_is_found_before_anything_is_drawn(trained, tmp_path):
  _, workdir = trained
  shutil.copytree(workdir / "stages", tmp_path / "stages")
  path = tmp_path / "stages" / "evaluate.1" / "per_user.npz"
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ValueError, match=r"per_user\.npz has"):
    read(tmp_path)
