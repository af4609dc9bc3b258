"""A small run and its bundle, once for all tests of a process."""

import pytest
from export_run import make_run


@pytest.fixture(scope="session")
def run():
  return make_run(item_head=True)


@pytest.fixture(scope="session")
def bundle(run, tmp_path_factory):
  """The folder of the run's bundle; tests copy it before they change it."""
  folder = tmp_path_factory.mktemp("exported") / "bundle"
  run.export(folder)
  return folder
