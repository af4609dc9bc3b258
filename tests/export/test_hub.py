"""What is pushed to the Hugging Face hub, and what comes back; the hub is a folder here."""

import pytest
from export_run import fake_hub, leave_out_programs, make_run

import sidrec


@pytest.fixture(scope="module")
def made():
  """A run that no folder holds."""
  return make_run()


@pytest.fixture
def hub(monkeypatch, tmp_path):
  leave_out_programs(monkeypatch)
  return fake_hub(monkeypatch, tmp_path)


def test_the_hub_gets_no_users_unless_asked(made, hub):
  made.push_to_hub("shop/films")
  names = {path.name for path in (hub / "shop" / "films").rglob("*")}
  assert "MANIFEST.json" in names
  assert not names & {"stages", "dataset.npz"}
  with pytest.raises(ValueError, match=r"is a bundle, which runs without sidrec: python .*run.py"):
    sidrec.load("hf://shop/films")
  (hub / "shop" / "films" / "MANIFEST.json").unlink()
  with pytest.raises(ValueError, match="holds no run of sidrec"):
    sidrec.load("hf://shop/films")


def test_stages_are_pushed_of_a_folder_alone(made, hub):
  with pytest.raises(ValueError, match="was not loaded from a folder"):
    made.push_to_hub("shop/films", with_users=True)
  assert not hub.exists()


def test_another_run_takes_the_place_of_the_old_one(made, hub):
  made.push_to_hub("shop/films")
  (hub / "shop" / "films" / "old").write_text("")
  made.push_to_hub("shop/films")
  assert not (hub / "shop" / "films" / "old").exists()


@pytest.mark.parametrize("name", ["films", "a/b/c", "a/", "a/b@", "../x"])
def test_names_that_no_repository_has_are_refused(made, name):
  with pytest.raises(ValueError, match="owner/name"):
    sidrec.load(f"hf://{name}")
  if "@" not in name:
    with pytest.raises(ValueError, match="owner/name"):
      made.push_to_hub(name)
