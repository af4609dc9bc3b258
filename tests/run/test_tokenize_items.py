"""Every tokenizer through one door: unique IDs, a report, files, new items."""

import json

import numpy as np
import pytest
from tiny import make_dataset, make_items

from sidrec.catalogue.lcrec_index import read_index
from sidrec.config import default_config
from sidrec.run.generations import Generation, Record, checksums_of
from sidrec.run.settings import run_config
from sidrec.run.tokenize_items import (
  TOKENIZED_FILES,
  category_labels,
  load_fitted,
  new_item_inputs,
  read_ids,
  tokenize_items,
  write_tokenized,
)
from sidrec.tokenizers.registry import TOKENIZERS

VECTORS = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)


def settings(name, path="", **changes):
  config = default_config()
  config.tokenizer.update(name=name, num_levels=2, codebook_size=8)
  config.tokenizer.rqvae.update(hidden=(8,), latent_dim=4, batch_size=16, steps=4)
  config.tokenizer.rqvae.update(steps_per_call=2, validate_every=4)
  config.tokenizer.category.path = ("category_1",)
  config.tokenizer.file.path = path
  config.tokenizer.update(**changes)
  return run_config(config).tokenizer


def finished_stage(folder, files):
  """The stage 'tokenize' as if it had written these files alone."""
  return Generation(folder, 1, Record("tokenize", None, checksums_of(folder, files), "now"))


def test_ids_are_read_from_the_compact_file_and_from_json_where_there_is_none(tmp_path):
  tokenized = tokenize_items(settings("lsh"), make_dataset(), VECTORS, 0, tmp_path)
  write_tokenized(tmp_path, tokenized, make_items(list(range(30))))
  stage, of_before = (
    finished_stage(tmp_path, files) for files in (TOKENIZED_FILES, ["semantic_ids.json"])
  )
  (tmp_path / "semantic_ids.json").rename(tmp_path / "away")
  found = read_ids(stage)
  np.testing.assert_array_equal(found.codes, tokenized.ids.codes)
  assert found.metadata == tokenized.ids.metadata
  (tmp_path / "away").rename(tmp_path / "semantic_ids.json")
  (tmp_path / "semantic_ids.npz").unlink()
  np.testing.assert_array_equal(read_ids(of_before).codes, found.codes)
  with pytest.raises(ValueError, match=r"semantic_ids.npz.*make it again with --redo=tokenize"):
    read_ids(stage)


@pytest.mark.parametrize("name", [*TOKENIZERS])
def test_each_tokenizer_gives_unique_ids_a_report_and_places_for_new_items(name, tmp_path):
  config = settings(name)
  tokenized = tokenize_items(config, make_dataset(), VECTORS, 0, tmp_path)
  ids = tokenized.ids
  assert ids.num_items == 30
  assert ids.metadata["generation_method"] == name
  assert len(np.unique(ids.codes, axis=0)) == 30
  assert tokenized.report["timings"]["fit"]["seconds"] > 0
  assert set(tokenized.report["agreement"]) == {"category", "decade"}

  write_tokenized(tmp_path, tokenized, make_items(list(range(30))))
  assert all((tmp_path / file).stat().st_size for file in TOKENIZED_FILES)
  assert json.loads((tmp_path / "tokenizer.json").read_text())["items"] == 30
  assert read_index(tmp_path / "index.json").codes_NxL.tolist() == ids.codes.tolist()

  fitted = load_fitted(config, 0, tmp_path / "tokenizer")
  stage = finished_stage(tmp_path, TOKENIZED_FILES)
  loaded = read_ids(stage, fitted)
  np.testing.assert_array_equal(loaded.codes, ids.codes)
  inputs = new_item_inputs(
    category_labels(config, tmp_path / "tokenizer"), make_items([99]), VECTORS[:1] + 0.01
  )
  more = loaded.add_items(inputs, [99])
  assert more.num_items == 31
  np.testing.assert_array_equal(more.codes[:30], ids.codes)
  # By the tokenizer that was loaded as by the one that was fitted.
  np.testing.assert_array_equal(ids.add_items(inputs, [99]).codes, more.codes)


def test_reassigned_ids_stay_short(tmp_path):
  crowded = np.repeat(VECTORS[:5], 6, axis=0) + 1e-3 * VECTORS
  made = {
    rule: tokenize_items(
      settings("residual_kmeans", codebook_size=16, collisions=rule),
      make_dataset(),
      crowded,
      0,
      tmp_path / rule,
    )
    for rule in ("extra_digit", "reassign")
  }
  assert made["extra_digit"].report["collision_rate"] > 0
  assert made["extra_digit"].ids.id_length == 3
  assert made["reassign"].ids.id_length == 2
  assert made["reassign"].report["collisions"]["items moved"] > 0
  assert made["extra_digit"].report["collisions"]["digits added"] == 1


@pytest.mark.parametrize("name", ["residual_kmeans", "hierarchical_kmeans", "category"])
def test_reports_after_reassign_describe_the_ids_that_are_written(name, tmp_path):
  crowded = np.tile(VECTORS[:15], (2, 1))  # equal pairs, of one category
  config = settings(name, codebook_size=8, collisions="reassign", num_levels=3)
  made = tokenize_items(config, make_dataset(), crowded, 0, tmp_path)
  codes, report = made.ids.codes, made.report
  assert report["collisions"]["items moved"] > 0
  assert report["collision_rate"] == 0
  assert report["distinct_ids"] == 30
  assert [row["codes_used"] for row in report["levels"]] == [len(np.unique(c)) for c in codes.T]
  described = {entry["codes"][0]: entry["items"] for entry in made.interpretation["first"]}
  assert described == {code: int((codes[:, 0] == code).sum()) for code in np.unique(codes[:, 0])}
  pairs = {tuple(codes) for codes in codes[:, :2].tolist()}
  assert {tuple(entry["codes"]) for entry in made.interpretation["first_two"]} <= pairs
  # Moving costs: the written codes explain less than those that collided.
  first = tokenize_items(
    settings(name, codebook_size=8, num_levels=3), make_dataset(), crowded, 0, tmp_path / "first"
  )
  assert report["unexplained_variance"] > first.report["unexplained_variance"]


def test_values_that_share_a_code_are_said(tmp_path):
  kwargs = {"num_levels": 1, "codebook_size": 3}
  tokenized = tokenize_items(settings("category", **kwargs), make_dataset(), VECTORS, 0, tmp_path)
  (note,) = tokenized.report["notes"]
  assert note.startswith("2 values of 'category_1' (20 items) share the code 'other'")
  write_tokenized(tmp_path, tokenized, make_items(list(range(30))))
  assert "note: 2 values of 'category_1'" in (tmp_path / "tokenizer.txt").read_text()
  assert json.loads((tmp_path / "tokenizer.json").read_text())["notes"] == [note]


def test_the_category_alone_is_numbered_by_order(tmp_path):
  config = settings("category", num_levels=1, codebook_size=16)
  ids = tokenize_items(config, make_dataset(), VECTORS, 0, tmp_path).ids
  labels = json.loads((tmp_path / "tokenizer" / "paths.json").read_text())
  name_of = labels[0]["below"][""]["codes"]
  assert [name_of[code] for code in ids.codes[:3, 0]] == ["a", "b", "c"]
  # Rows 0, 3, 6, … are of one category and get 0, 1, 2, …
  assert ids.codes[::3, 1].tolist() == list(range(10))


@pytest.mark.parametrize("text", ["{", "[1]", '[{"name": "category_1", "codes": []}]', "null"])
def test_damaged_labels_are_named(text, tmp_path):
  (tmp_path / "paths.json").write_text(text)
  with pytest.raises(ValueError, match=r"paths\.json is .*; run --mode=tokenize again"):
    category_labels(settings("category"), tmp_path)


def test_ids_from_files(tmp_path):
  config = settings("residual_kmeans")
  tokenized = tokenize_items(config, make_dataset(), VECTORS, 0, tmp_path)
  write_tokenized(tmp_path, tokenized, make_dataset().items)
  for file in ("semantic_ids.json", "index.json"):
    config = settings("file", str(tmp_path / file))
    again = tokenize_items(config, make_dataset(), VECTORS, 0, tmp_path / "again")
    np.testing.assert_array_equal(again.ids.codes, tokenized.ids.codes)
  with pytest.raises(ValueError, match=r"tokenizer.file.path is empty"):
    tokenize_items(settings("file"), make_dataset(), VECTORS, 0, tmp_path)


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    ("rqva", {}, "did you mean 'rqvae'"),
    ("lsh", {"collisions": "none"}, "unknown collisions 'none'; choose from extra_digit, reassign"),
    ("category", {"num_levels": 0}, "less than the 1 levels"),
    (
      "product_quantization",
      {"kmeans": {"balance": 2.0}},
      "kmeans.balance is 2.0, but product quantization balances nothing; leave it at 1.5",
    ),
  ],
)
def test_settings_that_make_no_sense(name, changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    tokenize_items(settings(name, **changes), make_dataset(), VECTORS, 0, tmp_path)
