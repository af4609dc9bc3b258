"""A bundle: what is in it, that it answers as the run does, and what it refuses."""

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from export_run import make_run
from tiny import ROWS

from sidrec.export import agreement
from sidrec.export import bundle as bundle_lib
from sidrec.export.agreement import consumer_of
from sidrec.export.bundle import is_bundle
from sidrec.export.programs import Searched, exported, widths_of
from sidrec.search.buckets import Found

HISTORIES = [ROWS[n % 60][: n % 9] for n in range(20)]

pytest.importorskip("flatbuffers")


def opened(folder):
  return consumer_of(folder).Bundle(folder)


@pytest.fixture
def copy(bundle, tmp_path):
  return Path(shutil.copytree(bundle, tmp_path / "copy"))


def change_manifest(folder, change):
  path = folder / "MANIFEST.json"
  manifest = json.loads(path.read_bytes())
  change(manifest)
  path.write_text(json.dumps(manifest))


ALLOWED = {"allowed": list(range(5, 30, 2))}


@pytest.mark.parametrize(
  ("counts", "lists"),
  [
    ((3,), [{}, {"forbidden": [3, 4]}, ALLOWED]),
    # 18 are 16 and 2.
    pytest.param((1, 3, 18), [{}, {"forbidden": [3, 4]}, ALLOWED], marks=pytest.mark.slow),
  ],
)
def test_without_sidrec_it_answers_as_the_run_does(run, bundle, counts, lists):
  requests = [
    {"histories": HISTORIES[:count], "k": 7, "exclude_seen": seen, **listed}
    for count in counts
    for seen in (True, False)
    for listed in lists
  ]
  alone = [sys.executable, Path(__file__).with_name("alone.py"), bundle]
  env = {**os.environ, "PYTHONPATH": ""}
  done = subprocess.run(
    alone, input=json.dumps(requests), capture_output=True, text=True, check=False, env=env
  )
  assert not done.returncode, done.stderr
  for request, answers in zip(requests, json.loads(done.stdout), strict=True):
    expected = run.recommend(**request)
    assert [[item["id"] for item in found] for found in answers] == [a.ids for a in expected]
    for found, answer in zip(answers, expected, strict=True):
      assert [item["title"] for item in found] == answer.titles
      assert [tuple(item["semantic_id"]) for item in found] == [i.semantic_id for i in answer.items]
      scores = [item.score for item in answer.items]
      np.testing.assert_allclose([item["score"] for item in found], scores, rtol=1e-5)


def test_the_command_line_takes_ids_and_titles(run, bundle, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", ["run.py", "3", "Thing 5 (1985)"])
  runpy.run_path(os.fspath(bundle / "run.py"), run_name="__main__")
  ids = [int(line.split("\t")[1]) for line in capsys.readouterr().out.splitlines()]
  assert ids == run.recommend(items=[3, 5]).ids


def test_the_manifest_lists_every_file(bundle):
  manifest = json.loads((bundle / "MANIFEST.json").read_bytes())
  files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
  assert set(manifest["files"]) == files - {"MANIFEST.json"}
  for name, (size, sha256) in manifest["files"].items():
    content = (bundle / name).read_bytes()
    assert (size, sha256) == (len(content), hashlib.sha256(content).hexdigest())
  assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
  assert manifest["checked"]["requests"] > 0
  programs = [
    jax.export.deserialize(bytearray(p.read_bytes())) for p in bundle.rglob("*.jaxexport")
  ]
  assert {program.platforms for program in programs} == {("cpu", "cuda", "tpu")}


def test_nothing_tells_where_it_was_made(bundle):
  for path in bundle.rglob("*"):
    if path.is_file():
      assert os.fspath(Path(bundle_lib.__file__).parent).encode() not in path.read_bytes(), path


def test_the_consumer_is_short_and_imports_little(bundle):
  lines = (bundle / "run.py").read_text().splitlines()
  assert len(lines) <= 100
  imported = {
    line.split()[1].partition(".")[0] for line in lines if line.startswith(("import", "from"))
  }
  assert imported <= {"hashlib", "json", "runpy", "sys", "pathlib", "jax", "numpy"}


@pytest.mark.parametrize("name", ["arrays.npz", "items.json", "programs/allow_h6_l64.jaxexport"])
def test_a_damaged_file_is_named(copy, name):
  content = bytearray((copy / name).read_bytes())
  content[len(content) // 2] ^= 1
  (copy / name).write_bytes(content)
  with pytest.raises(ValueError, match=f"{name} is not as it was written"):
    opened(copy)


def test_arrays_of_another_catalogue_are_refused(copy):
  change_manifest(copy, lambda manifest: manifest["statics"]["trie"].update(fan_outs=[6, 6]))
  with pytest.raises(ValueError, match="arrays are of another catalogue"):
    opened(copy)


def test_a_program_of_another_catalogue_or_kind_is_refused(copy):
  allow, exclude = (copy / f"programs/{name}_h6_l64.jaxexport" for name in ("allow", "exclude"))
  exclude.write_bytes(allow.read_bytes())
  listed = {f"programs/{exclude.name}": [0, hashlib.sha256(exclude.read_bytes()).hexdigest()]}
  change_manifest(copy, lambda manifest: manifest["files"].update(listed))
  with pytest.raises(ValueError, match="it was made as allow_h6_l64_"):
    opened(copy).recommend([[3]])


def test_what_jax_no_longer_reads_says_what_to_run(copy, monkeypatch):
  def expired(raw):
    raise ValueError("calling convention 1 is no longer supported")

  monkeypatch.setattr(jax.export, "deserialize", expired)
  with pytest.raises(ValueError, match=r"(?s)made on 20.* by jax .*--mode=export --output="):
    opened(copy).recommend([[3]])


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({"histories": [[3, 99]]}, "0 items are called 99"),
    ({"histories": [["Twin"]]}, "2 items are called 'Twin'"),
    ({"histories": [[""]]}, "0 items are called ''"),
    ({"histories": [[3]], "forbidden": ["x"]}, "0 items are called 'x'"),
    ({"histories": [[3]], "allowed": [-1]}, "0 items are called -1"),
    ({"histories": [[3]], "k": 21}, "k is 21; give 1 to 20"),
    ({"histories": [[3]], "times": [[5]]}, "this model reads no times; leave them out"),
    ({"histories": [[3]], "ratings": [[5], [5]]}, "2 ratings are given for 1 histories"),
    ({"histories": [[3]], "request_times": [5]}, "does not read when it is asked"),
  ],
)
def test_what_it_cannot_answer_it_refuses(bundle, request_, message):
  with pytest.raises(ValueError, match=message):
    opened(bundle).recommend(**request_)


@pytest.mark.parametrize("row", [30, -1])
def test_rows_that_are_none_are_refused(bundle, row):
  with pytest.raises(ValueError, match="not 0 to 29"):
    opened(bundle).find([[row]], [[]], False)


def test_a_bundle_replaces_a_bundle_and_nothing_else(run, bundle, tmp_path, monkeypatch):
  folder = tmp_path / "mine"
  folder.mkdir()
  (folder / "notes.txt").write_text("dear")
  with pytest.raises(FileExistsError, match="is there already"):
    run.export(folder)
  assert [path.name for path in folder.iterdir()] == ["notes.txt"]
  old = Path(shutil.copytree(bundle, tmp_path / "old"))
  (old / "left over").write_text("")
  monkeypatch.setattr(bundle_lib, "check_agreement", lambda *_: {"platform": "cpu", "requests": 0})
  monkeypatch.setattr(bundle_lib, "exported", lambda *_: b"")
  run.export(old)
  assert is_bundle(old)
  assert not (old / "left over").exists()
  assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "old"]


def test_a_program_that_finds_something_else_is_not_written(run, tmp_path, monkeypatch):
  class Wrong(agreement.BucketSearch):
    def compile(self, shape):
      self._compiled[shape] = None

    def find(self, questions):
      return [Found(np.arange(20), np.zeros(20, np.float32)) for _ in questions]

  monkeypatch.setattr(agreement, "BucketSearch", Wrong)
  with pytest.raises(ValueError, match="does not find what the run finds"):
    run.export(tmp_path / "bundle")
  assert not list(tmp_path.iterdir())


def test_a_model_with_repeats_and_followers_takes_any_number_of_requests():
  run = make_run(repeats=True, followers=4)
  searched = Searched(run.model, run.params, run.trie, run.search)
  raw = exported(searched, widths_of(searched)[0], "x")
  assert str(jax.export.deserialize(bytearray(raw)).in_avals[-1].shape[0]) == "b"


@pytest.mark.slow
@pytest.mark.parametrize(
  "changes",
  [
    {"repeats": True},
    {"item_head": True, "followers": 4},
    {"setting": "tiger", "user_tokens": 7, "positions": "relative"},
    {"constrained_softmax": False, "node_bias": False, "node_vectors": False},
    {"dtype": "bfloat16"},
  ],
)
def test_other_models_are_exported_too(tmp_path, changes):
  run = make_run(**changes)
  run.export(tmp_path / "bundle")
  found = opened(tmp_path / "bundle").recommend(HISTORIES, k=5)
  expected = [answer.ids for answer in run.recommend(histories=HISTORIES, k=5)]
  assert [[item["id"] for item in items] for items in found] == expected
