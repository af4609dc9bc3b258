"""A run with new items in memory answers as a server does that was told of them."""

import dataclasses

import jax
import numpy as np
import pytest
from described import NEW, fit_described, table

from sidrec.cold_start.frozen_ids import FrozenIDs

pytest.importorskip("starlette")
pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return fit_described(tmp_path_factory.mktemp("described"))


@pytest.fixture(scope="module")
def grown(run):
  return run.with_new_items(table())


REQUESTS = [{"items": [5, 100]}, {"items": [1, 2, 8]}, {"items": []}, {"user": 3}]


@pytest.mark.slow
def test_it_answers_as_a_server_does(run, grown, tmp_path):
  from http_client import Client

  from sidrec.serving.app import make_app
  from sidrec.serving.service import Service
  from sidrec.serving.store_sqlite import SQLiteStore

  store = SQLiteStore(tmp_path / "events.sqlite")
  service = Service(run, store, new_ids=FrozenIDs(run.config, run.chain), room=4)
  service.catalogue.now.snapshot.search.batches = (1,)
  service.start()
  try:
    client = Client(make_app(service))
    body = {"base": client.call("GET", "/v1/catalogue").json()["version"], "add": NEW}
    made = client.call("POST", "/v1/catalogue", json=body).json()
    assert (made["new"], made["compiled"], made["new_items"]) == (2, 0, "similarity")
    shown = set()
    for request in REQUESTS:
      (served,) = client.recommend({**request, "k": 20}).json()["results"]
      answer = grown.recommend(**request, k=20)
      assert [item["id"] for item in served["items"]] == answer.ids
      assert [item["semantic_id"] for item in served["items"]] == [
        list(item.semantic_id) for item in answer.items
      ]
      for mine, its in zip(served["items"], answer.items, strict=True):
        assert mine["score"] == pytest.approx(its.score, rel=1e-3, abs=1e-3)
        assert mine["probability"] == pytest.approx(its.probability, rel=1e-2)
      assert sum(item.probability for item in answer.items) <= 1 + 1e-5
      shown |= {*answer.ids} & {100, 101}
    assert shown == {100, 101}
  finally:
    service.stop()


def test_rows_are_searched_alike_and_known_items_keep_their_order(run, grown):
  found = grown.recommend_rows([[5, 30], [1, 2, 8]], k=20)
  for row, history in enumerate(([5, 100], [1, 2, 8])):
    answer = grown.recommend(items=history, k=20, exclude_seen=False)
    names = [grown.asker.described(item)[0] for item in np.asarray(found.item_BxK[row]).tolist()]
    assert names == answer.ids
  before = run.recommend(items=[1, 2, 8], k=20, exclude_seen=False).ids
  after = grown.recommend(items=[1, 2, 8], k=20, exclude_seen=False).ids
  assert [item for item in after if item < 100] == before[: sum(item < 100 for item in after)]
  assert run.new is None


def test_an_explanation_is_of_the_same_answer(grown):
  explained = grown.explain(items=[5, 8], k=10)
  assert explained.answer.ids == grown.recommend(items=[5, 8], k=10).ids
  assert np.isfinite([item.added for item in explained.history]).all()


def test_what_there_is_no_answer_to_is_refused(run, grown, tmp_path):
  with pytest.raises(ValueError, match="not drawn at random"):
    grown.recommend_rows([[1]], key=jax.random.key(0))
  with pytest.raises(ValueError, match="a bundle has no search for items that"):
    grown.export(tmp_path / "bundle")
  with pytest.raises(ValueError, match="is in the catalogue already"):
    run.with_new_items(table([{**NEW[0], "id": 3}]))
  with pytest.raises(ValueError, match="all of them at once"):
    grown.with_new_items(table())
  with pytest.raises(ValueError, match="between 0 and 1"):
    run.with_new_items(table(), share=0.0)
  in_memory = dataclasses.replace(run, workdir=None, chain=None)
  with pytest.raises(ValueError, match=r"sidrec\.load returns"):
    in_memory.with_new_items(table())
