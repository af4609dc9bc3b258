"""A bundle of an evaluated run holds its metrics."""

import json

import pytest
from tiny import tiny_config

import sidrec
from sidrec.run.stages import run_to

pytest.importorskip("flatbuffers")


@pytest.mark.slow
def test_metrics_are_those_of_the_evaluation(tmp_path):
  folder = tmp_path / "run"
  folder.mkdir()
  config = tiny_config(folder)
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  config.sasrec.enabled = False
  run_to("evaluate", config, folder)
  sidrec.load(folder).export(tmp_path / "bundle")
  written = json.loads((folder / "evaluation.json").read_bytes())["results"]["sidrec"]
  manifest = json.loads((tmp_path / "bundle" / "MANIFEST.json").read_bytes())
  assert manifest["metrics"] == written
  ndcg = written["test"]["masked"]["ndcg@10"]
  assert f"| ndcg@10 | {ndcg:.4f} |" in (tmp_path / "bundle" / "README.md").read_text()
