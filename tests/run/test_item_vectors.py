"""Item vectors: which blocks are made, what they may look at, and vectors of new items."""

import numpy as np
import pytest
from tiny import ROWS, make_dataset, make_items

from sidrec.config import default_config
from sidrec.core.settings import from_dict
from sidrec.features.settings import FeaturesConfig
from sidrec.run import item_vectors

rng = np.random.default_rng(1)


def settings(**weights):
  features = default_config().features
  for name in set(features) - {"plugins", "whiten"}:
    features[name].weight = weights.get(name, 0.0)
  features.cooccurrence.dim = features.item2vec.dim = 4
  features.item2vec.steps = 20
  features.sasrec.update(history_length=8, width=8, steps=4)
  return features


def typed(features):
  return from_dict(FeaturesConfig, features.to_dict())


@pytest.mark.parametrize("block", ["content", "cooccurrence", "item2vec", "sasrec"])
def test_vectors_of_a_block_tell_items_apart_and_repeat(block, tmp_path):
  features = settings(**{block: 1.0})
  first, again = (
    item_vectors.item_vectors(typed(features), make_dataset(), 0, tmp_path / name).vectors_NxF
    for name in "ab"
  )
  assert len(np.unique(first, axis=0)) == 30
  np.testing.assert_array_equal(first, again)
  trained = {path.parent.name for path in (tmp_path / "a").glob("*/checkpoints")}
  assert trained == set(item_vectors.checkpoint_folders(typed(features)))
  assert trained == ({"sasrec-vectors"} if block == "sasrec" else set())


@pytest.mark.parametrize("block", ["cooccurrence", "item2vec", "sasrec"])
def test_behaviour_blocks_do_not_see_what_is_held_out(block, tmp_path):
  features = settings(**{block: 1.0})
  other_ends = [[*row[:-2], *rng.permutation(30)[:2].tolist()] for row in ROWS]
  before, after = (
    item_vectors.item_vectors(typed(features), make_dataset(rows), 0, tmp_path / name).vectors_NxF
    for name, rows in (("a", ROWS), ("b", other_ends))
  )
  np.testing.assert_array_equal(before, after)


def test_statistics_are_columns_of_content_only_if_wanted(tmp_path):
  features = settings(content=1.0)
  plain = item_vectors.item_vectors(typed(features), make_dataset(), 0, tmp_path).vectors_NxF
  features.content.statistics = True
  more = item_vectors.item_vectors(typed(features), make_dataset(), 0, tmp_path).vectors_NxF
  assert more.shape[1] > plain.shape[1]


def test_a_file_of_any_modality_is_a_block(tmp_path):
  path = tmp_path / "image.npz"
  vectors = rng.normal(size=(29, 5)).astype(np.float32)
  np.savez(path, item_id=np.arange(29), embedding=vectors)
  features = settings(image=2.0)
  features.image.path = str(path)
  made = item_vectors.item_vectors(typed(features), make_dataset(), 0, tmp_path)
  assert made.vectors_NxF.shape == (30, 5)
  assert made.notes[0].startswith("image: image.npz: 29 of 30 items")
  np.testing.assert_allclose(made.vectors_NxF[29], 0, atol=1e-6)  # the mean
  assert list(item_vectors.vector_files(typed(features))) == [str(path)]
  features.image.path = ""
  with pytest.raises(ValueError, match=r"features.image.path is empty"):
    item_vectors.item_vectors(typed(features), make_dataset(), 0, tmp_path)


def test_new_items_get_vectors_by_what_the_catalogue_taught(tmp_path):
  features = settings(content=1.0, cooccurrence=1.0)
  dataset = make_dataset()
  made = item_vectors.item_vectors(typed(features), dataset, 0, tmp_path)
  catalogue = item_vectors.with_statistics(typed(features), dataset)
  give = lambda ids: item_vectors.new_item_vectors(
    typed(features), catalogue, made.params, made.vectors_NxF, make_items(ids)
  )
  known = give([3, 4])
  np.testing.assert_allclose(known[:, :-4], made.vectors_NxF[[3, 4], :-4], atol=1e-6)
  new = give([31])
  distance = np.linalg.norm(made.vectors_NxF[:, :-4] - new[:, :-4], axis=1)
  assert np.argmin(distance) % 3 == 31 % 3
  # Behaviour is that of the items that are described most alike, as strong as theirs.
  behaviour = made.vectors_NxF[:, -4:]
  unit = made.vectors_NxF[:, :-4] / np.linalg.norm(made.vectors_NxF[:, :-4], axis=1, keepdims=True)
  near = behaviour[np.argsort(-(unit @ new[0, :-4]), kind="stable")[:10]].mean(axis=0)
  norm = np.linalg.norm(behaviour, axis=1).mean()
  np.testing.assert_allclose(new[0, -4:], near / np.linalg.norm(near) * norm, rtol=1e-3, atol=1e-5)


def test_new_items_need_a_description(tmp_path):
  dataset = make_dataset()
  only = settings(cooccurrence=1.0)
  made = item_vectors.item_vectors(typed(only), dataset, 0, tmp_path)
  with pytest.raises(ValueError, match="learnt from behaviour"):
    item_vectors.new_item_vectors(
      typed(only), dataset.items, made.params, made.vectors_NxF, make_items([31])
    )


def test_weights_are_checked(tmp_path):
  with pytest.raises(ValueError, match="all feature weights are 0"):
    item_vectors.item_vectors(typed(settings()), make_dataset(), 0, tmp_path)
  with pytest.raises(ValueError, match=r"features.text.weight must be 0 or more, not -1"):
    item_vectors.item_vectors(typed(settings(text=-1)), make_dataset(), 0, tmp_path)
