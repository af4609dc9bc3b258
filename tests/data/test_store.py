"""A store gives back what was written, and the batches that memory would have given."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import assert_same, build_from, make_dataset, make_items, tiny_config

from sidrec.core.settings import from_dict
from sidrec.data import batches, shards, store
from sidrec.data.dataset import Dataset, training_view
from sidrec.data.inputs import InputsConfig
from sidrec.data.prefix_batches import prefix_batches
from sidrec.data.settings import DataConfig
from sidrec.data.sources import registry
from sidrec.data.sources.build import item_table
from sidrec.models import followers
from sidrec.run import train
from sidrec.run.prepare import PREPARE, load_prepared, training_of
from sidrec.run.settings import run_config
from sidrec.run.stage import find
from sidrec.run.stages import run_to
from sidrec.training.checkpoint import load_params

FORMS = ("packed_batches", "prefix_batches", "sliding_batches")
LENGTHS = np.random.default_rng(1).integers(3, 12, 40).tolist()


def data_set(text_ids: bool = False) -> Dataset:
  """40 users with 3 to 11 interactions each; some ratings are missing."""
  rng = np.random.default_rng(0)
  user_T = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
  users = np.array([f"käthe {number}" for number in range(len(LENGTHS))]) if text_ids else None
  rating_T = np.where(rng.random(len(user_T)) < 0.3, np.nan, rng.integers(1, 6, len(user_T)))
  return build_from(
    "forty",
    user_T if users is None else users[user_T],
    rng.integers(0, 30, len(user_T)),
    rng.integers(-(10**12), 10**12, len(user_T)),
    rating_T,
    make_items(list(range(30))),
    notes=["one note", "ein zweiter: é"],
  )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
  folder = tmp_path_factory.mktemp("store") / "forty"
  store.write_store(folder, data_set(), 3)
  return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
  """One to break."""
  return Path(shutil.copytree(written, tmp_path / "copied"))


@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("num_shards", [1, 7, 100])
def test_what_was_written_comes_back(tmp_path: Path, text_ids: bool, num_shards: int) -> None:
  data = data_set(text_ids)
  store.write_store(tmp_path / "new" / "store", data, num_shards)
  assert len([*(tmp_path / "new" / "store").glob("*.array_record*")]) == min(num_shards, 40)
  assert_same(store.load_store(tmp_path / "new" / "store"), data)
  assert_same(registry.read("store", str(tmp_path / "new" / "store")), data)


def test_tfds_reads_it_without_tensorflow(written: Path) -> None:
  import tensorflow_datasets as tfds

  source = tfds.builder_from_directory(written).as_data_source("users")
  data = data_set()
  assert len(source) == 40
  for user in (0, 17, 39):
    example, span = source[user], slice(*data.histories.offsets_Up1[user : user + 2])
    assert example["user_id"] == data.histories.user_ids_U[user]
    np.testing.assert_array_equal(example["item"], data.histories.item_T[span])
    np.testing.assert_array_equal(example["time"], data.histories.time_T[span])
    np.testing.assert_array_equal(example["rating"], data.histories.rating_T[span])
  assert "tensorflow" not in sys.modules


def make(form: str, **settings: int):
  """The batches of a form, S = 4, 8 examples, seed 5; settings of the process."""
  process = settings.pop("process_index", 0), settings.pop("process_count", 1)
  function = prefix_batches if form == "prefix_batches" else getattr(batches, form)
  build = lambda histories, *rest, **more: function(histories, *rest, **settings, **more)
  return build, (4, 8, 5, *process)


def assert_same_batch(found: dict, expected: dict) -> None:
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert value.dtype == found[name].dtype
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
  ("form", "settings"),
  [
    *((form, {}) for form in FORMS),
    ("sliding_batches", {"num_user_tokens": 9}),
  ],
)
def test_batches_are_those_of_the_training_view_in_memory(
  written: Path, form: str, settings: dict[str, int]
) -> None:
  function, arguments = make(form, **settings)
  in_memory = function(training_view(data_set().histories), *arguments)
  batch_at = store.from_shards(function, written)(None, *arguments)
  for step in [*range(12), 1000, 1001, 3]:  # several passes; jumps, too
    assert_same_batch(batch_at(step), in_memory(step))


@pytest.mark.parametrize("form", FORMS)
def test_shards_hold_the_times_and_ratings_of_batches_too(tmp_path: Path, form: str) -> None:
  data = data_set()
  seconds = data.histories.time_T // 10**4  # within 68 years
  data = data._replace(histories=data.histories._replace(time_T=seconds))
  store.write_store(tmp_path / "store", data, 2)
  inputs = InputsConfig(gap=True, rating=True, request_time="known")
  function, arguments = make(form)
  in_memory = function(training_view(data.histories), *arguments, inputs=inputs)
  batch_at = store.from_shards(function, tmp_path / "store")(None, *arguments, inputs=inputs)
  for step in (0, 1, 9):
    batch = batch_at(step)
    assert {"time_BxS", "asked_BxS", "rating_BxS"} < batch.keys()
    assert_same_batch(batch, in_memory(step))


@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_processes_makes_the_same_global_batch(written: Path, form: str) -> None:
  function, (*arguments, _, _) = make(form)
  whole = store.from_shards(function, written)(None, *arguments)
  expected = [whole(step) for step in range(9)]
  for count in (2, 4):
    parts = [store.from_shards(function, written)(None, *arguments, k, count) for k in range(count)]
    # Each process resumes at another step than 0, after a run with another number of them.
    for step in range(count, 9):
      shares = [part(step) for part in parts]
      joined = {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}
      assert_same_batch(joined, expected[step])


def test_batches_never_hold_what_is_held_out(tmp_path: Path) -> None:
  # User u's items are 100·u, 100·u + 1, …, so that an item tells its place.
  rows = [[100 * user + place for place in range(5 + user)] for user in range(6)]
  data = make_dataset(rows)
  ids = list(range(700))
  items = item_table(ids, [""] * 700, [[]] * 700, {})
  store.write_store(tmp_path / "store", data._replace(items=items), 2)
  targets = set()
  batch_at = store.from_shards(batches.sliding_batches, tmp_path / "store")(None, 3, 9, 0)
  for step in range(3):
    batch = batch_at(step)
    targets |= set(batch["target_Bx1"][:, 0].tolist())
    assert not {row[-1] for row in rows} & set(batch["history_BxS"].ravel().tolist())
  assert targets == {item for row in rows for item in row[1:-2]}


def test_a_sample_has_the_whole_catalogue_and_is_always_the_same(written: Path) -> None:
  data = data_set()
  sample = registry.read("store", str(written), users=10)
  assert_same(registry.read("store", str(written), users=10), sample)
  assert sample.histories.num_users == 10
  assert sample.items.num_items == data.items.num_items
  assert sample.notes[-1] == "10 of 40 users, drawn evenly; the shards hold the others"
  for row, user in enumerate(sample.histories.user_ids_U):
    expected = data.histories.of(int(np.searchsorted(data.histories.user_ids_U, user)))
    np.testing.assert_array_equal(sample.histories.of(row), expected)


def test_a_run_on_a_sample_trains_on_all_users(tmp_path: Path, monkeypatch) -> None:
  """What training and baselines learn from, and what followed what, are of all users."""
  config = tiny_config(tmp_path)
  config.model.followers = 4
  data = registry.read(
    "table", config.data.path, **registry.settings_of(from_dict(DataConfig, config.data.to_dict()))
  )
  store.write_store(tmp_path / "store", data, 2)
  config.data.update(source="store", path=str(tmp_path / "store"))
  config.data.store.users = 20
  asked = []

  def spy(what, settings, histories, *rest):
    asked.append((what.make_batches(training_view(histories), 8, 8, 0), histories.num_users))
    return {"weights": np.zeros(1)}

  monkeypatch.setattr(train, "train_next_item", spy)
  run_to("train", config, tmp_path / "run")
  ((batch_at, num_users),) = asked
  assert num_users == 20
  expected = batches.packed_batches(training_view(data.histories), 8, 8, 0)
  for step in range(3):
    assert_same_batch(batch_at(step), expected(step))
  saved = load_params(next(tmp_path.glob("run/stages/train*/recommender")))
  learnt = training_view(data.histories)
  counted = followers.tables([learnt], data.items.num_items, 4)
  for name, table in counted.items():
    np.testing.assert_array_equal(saved[name], table)
  prepared = load_prepared(find(PREPARE, run_config(config), tmp_path / "run"))
  assert prepared.histories.num_users == 20
  training = training_of(run_config(config), prepared)
  assert_same(data._replace(histories=training), data._replace(histories=learnt))
  config.data.k_core = 3
  with pytest.raises(ValueError, match=r"k_core, .* need data\.store\.users=0"):
    run_to("prepare", config, tmp_path / "other")


def test_readers_of_damaged_shards_are_told(copied: Path) -> None:
  file = copied / shards.shard_name(1, 3)
  whole = bytearray(file.read_bytes())
  place = whole.index(np.float32(4.0).tobytes() * 1, 64)  # in the first histories of the shard
  whole[place] ^= 1
  file.write_bytes(whole)
  with pytest.raises(ValueError, match=r"00001-of-00003 is damaged, copy or prepare it again"):
    store.load_store(copied)


def test_a_cut_or_missing_shard_is_found_when_the_store_is_opened(copied: Path) -> None:
  file = copied / shards.shard_name(2, 3)
  size = file.stat().st_size
  with file.open("r+b") as opened:
    opened.truncate(size // 2)
  with pytest.raises(ValueError, match=rf"has {size // 2:,} bytes instead of {size:,}"):
    store.open_store(copied)
  file.unlink()
  with pytest.raises(FileNotFoundError, match=r"lacks the shard histories-users.*00002-of-00003"):
    store.open_store(copied)


def test_shards_of_another_store_are_told(copied: Path, tmp_path: Path) -> None:
  # The same users with other histories: every file is whole, but they do not belong together.
  data = data_set()
  moved = data.histories._replace(item_T=data.histories.item_T[::-1].copy())
  lengths_U = data.histories.lengths_U[::-1]
  moved = moved._replace(offsets_Up1=np.concatenate([[0], np.cumsum(lengths_U)]))
  store.write_store(tmp_path / "other", data._replace(histories=moved), 3)
  meta = json.loads((copied / "store.json").read_text())
  for number in range(3):
    file = tmp_path / "other" / shards.shard_name(number, 3)
    shutil.copy(file, copied)
    meta["shards"][number]["file_bytes"] = file.stat().st_size
  (copied / "store.json").write_text(json.dumps(meta))
  with pytest.raises(ValueError, match="its files belong to different stores"):
    store.load_store(copied)
  with pytest.raises(ValueError, match="its files belong to different stores"):
    store.from_shards(batches.packed_batches, copied)(None, 4, 32, 0)(0)


def test_what_is_no_store_is_an_error(copied: Path, tmp_path: Path) -> None:
  with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent"):
    store.open_store(tmp_path / "absent")
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match=r"is no store of histories, for it has no store\.json"):
    registry.signature("store", str(tmp_path / "empty"))
  meta = json.loads((copied / "store.json").read_text())
  (copied / "store.json").write_text(json.dumps({**meta, "format": 0}))
  with pytest.raises(ValueError, match="has store format 0, but this version reads 2"):
    store.open_store(copied)
  (copied / "store.json").write_text("{")
  with pytest.raises(ValueError, match=r"store\.json is damaged"):
    store.open_store(copied)
  (copied / "store.json").write_text(json.dumps(meta))
  (copied / "lengths.npz").write_bytes((copied / "lengths.npz").read_bytes()[:-40])
  with pytest.raises(ValueError, match=r"lengths\.npz is damaged"):
    store.open_store(copied)


def test_short_histories_are_refused(written: Path) -> None:
  with pytest.raises(ValueError, match="users with 3 interactions; prepare it with --min_inter"):
    registry.read("store", str(written), 5)


def test_a_store_is_complete_or_absent(
  tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  with pytest.raises(FileExistsError, match="is there already"):
    store.write_store(written, data_set())

  def full(path: Path, histories: object) -> None:
    path.write_bytes(b"half")
    raise OSError("no space left")

  monkeypatch.setattr(shards, "write_shard", full)
  with pytest.raises(OSError, match="no space left"):
    store.write_store(tmp_path / "store", data_set())
  assert not [*tmp_path.iterdir()]


def test_a_process_that_stops_in_the_middle_ends(written: Path) -> None:
  """Threads that make batches ahead do not hold up the end of the program."""
  code = (
    "from sidrec.data import batches, store\n"
    f"at = store.from_shards(batches.packed_batches, {str(written)!r})(None, 4, 8, 0)\n"
    "print(at(3)['history_BxS'].shape)"
  )
  start = time.monotonic()
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
  assert (done.returncode, done.stdout) == (0, "(8, 4)\n"), done.stderr
  assert time.monotonic() - start < 100
