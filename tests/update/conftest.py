"""A trained run of a small shop, made once; each test updates a copy of its folder."""

import shutil

import numpy as np
import pytest
from shop import ROWS_OF_LOG, Shop
from tiny import init_params

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.catalogue.trie.trie import paths
from sidrec.models.counted import FITTED
from sidrec.models.followers import FLOOR
from sidrec.models.transfer import marked
from sidrec.run.stages import STAGES, run_to
from sidrec.run.train import TRAIN, make_model
from sidrec.training.checkpoint import save_params
from sidrec.update import judgement


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
  """The shop's folder after its training, which is left out; nobody writes there."""
  shop = Shop(tmp_path_factory.mktemp("shop"))
  shop.write(ROWS_OF_LOG)

  def draw(config, folder, before):
    ids = SemanticIDManager.load_from_file(before["tokenize"].file("semantic_ids.json"))
    model, trie = make_model(config, ids)
    params = init_params(model, trie, paths(trie))
    params[FITTED] = np.array([0.5, 0.0, 0.4, 0.1], np.float32)
    params[FLOOR] = np.array(0.25, np.float32)
    save_params(folder / "recommender", marked(params, trie))

  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(STAGES, "train", TRAIN._replace(build=draw))
    run_to("train", shop.config(), shop.workdir)
  return shop.folder


@pytest.fixture
def shop(trained, tmp_path, measured):
  """A copy of it."""
  return Shop(shutil.copytree(trained, tmp_path / "shop", symlinks=True))


@pytest.fixture
def measured(monkeypatch):
  """What comparisons find: a score for the updated model, and for the one before.

  Searches are left out: they compile for seconds, and one test makes them.
  """
  scores = {"updated": 0.5, "before": 0.4}

  def metric_of(recommender, held_out, num_results):
    updated = next(turn)
    return np.full(held_out.histories.num_users, scores[updated])

  def figures(*args, real=judgement.compare.figures):
    nonlocal turn
    turn = iter(("updated", "before"))
    return real(*args)

  turn = iter(("updated", "before"))
  monkeypatch.setattr(judgement.compare, "metric_of", metric_of)
  monkeypatch.setattr(judgement.compare, "figures", figures)
  return scores
