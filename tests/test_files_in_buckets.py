"""Files that users name besides logs: from a bucket they say what they say on the disk."""

import io

import buckets
import numpy as np
import polars as pl
import pytest

from sidrec.catalogue import lcrec_index
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie import files as trie_files
from sidrec.catalogue.trie.trie import build_trie
from sidrec.core.checked_json import checked_text
from sidrec.core.paths import as_path
from sidrec.data.sources.build import item_table
from sidrec.evaluation import report, results
from sidrec.features.settings import TextConfig, VectorFileConfig
from sidrec.features.text import text_vectors
from sidrec.features.vector_file import file_vectors
from sidrec.run import named_rows

CODES = np.array([[0, 1], [1, 0], [1, 2]])
IDS = np.array([3, 5, 7])
ITEMS = item_table(IDS.tolist(), ["a", "b", "c"], [()] * 3, {})
VECTORS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


@pytest.fixture(scope="module")
def bucket():
  with buckets.amazon() as root:
    yield root


def in_memory(write):
  file = io.BytesIO()
  write(file)
  return file.getvalue()


@pytest.mark.parametrize(
  ("name", "content"),
  [
    ("v.npz", in_memory(lambda file: np.savez(file, item_id=IDS, embedding=VECTORS))),
    ("v.npy", in_memory(lambda file: np.save(file, VECTORS))),
    (
      "v.parquet",
      in_memory(pl.DataFrame({"item_id": IDS, "embedding": VECTORS.tolist()}).write_parquet),
    ),
  ],
)
def test_item_vectors(name, content, bucket):
  path = f"{bucket}/vectors/{name}"
  as_path(path).write_bytes(content)
  vectors_NxF, note = file_vectors(ITEMS, VectorFileConfig(path=path))
  np.testing.assert_array_equal(vectors_NxF, VECTORS)
  assert note.startswith(f"{name}: 3 of 3 items")
  as_path(path).write_bytes(content[: len(content) // 2])
  with pytest.raises(ValueError, match=f"{path} is no readable"):
    file_vectors(ITEMS, VectorFileConfig(path=path))
  missing = path.replace("/v.", "/no.")
  with pytest.raises(FileNotFoundError, match=f"there is no file of item vectors at {missing}"):
    file_vectors(ITEMS, VectorFileConfig(path=missing))


def test_the_cache_of_text_vectors(bucket):
  asked = []

  def encode(texts):
    asked.append(texts)
    return VECTORS

  for _ in range(2):
    found = text_vectors(ITEMS, TextConfig(template="{title}"), f"{bucket}/cache", encode)
    np.testing.assert_array_equal(found, VECTORS)
  assert asked == [["a", "b", "c"]]
  config = TextConfig(model="gs://bucket/model", template="{title}")
  with pytest.raises(ValueError, match="gs://bucket/model: a model comes from the hub or a local"):
    text_vectors(ITEMS, config, f"{bucket}/cache", encode)


@pytest.mark.parametrize("name", ["ids.json", "ids.npz"])
def test_semantic_ids(name, bucket):
  path = f"{bucket}/ids/{name}"
  SemanticIDManager.from_codes(CODES, 4).save_to_file(path)
  np.testing.assert_array_equal(SemanticIDManager.load_from_file(path).codes, CODES)
  index = lcrec_index.read_index(path)
  np.testing.assert_array_equal(index.codes_NxL, CODES)
  as_path(path).write_bytes(b"{}")
  with pytest.raises(ValueError, match=f"^{path}: "):
    SemanticIDManager.load_from_file(path)
  with pytest.raises(FileNotFoundError, match=f"no semantic-ID file {bucket}/ids/none.json"):
    SemanticIDManager.load_from_file(f"{bucket}/ids/none.json")


@pytest.mark.parametrize("name", ["index.json", "index.json.gz"])
def test_index_files(name, bucket):
  path = f"{bucket}/index/{name}"
  lcrec_index.write_index(path, CODES, IDS)
  np.testing.assert_array_equal(lcrec_index.align_index(lcrec_index.read_index(path), IDS), CODES)
  lcrec_index.write_new_tokens(f"{bucket}/index/new.txt", CODES)
  assert as_path(f"{bucket}/index/new.txt").read_text().split()[0] == "<a_0>"
  with pytest.raises(FileNotFoundError, match=f"no index file {bucket}/none.json"):
    lcrec_index.read_index(f"{bucket}/none.json")


def test_tries(bucket):
  folder = f"{bucket}/trie"
  trie = build_trie(CODES)
  trie_files.save_trie(folder, trie)
  found = trie_files.load_trie(folder)
  np.testing.assert_array_equal(found.token_E, trie.token_E)
  np.testing.assert_array_equal(np.asarray(found.codes_NxL), np.asarray(trie.codes_NxL))
  file = as_path(f"{folder}/child_E.npy")
  file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
  with pytest.raises(ValueError, match=f"{file} is not as it was written"):
    trie_files.load_trie(folder)


def test_results_of_a_run(bucket):
  folder = f"{bucket}/runs/shop-seed1"
  per_user = {"sidrec": {"test": {"masked": {"recall@10": np.array([0.0, 1.0], np.float32)}}}}
  protocol = report.Protocol(**dict.fromkeys(report.Protocol._fields, 2))
  protocol = protocol._replace(dataset="shop")
  means = {"sidrec": {"test": {"masked": {"recall@10": 0.5}}}}
  report.write_evaluation(f"{folder}/evaluation.json", protocol, means)
  report.write_per_user(f"{folder}/per_user.npz", per_user)
  as_path(f"{folder}/config.json").write_text(checked_text({"seed": 1}))
  run = results.read_run(folder)
  assert (run.folder, run.config_name, run.settings) == (folder, "shop", {"seed": 1})
  assert run.per_user["sidrec/test/masked/recall@10"].tolist() == [0, 1]
  with pytest.raises(FileNotFoundError, match=f"there is no {bucket}/runs/none/evaluation.json"):
    results.read_run(f"{bucket}/runs/none")


def test_lists_of_ids(bucket):
  path = f"{bucket}/lists/users.txt"
  as_path(path).write_bytes("\ufeffMüller\r\n\nDoe, Jane\n".encode())
  known = np.array(["Doe, Jane", "Müller"])
  assert named_rows.rows_of_ids(f"@{path}", known, "user") == [1, 0]
  with pytest.raises(FileNotFoundError, match=f"there is no file '{bucket}/none.txt'; after @"):
    named_rows.rows_of_ids(f"@{bucket}/none.txt", known, "user")
