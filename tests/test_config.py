"""Configs: names, overrides and variants."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from sidrec.config import default_config, run_name
from sidrec.models.sasrec import SASRecConfig

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.py"))


def load(path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_loads_and_documents_itself(path):
  module = load(path)
  config = module.get_config()
  module.get_config("tiny")
  assert set(config) == set(default_config())
  promises = ["CPU cores", "minutes", "NDCG@10"]
  if path.stem.endswith("_gpu"):
    promises = ["Not run on an accelerator yet", "one GPU"]
  for promise in (f"--config=configs/{path.name}", *promises):
    assert promise in module.__doc__, promise
  with pytest.raises(ValueError, match="no variant 'huge'"):
    module.get_config("huge")


def test_a_typo_names_the_nearest_setting():
  with pytest.raises(AttributeError, match='Did you mean "steps"'):
    default_config().train.stepz  # noqa: B018


def test_every_setting_of_sasrec_stands_in_the_config_with_its_default():
  c = default_config().sasrec
  assert c.enabled is False
  assert default_config().bsarec.enabled is False
  assert c.model.to_dict() == {
    name: value
    for name, value in dataclasses.asdict(SASRecConfig(num_items=1)).items()
    if name != "num_items"
  }


@pytest.mark.parametrize(
  ("flag", "name"),
  [("configs/ml1m.py", "ml1m"), ("/a/b/demo.py:tiny", "demo-tiny"), ("x.py:", "x")],
)
def test_run_name(flag, name):
  assert run_name(flag) == name
