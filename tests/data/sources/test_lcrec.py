"""Histories as LC-Rec, LETTER and MiniOneRec exchange them."""

import json

import pytest

from sidrec.data.sources import registry

HISTORIES = {"1": [4, 2, 4], "0": [2, 7, 9, 4]}
ITEMS = {
  "2": {"title": "A", "description": "sweet.", "brand": "OPI", "categories": "Beauty,Nails"},
  "4": {"title": "B", "description": "", "brand": "", "categories": ""},
  "7": {},
}


def write(folder, histories=HISTORIES, items=ITEMS):
  for end, content in (("inter", histories), ("item", items)):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"Toys.{end}.json").write_text(text)
  return str(folder)


def test_users_and_items_are_in_the_order_of_their_numbers(tmp_path):
  dataset = registry.read("lcrec", write(tmp_path))
  assert dataset.name == "Toys"
  assert dataset.histories.user_ids_U.tolist() == [0, 1]
  assert dataset.items.ids_N.tolist() == [2, 4, 7, 9]
  assert dataset.histories.of(0).tolist() == [0, 2, 3, 1]
  assert dataset.histories.of(1).tolist() == [1, 0, 1]
  assert dataset.items.titles_N.tolist() == ["A", "B", "", ""]
  assert dataset.items.text_N.tolist() == ["Brand: OPI. sweet.", "", "", ""]
  assert dataset.items.categories_of(0) == ["Beauty", "Nails"]
  assert registry.read("lcrec", write(tmp_path), 4).histories.user_ids_U.tolist() == [0]


def test_the_file_itself_may_be_named_and_items_may_be_unknown(tmp_path):
  write(tmp_path)
  (tmp_path / "Toys.item.json").unlink()
  dataset = registry.read("lcrec", str(tmp_path / "Toys.inter.json"))
  assert not any(dataset.items.titles_N.tolist())
  assert any("no Toys.item.json" in note for note in dataset.notes)
  assert len(registry.signature("lcrec", str(tmp_path))["files"]) == 1


@pytest.mark.parametrize(
  ("histories", "items", "message"),
  [
    ("{", {}, r"Toys.inter.json: not JSON"),
    ([[1, 2]], {}, "not a JSON object of users"),
    ({"0": [1, "2", 3]}, {}, "user 0 has .*, not a list of item numbers"),
    ({"0": [1, True, 3]}, {}, "not a list of item numbers"),
    ({"0": [1, -2, 3]}, {}, "not a list of item numbers"),
    ({"0": 3}, {}, "not a list of item numbers"),
    ({"A1": [1, 2, 3]}, {}, "the user 'A1' is no whole number"),
    ('{"0": [1, 2, 3], "0": [1, 2, 3]}', {}, "the name '0' stands twice"),
    ('{"0": [1, 2, 3], "00": [1, 2, 3]}', {}, "a user stands twice"),
    ({"0": [1, 2, 3]}, {"1": "A"}, "Toys.item.json: item 1 has 'A', not an object"),
    ({"0": [1, 2, 3]}, {"1": {"title": 5}}, "the title of item 1 is 5, not text"),
  ],
)
def test_malformed_files_are_refused(tmp_path, histories, items, message):
  with pytest.raises(ValueError, match=message):
    registry.read("lcrec", write(tmp_path, histories, items))


def test_missing_and_ambiguous_files_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"has no \*.inter.json"):
    registry.read("lcrec", str(tmp_path))
  with pytest.raises(FileNotFoundError, match="give the path"):
    registry.read("lcrec")
  write(tmp_path)
  (tmp_path / "Arts.inter.json").write_text("{}")
  with pytest.raises(ValueError, match=r"several files.*Arts.inter.json, Toys.inter.json"):
    registry.read("lcrec", str(tmp_path))
