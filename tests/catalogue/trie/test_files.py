"""Tries on disk."""

import jax
import numpy as np
import pytest
from tiny import all_codes

from sidrec.catalogue.trie.files import load_trie, load_trie_on_device, save_trie
from sidrec.catalogue.trie.resize import with_room
from sidrec.catalogue.trie.trie import build_trie

CODES = np.random.default_rng(0).permutation(all_codes(3, 5))[:60]
TRIES = {
  "every prefix": build_trie(CODES),
  "some items": build_trie(CODES, np.arange(60) % 3 > 0, every_prefix=False),
  "room": with_room(build_trie(CODES, every_prefix=False)),
}


@pytest.mark.parametrize("name", TRIES)
def test_what_is_saved_is_loaded(tmp_path, name):
  trie = TRIES[name]
  save_trie(tmp_path / "trie", trie)
  loaded = load_trie(tmp_path / "trie")
  assert isinstance(loaded.token_E, np.memmap)
  assert jax.tree.structure(loaded) == jax.tree.structure(trie)  # static fields, too
  for there, here in zip(jax.tree.leaves(loaded), jax.tree.leaves(trie), strict=True):
    np.testing.assert_array_equal(there, here)
    assert there.dtype == here.dtype
  on_device = load_trie_on_device(tmp_path / "trie")
  assert jax.tree.structure(on_device) == jax.tree.structure(trie)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(on_device))


def test_a_changed_file_is_noticed(tmp_path):
  save_trie(tmp_path, TRIES["room"])
  path = tmp_path / "child_E.npy"
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r"child_E\.npy is not as it was written"):
    load_trie(tmp_path)
  load_trie(tmp_path, verify=False)


def test_what_is_no_trie_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError):
    load_trie(tmp_path)
  for text in ("{", '{"format": "other"}', "[]"):
    (tmp_path / "trie.json").write_text(text)
    with pytest.raises(ValueError, match=r"trie\.json"):
      load_trie(tmp_path)
