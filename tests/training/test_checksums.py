import json
import math

import jax.numpy as jnp
import pytest
from damage import bring_back, cut, flip_a_bit, hide, largest_file

from sidrec.training.checkpoint import open_checkpoints
from sidrec.training.checksums import CHECKSUMS, METADATA, find_damage


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  with open_checkpoints(folder) as checkpoints:
    progress = {"best": math.nan, "worst": -math.inf, "best_step": 5}
    checkpoints.save_latest(5, {"w": jnp.arange(999.0), "b": [jnp.ones(3)]}, progress)
  return folder / "latest/5"


def test_every_file_is_as_it_was_saved(checkpoint):
  assert find_damage(checkpoint) is None
  assert find_damage(str(checkpoint)) is None


@pytest.mark.parametrize("harm", [flip_a_bit, cut, lambda path: path.unlink()])
def test_harm_to_any_file_is_found_and_named(checkpoint, harm):
  names = json.loads((checkpoint / CHECKSUMS).read_text())["files"]
  assert len(names) >= 5
  assert str(largest_file(checkpoint).relative_to(checkpoint)) in names
  there = {str(p.relative_to(checkpoint)) for p in checkpoint.rglob("*") if p.is_file()}
  # Orbax writes its mark of completeness, with the time, while it renames the folder.
  assert there - set(names) == {CHECKSUMS, METADATA, "commit_success.txt"}
  for name in names:
    path = checkpoint / name
    content = path.read_bytes()
    harm(path)
    damage = find_damage(checkpoint)
    path.write_bytes(content)
    assert damage is not None
    assert name in damage
  assert find_damage(checkpoint) is None


def test_harm_to_the_note_is_found(checkpoint):
  path = checkpoint / METADATA
  text = path.read_text()
  for changed in (
    text.replace('"best_step": 5', '"best_step": 4'),
    text.replace("custom_metadata", "custom-metadata"),
    text[:-9],
    "",
    "[]",
  ):
    assert changed != text
    path.write_text(changed)
    assert METADATA in find_damage(checkpoint)
  path.unlink()
  assert METADATA in find_damage(checkpoint)
  path.write_text(text)
  assert find_damage(checkpoint) is None


def test_checksums_that_are_garbled_do_not_pass(checkpoint):
  path = checkpoint / CHECKSUMS
  text = path.read_text()
  for changed in (text[: len(text) // 2], "", "[]", "{}", text.replace("files", "fils")):
    path.write_text(changed)
    assert find_damage(checkpoint) == f"its {CHECKSUMS} is garbled"
  path.write_bytes(b"\xff" + text.encode())
  assert find_damage(checkpoint) == f"its {CHECKSUMS} is garbled"
  path.write_text(text)


@pytest.mark.parametrize("with_checksums", [True, False])
def test_a_file_that_cannot_be_read_is_not_damage(checkpoint, with_checksums):
  text = (checkpoint / CHECKSUMS).read_text()
  if not with_checksums:
    (checkpoint / CHECKSUMS).unlink()
    assert find_damage(checkpoint) is None
  hide(largest := largest_file(checkpoint))
  with pytest.raises(OSError, match="symbolic link"):
    find_damage(checkpoint)
  bring_back(largest)
  (checkpoint / CHECKSUMS).write_text(text)
  assert find_damage(checkpoint) is None
