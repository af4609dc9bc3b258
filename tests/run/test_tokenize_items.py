"""Every tokenizer through one door: unique IDs, a report, files, new items."""

import json

import numpy as np
import pytest
from tiny import make_dataset, make_items

from sidrec.catalogue.lcrec_index import read_index
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.config import default_config
from sidrec.run.settings import run_config
from sidrec.run.tokenize_items import (
  TOKENIZED_FILES,
  load_fitted,
  new_item_inputs,
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

  fitted = load_fitted(config, 0, tmp_path)
  loaded = SemanticIDManager.load_from_file(tmp_path / "semantic_ids.json", fitted)
  inputs = new_item_inputs(config, make_items([99]), VECTORS[:1] + 0.01, tmp_path)
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


def test_the_category_alone_is_numbered_by_order(tmp_path):
  config = settings("category", num_levels=1, codebook_size=16)
  ids = tokenize_items(config, make_dataset(), VECTORS, 0, tmp_path).ids
  labels = json.loads((tmp_path / "tokenizer" / "paths.json").read_text())
  name_of = labels[0]["codes"]
  assert [name_of[code] for code in ids.codes[:3, 0]] == ["a", "b", "c"]
  # Rows 0, 3, 6, … are of one category and get 0, 1, 2, …
  assert ids.codes[::3, 1].tolist() == list(range(10))


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
  ],
)
def test_settings_that_make_no_sense(name, changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    tokenize_items(settings(name, **changes), make_dataset(), VECTORS, 0, tmp_path)
