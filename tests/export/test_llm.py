"""Files for language models: read back, they say the same; and their lines are LC-Rec's."""

import json

import numpy as np
import pytest
from export_run import make_run
from tiny import ROWS

from sidrec.catalogue.lcrec_index import align_index, read_index
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.data.sources import registry
from sidrec.export.llm import MOST_BEFORE, write_for_llm


@pytest.fixture(scope="module")
def run():
  return make_run()


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("llm") / "tiny"
  write_for_llm(folder, run.dataset, run.ids)
  return folder


def test_read_back_it_is_the_same_histories_titles_and_ids(run, folder):
  found, dataset = registry.read("lcrec", str(folder)), run.dataset
  assert found.name == dataset.name
  np.testing.assert_array_equal(found.histories.offsets_Up1, dataset.histories.offsets_Up1)
  np.testing.assert_array_equal(found.histories.item_T, dataset.histories.item_T)
  assert found.items.titles_N.tolist() == dataset.items.titles_N.tolist()
  names = [
    [items.categories_of(row) for row in range(30)] for items in (found.items, dataset.items)
  ]
  assert names[0] == names[1]
  codes_NxL = align_index(read_index(folder / "tiny.index.json"), found.items.ids_N)
  np.testing.assert_array_equal(codes_NxL, run.ids.codes)


def test_original_ids_stand_beside_the_numbers(run, folder):
  lines = (folder / "tiny.item2id").read_text().splitlines()
  assert lines == [f"{item}\t{row}" for row, item in enumerate(run.dataset.items.ids_N.tolist())]
  assert (folder / "tiny.user2id").read_text().splitlines()[59] == "59\t59"


def test_targets_are_those_of_leaving_out_the_last_two(folder):
  """As amazon18_data_process.py of LC-Rec writes them, done again here."""
  expected = {"train": [], "valid": [], "test": []}
  for user, row in enumerate(ROWS):
    training = list(map(str, row[:-2]))
    for back in range(1, len(training)):
      expected["train"].append(f"{user}\t{' '.join(training[:-back][-50:])}\t{training[-back]}")
    expected["valid"].append(f"{user}\t{' '.join(training[-50:])}\t{row[-2]}")
    expected["test"].append(f"{user}\t{' '.join([*training, str(row[-2])][-50:])}\t{row[-1]}")
  for split, lines in expected.items():
    header, *found = (folder / f"tiny.{split}.inter").read_text().splitlines()
    assert header == "user_id:token\titem_id_list:token_seq\titem_id:token"
    assert found == lines


def test_what_is_before_a_target_is_cut_to_the_latest(run, tmp_path):
  row = [n % 30 for n in range(MOST_BEFORE + 9)]
  histories = run.dataset.histories._replace(
    offsets_Up1=np.array([0, len(row)]), item_T=np.array(row, np.int32), user_ids_U=np.array(["u"])
  )
  write_for_llm(tmp_path / "long", run.dataset._replace(histories=histories), run.ids)
  line = (tmp_path / "long" / "tiny.test.inter").read_text().splitlines()[1]
  assert line == f"0\t{' '.join(map(str, row[-51:-1]))}\t{row[-1]}"
  assert json.loads((tmp_path / "long" / "tiny.inter.json").read_text()) == {"0": row}


def test_it_replaces_its_own_files_and_nothing_else(run, folder, tmp_path):
  write_for_llm(folder, run.dataset, run.ids)
  (tmp_path / "tiny.inter.json").write_text("{}")
  with pytest.raises(FileExistsError):
    write_for_llm(tmp_path, run.dataset, run.ids)
  assert (tmp_path / "tiny.inter.json").read_text() == "{}"


def test_what_does_not_fit_is_refused(run, tmp_path):
  few = SemanticIDManager.from_codes(run.ids.codes[:29], 6)
  with pytest.raises(ValueError, match="29 semantic IDs for 30 items"):
    write_for_llm(tmp_path / "a", run.dataset, few)
  users = run.dataset.histories._replace(user_ids_U=np.array(["a\tb", *map(str, range(59))]))
  with pytest.raises(ValueError, match="holds a tab"):
    write_for_llm(tmp_path / "b", run.dataset._replace(histories=users), run.ids)
  some = run.dataset.histories._replace(target_T=run.dataset.histories.item_T % 2 == 0)
  with pytest.raises(ValueError, match="last two events as targets, and this run predicts others"):
    write_for_llm(tmp_path / "c", run.dataset._replace(histories=some), run.ids)
  assert not list(tmp_path.iterdir())
