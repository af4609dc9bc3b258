"""The model card, as the hub reads it."""

import pytest

from sidrec.data.sources.registry import READERS
from sidrec.export.card import card, licence_of

METRICS = {"ndcg@10": 0.12434230, "recall@10": 0.2277867, "coverage@10": 0.35}
EVALUATION = {
  "protocol": {
    "num_users": 4333,
    "num_items": 2414,
    "split": "leave-last-out: each user's last interaction tests",
    "candidates": "the whole catalogue",
    "masking": "'masked' never returns an item of the history",
    "time_ties": "the order of the file",
    "scores": "log p(semantic ID | history)",
  },
  "results": {"sidrec": {"test": {"masked": METRICS}}},
}


READS = {"times": False, "request_time": False, "ratings": False, "rating_step": 0.5, "earlier": 0}


def make_card(evaluation=EVALUATION, **changes):
  manifest = {
    "name": 'shop: "autumn"',
    "date": "2026-11-28T19:37:32Z",
    "sidrec": "0.1.0",
    "platforms": ["cpu", "cuda", "tpu"],
    "checked": {"platform": "cpu", "requests": 20},
    "statics": {"num_items": 2414},
    "beams": 50,
    "history_length": 50,
    "export": "python -m sidrec.main",
    "data_licence": licence_of("demo"),
    "tokenizer": "in semantic_ids.json",
    "reads": READS,
  }
  return card(manifest | changes, evaluation, ["one note"])


def test_the_header_is_yaml_with_metrics():
  yaml = pytest.importorskip("yaml")
  text = make_card()
  header = yaml.safe_load(text.split("---\n")[1])
  assert header["library_name"] == "sidrec"
  assert header["license"] == "mit"
  (model,) = header["model-index"]
  assert model["name"] == 'shop: "autumn"'
  metrics = {metric["type"]: metric["value"] for metric in model["results"][0]["metrics"]}
  assert metrics == {"ndcg@10": 0.12434, "recall@10": 0.22779}
  assert "4,333 users and 2,414 items" in text
  assert "leave-last-out" in text
  assert "cuda, tpu were made, and not run" in text


def test_the_hub_reads_the_card():
  hub = pytest.importorskip("huggingface_hub")
  data = hub.ModelCard(make_card()).data
  assert data.library_name == "sidrec"
  assert {result.metric_type for result in data.eval_results} == {"ndcg@10", "recall@10"}


def test_without_an_evaluation_it_says_so():
  yaml = pytest.importorskip("yaml")
  text = make_card(None, tokenizer="none: it cannot be written")
  assert "model-index" not in yaml.safe_load(text.split("---\n")[1])
  assert "The run was not evaluated." in text
  assert "has no tokenizer (none: it cannot be written)" in text


def test_every_source_has_words_for_its_licence():
  for source in READERS:
    assert licence_of(source)["words"]
  assert "no redistribution" in licence_of("movielens-1m")["words"]
  assert licence_of("table")["name"] == "unknown"


def test_its_example_gives_what_the_model_reads():
  assert 'recommend([["ID", "ID"]], k=10' in make_card()
  text = make_card(reads={"times": True, "request_time": True, "ratings": True, "rating_step": 0.5})
  given = "times=[[1700000000, 1700000500]], ratings=[[2.0, None]], request_times=[1700090000]"
  assert f'recommend([["ID", "ID"]], {given}, k=10' in text
  assert "python run.py" not in text  # ids alone are no request
