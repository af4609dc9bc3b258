"""A small run with random parameters, to export, and a hub in a folder."""

import dataclasses
import shutil
import types

import numpy as np
import pytest
from tiny import all_codes, init_params, make_dataset, make_model

import sidrec
from sidrec.data.dataset import TEXT
from sidrec.data.inputs import InputsConfig
from sidrec.export import bundle as bundle_lib
from sidrec.run.settings import RunConfig
from sidrec.search.settings import SearchConfig

TITLES = [f"Thing {row} ({1980 + row})" for row in range(27)] + ["", "Twin", "Twin"]


def make_run(**changes):
  """60 users and 30 items, whose ids are numbers."""
  codes = all_codes(2, 6)[:30]
  model, trie, path = make_model(codes, history_length=6, encoder_layers=1, **changes)
  dataset = make_dataset()
  items = dataset.items._replace(titles_N=np.array(TITLES, TEXT))
  # The settings of a run, without what its training met of users.
  own = {f.name: getattr(model.config.inputs, f.name) for f in dataclasses.fields(InputsConfig)}
  settings = dataclasses.replace(model.config, inputs=InputsConfig(**own))
  config = RunConfig(model=settings, search=SearchConfig(beams=20))
  ids = sidrec.SemanticIDManager.from_codes(codes, 6)
  params = init_params(model, trie, path, scale=3.0)
  return sidrec.TrainedRun(config, dataset._replace(items=items), ids, model, params, trie)


def leave_out_programs(monkeypatch):
  """Makes bundles without programs; test_bundle.py runs some."""
  pytest.importorskip("flatbuffers")
  monkeypatch.setattr(bundle_lib, "check_agreement", lambda *_: {"platform": "cpu", "requests": 4})
  monkeypatch.setattr(bundle_lib, "exported", lambda *_: b"")


def fake_hub(monkeypatch, folder):
  """A hub in a folder, which knows its repositories by owner/name."""
  hub = pytest.importorskip("huggingface_hub")

  class Api:
    def create_repo(self, repo_id, *, private, exist_ok):
      assert exist_ok
      (folder / "hub" / repo_id).mkdir(parents=True, exist_ok=True)
      (folder / "hub" / f"{repo_id}.private").write_text(str(private))

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns):
      assert delete_patterns == "*"
      shutil.rmtree(folder / "hub" / repo_id)
      shutil.copytree(folder_path, folder / "hub" / repo_id)
      return types.SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

  def download(repo_id, *, revision):
    assert revision in (None, "v1")
    return str(folder / "hub" / repo_id)

  monkeypatch.setattr(hub, "HfApi", Api)
  monkeypatch.setattr(hub, "snapshot_download", download)
  return folder / "hub"
