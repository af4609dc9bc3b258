import doctest
import functools
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sidrec.catalogue.semantic_ids
from sidrec import SemanticIDManager
from sidrec.catalogue import row_text, semantic_id_files
from sidrec.catalogue.collisions import add_extra_digit
from sidrec.catalogue.reassignment import reassign
from sidrec.catalogue.semantic_id_files import Content
from sidrec.tokenizers.base import Fitted, Tokenizer
from sidrec.tokenizers.radix import radix
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.settings import TokenizerConfig

EXACT_JSON = """\
{"item_to_semantic": {"520": [45,128,67,9], "0": [0,0,0,0]},
 "semantic_to_item": {"[45, 128, 67, 9]": 520, "[0, 0, 0, 0]": 0},
 "metadata": {"id_length": 4, "codebook_size": 256, "num_items": 2, "generation_method": "custom", \
"checksum": "14637309"}}
"""
# Written by hand, of three items of a catalogue.
SAMPLE = """\
{
  "item_to_semantic": {"0": [0, 0, 0, 0], "1": [1, 0, 0, 0], "520": [8, 2, 0, 0]},
  "semantic_to_item": {"[0, 0, 0, 0]": 0, "[1, 0, 0, 0]": 1, "[8, 2, 0, 0]": 520},
  "metadata": {
    "id_length": 4, "codebook_size": 256, "num_items": 3706, "generation_method": "simple_mapping"
  }
}
"""


@pytest.fixture
def tiny():
  return SemanticIDManager.from_codes([[45, 128, 67, 9], [0, 0, 0, 0]], 256, [520, 0])


@st.composite
def managers(draw):
  # Large V and L pass 64 bits, so that both kinds of key are met.
  codebook_size = draw(st.sampled_from([2, 3, 256, 257, 70_000, 2**31]))
  id_length = draw(st.integers(1, 10))
  row = st.tuples(*[st.integers(0, codebook_size - 1)] * id_length)
  codes = draw(st.lists(row, min_size=1, max_size=12, unique=True))
  size = len(codes)
  ids = draw(
    st.none() | st.lists(st.integers(0, 2**63 - 1), min_size=size, max_size=size, unique=True)
  )
  return SemanticIDManager.from_codes(codes, codebook_size, ids, "drawn"), codes, ids or range(size)


@given(managers(), st.data())
def test_lookups_invert_each_other_in_any_shape(made, data):
  manager, codes, ids = made
  shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
  total = int(np.prod(shape))
  row = st.integers(0, len(codes) - 1)
  rows = data.draw(st.lists(row, min_size=total, max_size=total))
  wanted = np.array([ids[r] for r in rows], np.int64).reshape(shape)
  tokens = manager.get_batch_semantic_ids(wanted)
  assert tokens.dtype == np.int32
  assert tokens.shape == (*shape, manager.id_length)
  assert tokens.reshape(total, manager.id_length).tolist() == [list(codes[r]) for r in rows]
  back = manager.get_batch_item_ids(tokens)
  assert back.dtype == np.int64
  assert back.shape == shape
  assert back.tolist() == wanted.tolist()


@given(managers(), st.data())
def test_an_id_that_no_item_has_is_refused(made, data):
  manager, codes, ids = made
  token = st.integers(0, manager.codebook_size - 1)
  stranger = data.draw(st.tuples(*[token] * manager.id_length))
  if stranger not in codes:
    with pytest.raises(KeyError, match="no item has the semantic ID"):
      manager.get_item_id(stranger)
  item = data.draw(st.integers(0, 2**63 - 1))
  if item not in ids:
    with pytest.raises(KeyError, match=f"no item {item} among"):
      manager.get_semantic_id(item)


@pytest.mark.parametrize(
  ("codebook_size", "id_length"), [(256, 8), (256, 9), (2**31, 2), (2**31, 3), (2, 64), (2, 65)]
)
def test_keys_around_64_bits_keep_every_token(codebook_size, id_length):
  top = codebook_size - 1
  codes = np.concatenate([np.zeros((1, id_length), int), np.eye(id_length, dtype=int) * top])
  codes = np.concatenate([codes, top - codes])
  codes = np.unique(codes, axis=0)
  manager = SemanticIDManager.from_codes(codes, codebook_size)
  assert manager.get_batch_item_ids(codes).tolist() == list(range(len(codes)))


@settings(max_examples=40)
@given(managers(), st.sampled_from(["ids.json", "ids.npz"]))
def test_files_round_trip(tmp_path_factory, made, name):
  path = tmp_path_factory.mktemp("ids") / "new" / "folder" / name
  manager = made[0]
  manager.save_to_file(path)
  again = SemanticIDManager.load_from_file(path)
  np.testing.assert_array_equal(again.codes, manager.codes)
  np.testing.assert_array_equal(again.item_ids, manager.item_ids)
  assert again.metadata == manager.metadata
  assert os.listdir(path.parent) == [name]


def test_simple_mapping():
  manager = SemanticIDManager(id_length=4, codebook_size=256, num_items=3706)
  assert manager.get_semantic_id(520) == [8, 2, 0, 0]
  assert manager.get_item_id([8, 2, 0, 0]) == 520
  assert (manager.num_items, manager.id_length, manager.codebook_size) == (3706, 4, 256)
  assert manager.metadata["generation_method"] == "simple_mapping"
  assert doctest.testmod(sidrec.catalogue.semantic_ids).failed == 0


def test_sparse_unsorted_items(tiny):
  assert tiny.get_semantic_id(520) == [45, 128, 67, 9]
  assert tiny.get_item_id([45, 128, 67, 9]) == 520
  assert type(tiny.get_item_id(np.array([0, 0, 0, 0], np.uint8))) is int
  assert tiny.item_ids.tolist() == [520, 0]


def test_jax_arrays(tiny):
  tokens = tiny.get_batch_semantic_ids(jnp.array([[0, 520]]))
  assert isinstance(tokens, np.ndarray)
  assert tiny.get_batch_item_ids(jnp.asarray(tokens)).tolist() == [[0, 520]]


def test_empty_batches(tiny):
  assert tiny.get_batch_semantic_ids([]).shape == (0, 4)
  assert tiny.get_batch_item_ids(np.zeros((0, 4), int)).shape == (0,)


def test_the_table_is_its_own():
  given_codes = np.array([[1], [0]])
  manager = SemanticIDManager.from_codes(given_codes, 2)
  given_codes[:] = 0
  assert manager.codes.tolist() == [[1], [0]]
  with pytest.raises(ValueError, match="read-only"):
    manager.codes[0] = 0
  manager.get_batch_semantic_ids(0)[:] = 0  # a copy, free to change
  assert manager.get_semantic_id(0) == [1]


@pytest.mark.parametrize("ids", ["dense", "sparse"])
def test_a_million_items(ids):
  rng = np.random.default_rng(0)
  order = rng.permutation(1_000_000)
  dense = SemanticIDManager(4, 256, 1_000_000)
  manager = dense
  if ids == "sparse":
    manager = SemanticIDManager.from_codes(dense.codes, 256, order * 7)
    order = order * 7
  tokens = manager.get_batch_semantic_ids(order)
  np.testing.assert_array_equal(manager.get_batch_item_ids(tokens), order)


def test_exact_json(tiny, tmp_path):
  path = tmp_path / "ids.json"
  tiny.save_to_file(path)
  assert path.read_text() == EXACT_JSON
  loaded = SemanticIDManager.load_from_file(str(path))
  assert loaded.item_ids.tolist() == [520, 0]


def test_json_is_written_in_pieces(monkeypatch, tmp_path):
  monkeypatch.setattr(row_text, "ROWS_AT_ONCE", 2)
  SemanticIDManager(2, 4, 5).save_to_file(tmp_path / "ids.json")
  content = json.loads((tmp_path / "ids.json").read_text())
  assert content["item_to_semantic"]["4"] == [0, 1]
  assert len(content["item_to_semantic"]) == len(content["semantic_to_item"]) == 5


def test_npz_is_compact(tmp_path):
  SemanticIDManager(4, 256, 300).save_to_file(tmp_path / "ids.npz")
  with np.load(tmp_path / "ids.npz") as arrays:
    assert arrays["codes_NxL"].dtype == np.uint8
    assert arrays["item_ids_N"].dtype == np.uint16
  SemanticIDManager(4, 257, 300).save_to_file(tmp_path / "ids.npz")
  with np.load(tmp_path / "ids.npz") as arrays:
    assert arrays["codes_NxL"].dtype == np.uint16


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("name", ["ids.json", "ids.npz"])
def test_a_failed_write_leaves_the_old_file(tiny, tmp_path, monkeypatch, name, step):
  path = tmp_path / name
  tiny.save_to_file(path)
  before = path.read_bytes()

  def full_disk(*_):
    raise OSError("disk full")

  monkeypatch.setattr(os, step, full_disk)
  with pytest.raises(OSError, match="disk full"):
    SemanticIDManager(2, 4, 5).save_to_file(path)
  assert path.read_bytes() == before
  assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
  ("call", "error", "message"),
  [
    (lambda m: m.get_semantic_id(7), KeyError, r"no item 7 among the 2 items .*\(1 unknown in all"),
    (lambda m: m.get_semantic_id(-1), KeyError, "no item -1 among"),
    (lambda m: m.get_semantic_id(1.0), ValueError, "item ids must be integers"),
    (lambda m: m.get_semantic_id(True), ValueError, "item ids must be integers"),
    (lambda m: m.get_semantic_id(10**30), ValueError, "at most 64 bits"),
    (lambda m: m.get_semantic_id([0]), ValueError, "use get_batch_semantic_ids"),
    (
      lambda m: m.get_batch_semantic_ids([[0, 520], [3, 4]]),
      KeyError,
      r"no item 3 \(at \[1, 0\]\) among .*2 unknown in all",
    ),
    (
      lambda m: m.get_batch_semantic_ids(np.array([2**64 - 1], np.uint64)),
      KeyError,
      "no item 18446744073709551615",
    ),
    (lambda m: m.get_item_id([1, 2, 3, 4]), KeyError, r"semantic ID \[1, 2, 3, 4\] \(1 unknown"),
    (lambda m: m.get_item_id([1, 2, 3]), ValueError, "has 4 tokens here, but 3 were given"),
    (lambda m: m.get_item_id(5), ValueError, r"shape \(\) is not one row of 4 tokens"),
    (lambda m: m.get_batch_item_ids(5), ValueError, "has 4 tokens here, but no were given"),
    (lambda m: m.get_item_id([[0, 0, 0, 0]]), ValueError, "use get_batch_item_ids"),
    (
      lambda m: m.get_item_id([0, 0, 256, 0]),
      ValueError,
      r"token 256 at \[2\] is outside 0\.\.255",
    ),
    (lambda m: m.get_item_id([0, 0, -1, 0]), ValueError, r"token -1 at \[2\] is outside"),
    (lambda m: m.get_item_id([0, 0, 0.5, 0]), ValueError, "tokens must be integers"),
    (lambda m: m.get_item_id([0, 0, "1", 0]), ValueError, "tokens must be integers"),
    (lambda m: m.get_batch_item_ids([[0, 0, 0, 0], [1]]), ValueError, "tokens are ragged"),
    (
      lambda m: m.get_batch_item_ids([[0, 0, 0, 0], [1, 2, 3, 4], [1, 1, 1, 1]]),
      KeyError,
      r"\[1, 2, 3, 4\] \(at \[1\]\) \(2 unknown in all\)",
    ),
  ],
)
def test_bad_lookups(tiny, call, error, message):
  with pytest.raises(error, match=message):
    call(tiny)


@pytest.mark.parametrize("item", [-1, 5, 2**40])
def test_unknown_item_of_a_dense_map(item):
  with pytest.raises(KeyError, match=f"no item {item} among the 5 items"):
    SemanticIDManager(2, 4, 5).get_semantic_id(item)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: SemanticIDManager(2, 4, 17), "17 items do not fit .*id_length=3 would do"),
    (lambda: SemanticIDManager(2, 4, 0), "num_items is 0; give at least 1"),
    (lambda: SemanticIDManager(0, 4, 1), "id_length is 0"),
    (lambda: SemanticIDManager(2, 1, 1), "codebook_size is 1"),
    (
      lambda: SemanticIDManager.from_codes([[1], [0], [1]], 2, [5, 6, 4]),
      r"items 5 and 4 have the same semantic ID \[1\] \(1 such in all\); .*add_extra_digit",
    ),
    (lambda: SemanticIDManager.from_codes([1, 2], 4), r"codes have shape \(2,\)"),
    (lambda: SemanticIDManager.from_codes(np.zeros((0, 4), int), 4), r"codes have shape \(0, 4\)"),
    (lambda: SemanticIDManager.from_codes([[4]], 4), r"token 4 at \[0, 0\] is outside 0\.\.3"),
    (lambda: SemanticIDManager.from_codes([[1.0]], 4), "tokens must be integers"),
    (
      lambda: SemanticIDManager.from_codes([[1]], 4, [1, 2]),
      r"item ids have shape \(2,\); give one",
    ),
    (lambda: SemanticIDManager.from_codes([[1]], 4, [-3]), "item id -3 in row 0 is outside"),
    (
      lambda: SemanticIDManager.from_codes([[1], [2]], 4, [3, 3]),
      "item id 3 stands more than once",
    ),
    (lambda: SemanticIDManager.from_codes([[1]], 4, ["a"]), "item ids must be integers"),
  ],
)
def test_bad_maps(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def fitted_line(num_levels=2, size=4, with_costs=True):
  """Each level rounds what the levels before left: digits of a number in [0, 1)."""

  def left(params, vectors_NxF, codes_NxL, level):
    scale = size ** np.arange(1, level + 1, dtype=np.float64)
    above_N = (codes_NxL[:, :level] / scale[None]).sum(axis=1)
    return (vectors_NxF[:, 0] - above_N) * params["scale"] * size ** (level + 1)

  def encode(params, vectors_NxF):
    codes_NxL = np.zeros((len(vectors_NxF), num_levels), np.int32)
    for level in range(num_levels):
      rest_N = left(params, vectors_NxF, codes_NxL, level)
      codes_NxL[:, level] = np.clip(np.floor(rest_N), 0, size - 1)
    return codes_NxL

  def costs(params, vectors_NxF, codes_NxL, level):
    rest_N = left(params, vectors_NxF, codes_NxL, level)
    return np.square(rest_N[:, None] - 0.5 - np.arange(size)[None])

  tokenizer = Tokenizer(
    "line", num_levels, size, lambda *_: None, encode, None, costs if with_costs else None
  )
  return Fitted(tokenizer, {"scale": 1.0})


def made_map(vectors_NxF, how, fitted, ids=None):
  """A map as the pipeline makes one: codes, then collisions by extra digit or re-assignment."""
  tokenizer, params = fitted
  codes = tokenizer.encode(params, vectors_NxF)
  if how == "extra_digit":
    codes = add_extra_digit(codes, tokenizer.codebook_size)
  else:
    costs = fitted_line().tokenizer.costs
    assert costs is not None
    bound = functools.partial(costs, params)
    codes = reassign(codes, vectors_NxF, bound, tokenizer.codebook_size).codes_NxL
  return SemanticIDManager.from_codes(codes, tokenizer.codebook_size, ids, how, fitted)


def vectors_at(*places):
  return np.array(places, np.float32)[:, None]


places = st.lists(st.floats(0, 0.9375, width=32), min_size=1, max_size=6)


@pytest.mark.parametrize("how", ["extra_digit", "reassign"])
@settings(max_examples=60)
@given(first=places, later=places, data=st.data())
def test_a_catalogue_grows_and_shrinks(how, first, later, data, tmp_path_factory):
  old, new = vectors_at(*first), vectors_at(*later)
  manager = made_map(old, how, fitted_line())
  before = manager.codes.copy()
  new_ids = np.arange(len(new)) * 3 + 50
  grown = manager.add_items(new, new_ids)
  # The old map is as it was, and the new one begins with it.
  np.testing.assert_array_equal(manager.codes, before)
  assert manager.num_items == len(old)
  np.testing.assert_array_equal(grown.codes[: len(old)], before)
  assert grown.item_ids.tolist() == [*range(len(old)), *new_ids.tolist()]
  assert len(set(map(tuple, grown.codes.tolist()))) == len(old) + len(new)
  assert grown.metadata == manager.metadata | {"num_items": len(old) + len(new)}
  encoded = fitted_line().tokenizer.encode({"scale": 1.0}, new)
  if how == "extra_digit":
    crowd = [(grown.codes[:, :2] == row).all(axis=1).sum() for row in encoded]
    own = (grown.codes[len(old) :, :2] == encoded).all(axis=1)
    assert all(o or n == 4 for o, n in zip(own, crowd, strict=True))
  # One after another is allowed too; removed and added again, everything stays unique.
  gone = data.draw(st.lists(st.sampled_from(grown.item_ids.tolist()), unique=True))
  kept = [i for i in grown.item_ids.tolist() if i not in gone]
  if not kept:
    with pytest.raises(ValueError, match=f"all {grown.num_items} items would be removed"):
      grown.remove_items(gone)
    return
  smaller = grown.remove_items(np.array(gone, int))
  assert smaller.item_ids.tolist() == kept
  np.testing.assert_array_equal(smaller.codes, grown.get_batch_semantic_ids(kept))
  both = np.concatenate([old, new])
  again = smaller
  for item in gone:
    row = grown.item_ids.tolist().index(item)
    again = again.add_items(both[row : row + 1], [item])
  assert again.item_ids.tolist() == kept + gone
  np.testing.assert_array_equal(again.codes[: len(kept)], smaller.codes)
  for name in ("ids.json", "ids.npz"):
    path = tmp_path_factory.mktemp("grown") / name
    again.save_to_file(path)
    loaded = SemanticIDManager.load_from_file(path, fitted=fitted_line())
    np.testing.assert_array_equal(loaded.codes, again.codes)
    np.testing.assert_array_equal(loaded.item_ids, again.item_ids)
    further = loaded.add_items(vectors_at(0.5), [999])
    assert further.codes.tolist() == again.add_items(vectors_at(0.5), [999]).codes.tolist()


def test_new_items_take_the_lowest_free_digit():
  manager = made_map(vectors_at(0.5, 0.5, 0.5), "extra_digit", fitted_line())
  smaller = manager.remove_items([1])
  grown = smaller.add_items(vectors_at(0.5, 0.51, 0.1), [7, 8, 9])
  assert grown.codes.tolist() == [[2, 0, 0], [2, 0, 2], [2, 0, 1], [2, 0, 3], [0, 1, 0]]
  assert grown.fitted is manager.fitted


@pytest.mark.parametrize("how", ["extra_digit", "reassign"])
def test_a_full_tuple_sends_new_items_to_the_nearest(how):
  crowd = [0.5] * (4 if how == "extra_digit" else 1)
  manager = made_map(vectors_at(*crowd), how, fitted_line())
  # 0.56 lies at the upper end of tuple [2, 0], whose neighbour is [2, 1].
  grown = manager.add_items(vectors_at(0.56), [50])
  assert grown.get_semantic_id(50)[:2] == [2, 1]
  without = made_map(vectors_at(*crowd), how, fitted_line(with_costs=False))
  with pytest.raises(ValueError, match=r"the tuple \[2, 0\] of a new item is full"):
    without.add_items(vectors_at(0.56), [50])
  assert without.add_items(vectors_at(0.1), [50]).get_semantic_id(50)[:2] == [0, 1]


def test_a_catalogue_can_be_filled_up_and_no_further():
  manager = made_map(vectors_at(*[0.3] * 4), "reassign", fitted_line())
  full = manager.add_items(vectors_at(*[0.9] * 12), range(20, 32))
  assert len(set(map(tuple, full.codes.tolist()))) == 16
  with pytest.raises(ValueError, match="17 items do not fit in 2 levels of 4 codes"):
    full.add_items(vectors_at(0.9), [40])


@pytest.mark.parametrize("method", ["simple_mapping", "radix"])
def test_base_conversion_needs_no_vectors(method):
  simple = SemanticIDManager(2, 4, 6)
  fitted = Fitted(radix(2, 4), ()) if method == "radix" else None
  manager = SemanticIDManager.from_codes(simple.codes, 4, None, method, fitted)
  grown = manager.add_items(None, [6, 7])
  np.testing.assert_array_equal(grown.codes, SemanticIDManager(2, 4, 8).codes)
  reused = grown.remove_items([2, 7]).add_items(vectors_at(0, 0, 0), [100, 101, 102])
  assert reused.get_batch_semantic_ids([100, 101, 102]).tolist() == [[2, 0], [3, 1], [0, 2]]
  with pytest.raises(ValueError, match=r"9 new items and the 8 old ones do not fit .* id_length=3"):
    grown.add_items(None, range(100, 109))


def test_nothing_to_add_or_remove(tiny):
  assert tiny.add_items(None, []) is tiny
  assert tiny.remove_items([]).codes.tolist() == tiny.codes.tolist()


@pytest.mark.parametrize(
  ("call", "error", "message"),
  [
    (
      lambda m: m.add_items(vectors_at(0, 0, 0), [9, 1, 0]),
      ValueError,
      r"item 1 is in this map already \(2 such in all\)",
    ),
    (
      lambda m: m.add_items(vectors_at(0, 0), [9, 9]),
      ValueError,
      "item id 9 stands more than once",
    ),
    (lambda m: m.add_items(vectors_at(0), [-1]), ValueError, "item id -1 in row 0 is outside"),
    (lambda m: m.add_items(vectors_at(0), [[9]]), ValueError, r"item ids have shape \(1, 1\)"),
    (lambda m: m.add_items(vectors_at(0), ["a"]), ValueError, "item ids must be integers"),
    (
      lambda m: m.add_items(vectors_at(0), [8, 9]),
      ValueError,
      r"vectors of shape \(1, 1\) for 2 new items",
    ),
    (lambda m: m.add_items(None, [8]), ValueError, "no vectors for 1 new items"),
    (lambda m: m.remove_items([0, 7, 8]), KeyError, r"no item 7 \(at \[1\]\) .*2 unknown in all"),
    (lambda m: m.remove_items([0, 1]), ValueError, "all 2 items would be removed; keep at least"),
    (lambda m: m.remove_items([0.5]), ValueError, "item ids must be integers"),
  ],
)
def test_bad_changes(call, error, message):
  with pytest.raises(error, match=message):
    call(made_map(vectors_at(0.1, 0.8), "extra_digit", fitted_line()))


def test_a_map_without_its_tokenizer_says_where_to_get_it(tiny):
  with pytest.raises(ValueError, match=r"no tokenizer .*load_semantic_ids, or .*fitted=\.\.\."):
    tiny.add_items(vectors_at(0.5), [3])


@pytest.mark.parametrize("fitted", [fitted_line(size=5), fitted_line(num_levels=4)])
def test_the_tokenizer_must_fit_the_ids(tmp_path, fitted):
  path = tmp_path / "ids.json"
  made_map(vectors_at(0.1), "extra_digit", fitted_line()).save_to_file(path)
  with pytest.raises(
    ValueError, match=r"ids\.json: IDs of 3 tokens of 4 codes are not from .*'line'"
  ):
    SemanticIDManager.load_from_file(path, fitted)


def text(**changes):
  """A small valid file with top-level parts, or whole metadata entries, replaced."""
  content = {
    "item_to_semantic": {"0": [0, 0], "520": [3, 1]},
    "semantic_to_item": {"[0, 0]": 0, "[3, 1]": 520},
    "metadata": {"id_length": 2, "codebook_size": 4, "num_items": 2, "generation_method": "x"},
  }
  for key, value in changes.items():
    part = content["metadata"] if key in content["metadata"] else content
    part[key] = value
    if value is None:
      del part[key]
  return json.dumps(content)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{", r"ids\.json: not JSON"),
    (b"\xff\xff\xff", r"ids\.json: not JSON"),
    ("[1]", "the file is not a JSON object"),
    (text(item_to_semantic=None), 'no object "item_to_semantic"'),
    (text(semantic_to_item=None), 'no object "semantic_to_item"'),
    (text(metadata=None), 'no object "metadata"'),
    (text(metadata=[1]), 'no object "metadata"'),
    (text(item_to_semantic={}), '"item_to_semantic" is empty'),
    (text(num_items=1), '"metadata" says num_items 1, but the file has 2 items'),
    (text(num_items=2**63), '"metadata" says num_items 9223372036854775808, but'),
    (text(id_length=3), '"metadata" says id_length 3, but the file has 2'),
    (text(codebook_size=None), '"metadata" has no "codebook_size"'),
    (text(generation_method=None), '"metadata" has no "generation_method"'),
    (text(num_items=2.0), '"num_items" in "metadata" is 2.0, not int'),
    (text(codebook_size=3), r"token 3 at \[1, 0\] is outside 0\.\.2"),
    (text(item_to_semantic={"0": [0, 0], "520": [3]}), "item 520 has 1 tokens, but the first"),
    (text(item_to_semantic={"0": [0, 0], "520": 3}), "item 520 has 3, not a list of tokens"),
    (text(item_to_semantic={"0": [0, 0], "520": [3, 1.0]}), "item 520 has the token 1.0, which"),
    (text(item_to_semantic={"0": [0, False], "520": [3, 1]}), "item 0 has the token False"),
    (text(item_to_semantic={"0": [0, 0], "520": [3, "1"]}), "item 520 has the token '1'"),
    (text(item_to_semantic={"0": [0, 0], "007": [3, 1]}), 'the key "007", which is no item number'),
    (text(item_to_semantic={"-1": [0, 0]}), 'the key "-1", which is no item number'),
    (
      text(item_to_semantic={"0": [3, 1], "520": [3, 1]}),
      r"items 0 and 520 have the same .*\[3, 1\]",
    ),
    (text(item_to_semantic={str(2**70): [0, 0]}, semantic_to_item={"[0, 0]": 2**70}), "64 bits"),
    (
      text(semantic_to_item={"[0, 0]": 0, "[3, 1]": 521}),
      r'maps disagree: item 520 has \[3, 1\], but "semantic_to_item" gives it to 521',
    ),
    (text(semantic_to_item={"[0, 0]": 0, "[3, 1]": 520.0}), "gives it to 520.0"),
    (text(semantic_to_item={"[0, 0]": 0, "[3, 1]": "520"}), "gives it to '520'"),
    (
      text(semantic_to_item={"[0, 0]": 0}),
      r'item 520 has \[3, 1\], but "semantic_to_item" lacks it',
    ),
    (
      text(semantic_to_item={"[0, 0]": 0, "[3, 1]": 520, "[1, 1]": 9}),
      r'"semantic_to_item" has \[1, 1\], which no item',
    ),
    (text(generation_method="x" * 99_999, num_items="y" * 99_999), r"'y+\.\.\.y+', not int$"),
    ("[" * 100_000, "not JSON that can be read .*nested too deeply"),
    ('{"metadata": {"num_items": ' + "9" * 5000 + "}}", "ids.json: .*limit"),
    (text(tokenizer=1), 'the "tokenizer" in the file is damaged'),
    (text().replace('"520":', '"0": [1, 1], "520":'), 'the key "0" stands twice'),
    (text().replace('"[3, 1]":', '"[0, 0]": 9, "[3, 1]":'), r'the key "\[0, 0\]" stands twice'),
  ],
)
def test_bad_json_files(tmp_path, content, message):
  path = tmp_path / "ids.json"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(ValueError, match=message):
    SemanticIDManager.load_from_file(path)


def test_the_unchanged_file_is_good(tmp_path):
  (tmp_path / "ids.json").write_text(text())
  assert SemanticIDManager.load_from_file(tmp_path / "ids.json").get_item_id([3, 1]) == 520


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"metadata": None}, "no array 'metadata' in the file"),
    ({"codes_NxL": None}, "no array 'codes_NxL' in the file"),
    ({"codes_NxL": [[0, 0], [0, 0]]}, "items 0 and 520 have the same semantic ID"),
    ({"codes_NxL": [[0, 0], [0, 4]]}, r"token 4 at \[1, 1\] is outside"),
    ({"codes_NxL": [[0.0, 0.0], [0.0, 1.0]]}, "tokens must be integers"),
    ({"codes_NxL": [0, 1]}, r"codes have shape \(2,\)"),
    ({"codes_NxL": [[0, 0], [3, 1], [2, 2]]}, '"metadata" says num_items 2, but the file has 3'),
    ({"item_ids_N": [0]}, r"item ids have shape \(1,\)"),
    ({"item_ids_N": [3, 3]}, "item id 3 stands more than once"),
    ({"metadata": "{"}, r"ids\.npz: not a readable \.npz file"),
    ({"metadata": "[]"}, '"metadata" is not an object'),
    ({"codes_NxL": np.array([[{}]])}, r"not a readable \.npz file"),
  ],
)
def test_bad_npz_files(tmp_path, changes, message):
  arrays = {
    "codes_NxL": [[0, 0], [3, 1]],
    "item_ids_N": [0, 520],
    "metadata": json.dumps(json.loads(text())["metadata"]),
  } | changes
  np.savez(tmp_path / "ids.npz", **{k: v for k, v in arrays.items() if v is not None})
  with pytest.raises(ValueError, match=message):
    SemanticIDManager.load_from_file(tmp_path / "ids.npz")


def test_damaged_npz_files(tmp_path):
  path = tmp_path / "ids.npz"
  SemanticIDManager(4, 256, 5000).save_to_file(path)
  whole = path.read_bytes()
  flipped = bytearray(whole)
  flipped[200:260] = bytes(60)
  with (tmp_path / "array.npy").open("wb") as file:
    np.save(file, np.zeros(3))
  for damaged in (
    b"",
    b"hello",
    whole[:300],
    bytes(flipped),
    (tmp_path / "array.npy").read_bytes(),
  ):
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"ids\.npz: not a readable \.npz file"):
      SemanticIDManager.load_from_file(path)


@pytest.mark.parametrize("name", ["ids.json", "ids.npz"])
def test_a_file_that_was_changed_by_hand_is_refused(tiny, tmp_path, name):
  path = tmp_path / name
  tiny.save_to_file(path)
  again = SemanticIDManager.load_from_file(path).metadata
  other = SemanticIDManager.from_codes([[45, 128, 67, 9], [0, 0, 0, 1]], 256, [520, 0])
  content = Content(other.codes, other.item_ids, again | {"checksum": "14637309"})
  if name == "ids.npz":
    with path.open("wb") as file:
      semantic_id_files._write_npz(file, content)
  else:
    path.write_text("".join(semantic_id_files._json_text(content)))
  with pytest.raises(ValueError, match=f"{name}: the file is not as it was written"):
    SemanticIDManager.load_from_file(path)


def test_a_map_of_three_items_of_a_large_catalogue(tmp_path):
  path = tmp_path / "sample.json"
  path.write_text(SAMPLE)
  manager = SemanticIDManager(id_length=4, codebook_size=256)
  manager.load_from_file(path)
  assert manager.num_items == 3706
  assert manager.item_ids.tolist() == [0, 1, 520]
  assert manager.get_semantic_id(520) == [8, 2, 0, 0]
  assert manager.get_item_id([8, 2, 0, 0]) == 520
  assert manager.metadata == json.loads(SAMPLE)["metadata"]
  assert SemanticIDManager.load_from_file(path).num_items == 3706
  with pytest.raises(KeyError, match="no item 2 among the 3 items of this map"):
    manager.get_semantic_id(2)
  # Item 2 has an ID somewhere, so nobody knows which are free.
  with pytest.raises(ValueError, match="3 of the 3706 items of its catalogue"):
    manager.add_items(None, [9000])
  manager.remove_items([1]).save_to_file(tmp_path / "two.npz")
  assert SemanticIDManager.load_from_file(tmp_path / "two.npz").num_items == 3705


@pytest.mark.parametrize(
  "ask",
  [
    lambda m: m.get_semantic_id(0),
    lambda m: m.get_item_id([0, 0]),
    lambda m: m.get_batch_semantic_ids([]),
    lambda m: m.get_batch_item_ids(np.zeros((0, 2), int)),
    lambda m: m.add_items(None, [0]),
    lambda m: m.remove_items([0]),
    lambda m: m.save_to_file("ids.json"),
  ],
)
def test_an_empty_map_says_what_to_do(ask):
  empty = SemanticIDManager(id_length=2, codebook_size=4)
  assert (empty.num_items, empty.id_length, empty.codebook_size) == (0, 2, 4)
  with pytest.raises(ValueError, match=r"this map is empty; fill it with load_from_file\(path\)"):
    ask(empty)


def test_loading_into_a_map_replaces_it_whole_or_not_at_all(tiny, tmp_path):
  path = tmp_path / "ids.json"
  tiny.save_to_file(path)
  manager = SemanticIDManager(4, 256, 1000)
  assert manager.load_from_file(path) is manager
  assert manager.item_ids.tolist() == [520, 0]
  assert manager.get_item_id([45, 128, 67, 9]) == 520
  with pytest.raises(KeyError):
    manager.get_semantic_id(999)
  other = SemanticIDManager(2, 256, 7)
  with pytest.raises(ValueError, match=r"4 tokens of 256 codes, but this map is for 2 tokens"):
    other.load_from_file(path)
  assert other.num_items == 7
  path.write_text("{")
  with pytest.raises(ValueError, match="not JSON"):
    manager.load_from_file(path)
  assert manager.get_semantic_id(520) == [45, 128, 67, 9]
  assert "what `save_to_file` wrote" in SemanticIDManager.load_from_file.__doc__


SETTINGS = {
  name: TokenizerConfig(name=name, num_levels=2, codebook_size=4)
  for name in ("residual_kmeans", "hierarchical_kmeans", "product_quantization", "lsh", "radix")
}


@pytest.mark.parametrize("extension", ["json", "npz"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_file_takes_the_tokenizer_along(name, extension, tmp_path):
  vectors = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
  tokenizer = make_tokenizer(SETTINGS[name], lambda *_: None)
  fitted = Fitted(tokenizer, tokenizer.fit(jax.random.key(0), vectors))
  codes = add_extra_digit(np.asarray(tokenizer.encode(fitted.params, vectors)), 4)
  manager = SemanticIDManager.from_codes(codes, 4, None, name, fitted)
  path = tmp_path / f"ids.{extension}"
  manager.save_to_file(path, with_tokenizer=True)
  loaded = SemanticIDManager(codes.shape[1], 4).load_from_file(path)
  new = vectors[:5] + 0.1
  expected = manager.add_items(new, range(20, 25))
  np.testing.assert_array_equal(loaded.add_items(new, range(20, 25)).codes, expected.codes)
  loaded.save_to_file(tmp_path / f"again.{extension}", with_tokenizer=True)
  assert (tmp_path / f"again.{extension}").read_bytes() == path.read_bytes()


def test_a_tokenizer_that_files_cannot_hold(tiny, tmp_path):
  with pytest.raises(ValueError, match="this map has no tokenizer to write"):
    tiny.save_to_file(tmp_path / "ids.json", with_tokenizer=True)
  manager = made_map(vectors_at(0.1), "extra_digit", fitted_line())
  with pytest.raises(ValueError, match="'line' was not made from settings"):
    manager.save_to_file(tmp_path / "ids.json", with_tokenizer=True)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ids.json", "ids.npz"])
def test_missing_file(tmp_path, name):
  with pytest.raises(FileNotFoundError, match=f"no semantic-ID file .*{name}; make one with"):
    SemanticIDManager.load_from_file(tmp_path / name)
