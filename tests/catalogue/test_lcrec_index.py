import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sidrec import SemanticIDManager
from sidrec.catalogue.lcrec_index import (
  Index,
  align_index,
  letters,
  new_tokens,
  read_index,
  write_index,
  write_new_tokens,
)
from sidrec.core.codes import collision_rate

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
INSTRUMENTS = DATA / "lcrec-letter-ids/Instruments.index.json.gz"
BEAUTY = DATA / "amazon-beauty/letter_sid.json.gz"
INDUSTRIAL = DATA / "amazon18-industrial/index.json.gz"

EXACT = '{"7": ["<a_45>", "<b_128>"], "x y": ["<a_0>", "<b_9>"]}'


def test_exact_json(tmp_path):
  path = tmp_path / "new" / "index.json"
  write_index(path, [[45, 128], [0, 9]], [7, "x y"])
  assert path.read_text() == EXACT
  index = read_index(str(path))
  assert index.keys == ["7", "x y"]
  assert index.codes_NxL.dtype == np.int32
  assert index.codes_NxL.tolist() == [[45, 128], [0, 9]]
  assert index.codebook_size == 129
  assert os.listdir(path.parent) == ["index.json"]


@settings(max_examples=50)
@given(
  hnp.arrays(
    np.int64,
    st.tuples(st.integers(1, 8), st.integers(1, 60)),
    elements=st.integers(0, 3) | st.integers(0, 2**31 - 1),
  ),
  st.sampled_from(["index.json", "index.json.gz"]),
  st.data(),
)
def test_files_round_trip(tmp_path_factory, codes, name, data):
  size = len(codes)
  keys = data.draw(
    st.lists(st.text(st.characters(codec="utf-8")), min_size=size, max_size=size, unique=True)
  )
  if "item_to_semantic" in keys:
    return
  path = tmp_path_factory.mktemp("index") / name
  write_index(path, codes, keys)
  index = read_index(path)
  assert index.keys == keys
  np.testing.assert_array_equal(index.codes_NxL, codes)
  assert index.codebook_size == max(2, codes.max() + 1)
  assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
  first = path.read_bytes()
  write_index(path, codes, keys)
  assert path.read_bytes() == first


def test_names_of_levels():
  assert [letters(level) for level in (0, 3, 25, 26, 27, 51, 52, 701, 702)] == [
    *("a", "d", "z", "aa", "ab", "az", "ba", "zz", "aaa")
  ]


def test_vocabulary_goes_by_level_then_code(tmp_path):
  codes = np.array([[10, 2], [9, 2], [10, 0]])
  assert new_tokens(codes) == ["<a_9>", "<a_10>", "<b_0>", "<b_2>"]
  write_new_tokens(tmp_path / "tokens.txt", codes)
  assert (tmp_path / "tokens.txt").read_text() == "<a_9>\n<a_10>\n<b_0>\n<b_2>\n"


def test_align():
  index = Index(["0", "1", "2"], np.array([[5, 0], [6, 0], [7, 0]]), 8)
  assert align_index(index, [2, 0]).tolist() == [[7, 0], [5, 0]]
  assert align_index(index, np.array([3, 1], np.int32), offset=-1).tolist() == [[7, 0], [5, 0]]
  assert align_index(index, np.array(["1"])).tolist() == [[6, 0]]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (([1, 2, 3, 4], 0), r"for 2 of 4 items: 3, 4; .*offset than 0 \(the index has keys .*'0', '1'"),
    ((range(1, 30), 0), r"for 27 of 29 items: 3, 4, 5, 6, 7, …; "),
    (([0], -1), "for 1 of 1 items: 0"),
    ((["a"], 0), "for 1 of 1 items: 'a'"),
    ((["1"], -1), "offset of -1 cannot be added to item ids that are text"),
    (([[1]], 0), r"item ids of shape \(1, 1\)"),
    (([1.0], 0), "type float64 cannot be looked up"),
  ],
)
def test_items_that_cannot_be_aligned(arguments, message):
  index = Index(["0", "1", "2"], np.zeros((3, 2), np.int32), 2)
  with pytest.raises(ValueError, match=message):
    align_index(index, *arguments)


@pytest.mark.parametrize("name", ["semantic_ids.json", "semantic_ids.npz"])
def test_own_files_are_aligned_by_row(tmp_path, name):
  manager = SemanticIDManager.from_codes([[3, 1], [0, 2], [3, 0]], 8, [2, 0, 1])
  manager.save_to_file(tmp_path / name)
  index = read_index(tmp_path / name)
  assert (index.keys, index.codebook_size, index.by_row) == (["2", "0", "1"], 8, True)
  # Whatever the catalogue's ids are, its row 0 is the file's item 0.
  assert align_index(index, ["x", "y", "z"]).tolist() == [[0, 2], [3, 0], [3, 1]]
  with pytest.raises(ValueError, match=r"the index has 3 items by catalogue row, but .* has 2"):
    align_index(index, [5, 6])
  with pytest.raises(ValueError, match="offset -1"):
    align_index(index, [5, 6, 7], -1)


def test_a_gzip_file_that_unpacks_without_end_is_refused(tmp_path):
  path = tmp_path / "index.json.gz"
  path.write_bytes(gzip.compress(b'{"0": ["' + b" " * 50_000_000 + b'"]}'))
  with pytest.raises(ValueError, match=r"index\.json\.gz: the gzip file holds more than"):
    read_index(path)


def test_own_files_that_are_damaged(tmp_path):
  path = tmp_path / "ids.json"
  path.write_text('{"item_to_semantic": {}}')
  with pytest.raises(ValueError, match=r"ids\.json: no object") as caught:
    read_index(path)
  assert str(caught.value).count("ids.json") == 1


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{", "not JSON"),
    (b"\xff\xfe\xfa", "not JSON"),
    ("[]", "not a JSON object of items"),
    ("{}", "not a JSON object of items"),
    ('{"0": ["<a_1>"], "0": ["<a_2>"]}', 'the key "0" stands twice'),
    ('{"0": "<a_1>"}', "item \"0\" has '<a_1>', not a list of tokens"),
    ('{"0": []}', r'item "0" has \[\], not a list'),
    ('{"0": [1]}', r'item "0" has \[1\], not a list of tokens such as "<a_45>"'),
    (
      '{"0": ["<a_1>", "<b_1>"], "9": ["<a_1>"]}',
      'item "9" has 1 tokens, but the first item has 2',
    ),
    ('{"0": ["<a_1>"], "9": ["<a_x>"]}', 'item "9" has \'<a_x>\' in place 1, .*"<a_45>"'),
    ('{"0": ["<a_1>", "<c_1>"]}', 'item "0" has \'<c_1>\' in place 2, .*"<b_45>" is expected'),
    ('{"0": ["<b_1>", "<a_1>"]}', "'<b_1>' in place 1"),
    ('{"0": ["a_1"]}', "'a_1' in place 1"),
    ('{"0": ["<a_-1>"]}', "'<a_-1>' in place 1"),
    ('{"0": ["<a_01>"]}', "'<a_01>' in place 1"),
    ('{"0": ["<a_1>\\n"]}', "in place 1"),
    ('{"0": ["<a_2147483648>"]}', "codebook_size is 2147483649"),
    (gzip.compress(b'{"0": ["<a_1>"]}', mtime=0)[:-9], "the gzip file is damaged"),
    (gzip.compress(b'{"0": ["<a_1>"]}', mtime=0)[:10] + b"\xff" * 20, "the gzip file is damaged"),
    (b"\x1f\x8bnothing", "the gzip file is damaged"),
  ],
)
def test_bad_files(tmp_path, content, message):
  path = tmp_path / "index.json"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(ValueError, match=message) as caught:
    read_index(path)
  assert str(caught.value).startswith(f"{path}: ")


def test_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no index file .*index\.json; give a"):
    read_index(tmp_path / "index.json")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (([[1], [2]], ["a"]), "1 keys for 2 rows of codes"),
    (([[1], [2], [3]], ["b", "7", 7]), 'the key "7" stands twice'),
    (([[1], [-2]], ["a", "b"]), r"token -2 at \[1, 0\]"),
    (([1], ["a"]), r"codes have shape \(1,\)"),
    (([[0.5]], ["a"]), "tokens must be integers"),
  ],
)
def test_bad_writes(tmp_path, arguments, message):
  with pytest.raises(ValueError, match=message):
    write_index(tmp_path / "index.json", *arguments)
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
  ("path", "items", "distinct", "levels", "first"),
  [(INSTRUMENTS, 9922, 9897, 4, 0), (BEAUTY, 12101, 12088, 4, 1), (INDUSTRIAL, 3686, 3670, 3, 0)],
  ids=["instruments", "beauty", "industrial"],
)
def test_published_files(tmp_path, path, items, distinct, levels, first):
  if not path.exists():
    pytest.skip("no shared data")
  index = read_index(path)
  assert index.codes_NxL.shape == (items, levels)
  assert index.codebook_size == 256
  assert index.keys == [str(item) for item in range(first, first + items)]
  assert len(np.unique(index.codes_NxL, axis=0)) == distinct
  assert collision_rate(index.codes_NxL) > 0
  # Written again, the text is the same to the byte.
  write_index(tmp_path / "again.json.gz", index.codes_NxL, index.keys)
  again, published = (gzip.decompress(p.read_bytes()) for p in (tmp_path / "again.json.gz", path))
  assert again == published
  tokens = new_tokens(index.codes_NxL)
  assert len(tokens) == len(set(tokens)) == sum(len(np.unique(c)) for c in index.codes_NxL.T)


def test_published_ids_line_up_with_the_catalogue():
  if not BEAUTY.exists():
    pytest.skip("no shared data")
  with gzip.open(BEAUTY.parent / "items.tsv.gz", "rt") as file:
    ids = [int(line.split("\t")[0]) for line in list(file)[1:]]
  shuffled = np.random.default_rng(0).permutation(ids)
  index = read_index(BEAUTY)
  codes = align_index(index, shuffled)
  np.testing.assert_array_equal(codes, index.codes_NxL[shuffled - 1])
  with pytest.raises(ValueError, match="no semantic ID for 1 of 12101 items: 1; "):
    align_index(index, ids, offset=-1)
