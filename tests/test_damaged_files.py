"""Damage to the files that a run exports: one sentence, and never another answer.

Each file is flipped, cut, spliced and given other types; its public reader must refuse it with a
ValueError that names the file, or read what was written.
"""

import io
import json
import random
import zipfile

import numpy as np
import pytest
from evaluation.test_results import make_run

from sidrec.catalogue.lcrec_index import read_index, write_index
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.core.readers import read_npz
from sidrec.evaluation.results import read_run
from sidrec.tokenizers.base import Fitted
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.settings import TokenizerConfig

PER_FILE = 72  # damaged copies of each of the seven files: 504 in all


def manager():
  """A map with its tokenizer."""
  rng = np.random.default_rng(0)
  tokenizer = make_tokenizer(TokenizerConfig("lsh", num_levels=2, codebook_size=8), lambda *_: None)
  params = {
    "mean_F": np.zeros(3, np.float32),
    "planes_LxXxF": rng.normal(size=(2, 3, 3)).astype(np.float32),
  }
  codes = rng.permutation(64)[:20]
  codes = np.stack([codes // 8, codes % 8], axis=1)
  return SemanticIDManager.from_codes(
    codes, 8, rng.permutation(20) * 3, "lsh", Fitted(tokenizer, params)
  )


def write_ids(path):
  manager().save_to_file(path, with_tokenizer=True)


def ids_say(path):
  found = SemanticIDManager.load_from_file(path)
  assert found.fitted is not None
  params = {name: array.tolist() for name, array in found.fitted.params.items()}
  return found.metadata, found.item_ids.tolist(), found.codes.tolist(), params


def write_lcrec(path):
  write_index(path, manager().codes, [f"item {row}" for row in range(20)])


def index_says(path):
  found = read_index(path)
  return found.keys, found.codes_NxL.tolist()


def run_says(path):
  found = read_run(path.parent)
  per_user = {name: value.tolist() for name, value in found.per_user.items()}
  return found.settings, found.evaluation["protocol"], found.evaluation["results"], per_user


def write_run(path):
  folder = path.parent
  if not folder.exists():
    make_run(folder, 0)


# Path → how it is written, what its reader gives, and whether damage always shows: LC-Rec's form
# has no place for a checksum.
FILES = {
  "ids.json": (write_ids, ids_say, True),
  "ids.npz": (write_ids, ids_say, True),
  "index.json": (write_lcrec, index_says, False),
  "index.json.gz": (write_lcrec, index_says, True),
  "run/evaluation.json": (write_run, run_says, True),
  "run/per_user.npz": (write_run, run_says, True),
  "run/config.json": (write_run, run_says, True),
}
WRONG = [None, True, -1, 2**70, 1e400, "x" * 200_000, [], [[]], {}, {"a": 1}]


def damaged(whole, rng):
  """A copy with one kind of damage."""
  raw = bytearray(whole)
  kind = rng.randrange(6)
  at = rng.randrange(len(raw))
  if kind <= 1:
    for _ in range(rng.choice([1, 1, 3])):
      raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
  elif kind == 2:
    del raw[at:]
  elif kind == 3:
    raw[at : at + rng.randrange(1, 40)] = rng.randbytes(rng.randrange(40))
  elif kind == 4:
    raw[at:at] = raw[: rng.randrange(1, 200)]
  else:
    return retyped(whole, rng)
  return bytes(raw)


def retyped(whole, rng):
  """JSON with a value of another type somewhere; other files with a byte less."""
  try:
    content = json.loads(whole)
  except ValueError:
    return whole[1:]
  node = content
  while True:
    key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
      node = node[key]
    else:
      node[key] = rng.choice(WRONG)
      return json.dumps(content).encode()


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_in_one_sentence(name, tmp_path):
  write, says, always_shows = FILES[name]
  path = tmp_path / name
  write(path)
  whole, expected = path.read_bytes(), says(path)
  rng, refused = random.Random(name), 0
  for number in range(PER_FILE):
    path.write_bytes(damaged(whole, rng))
    try:
      found = says(path)
    except ValueError as error:
      message = str(error)
      assert path.name in message, message
      assert len(message) < 600, f"copy {number}: {message}"
      assert "\n" not in message, message
      refused += 1
    else:
      assert found == expected or not always_shows, f"copy {number} is read as something else"
  assert refused > PER_FILE / 2


def test_a_header_that_asks_for_more_than_there_is_is_refused(tmp_path):
  path = tmp_path / "large.npz"
  np.savez(path, a=np.zeros(1000, np.uint8))
  raw = path.read_bytes()
  assert raw.count(b"(1000,), ") == 1
  # Without a checksum that fits: zip files written by hand may carry any.
  for shape in (b"(9**9,), ", b"(-100,), ", b"(10000,),"):
    path.write_bytes(raw.replace(b"(1000,), ", shape))
    with pytest.raises(ValueError, match=r"not a readable \.npz file"):
      read_npz(path)


def test_a_header_of_two_to_the_42_rows_takes_no_memory(tmp_path):
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {"descr": "<f4", "fortran_order": False, "shape": (2**42,)}
  )
  with zipfile.ZipFile(tmp_path / "run.npz", "w") as archive:
    archive.writestr("a.npy", header.getvalue())
  with pytest.raises(ValueError, match=r"not a readable \.npz file"):
    read_npz(tmp_path / "run.npz")
