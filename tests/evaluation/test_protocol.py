import json

import numpy as np
import pytest
from tiny import make_histories

from sidrec.data.dataset import Dataset, Items, training_view
from sidrec.evaluation.protocol import EXACT, describe, protocol_of


def make_dataset(rows, num_items):
  empty_N = np.array([""] * num_items)
  items = Items(
    ids_N=np.arange(num_items),
    titles_N=empty_N,
    categories_C=np.array([], str),
    category_offsets_Np1=np.zeros(num_items + 1, np.int64),
    category_E=np.array([], np.int32),
    numeric={},
    text_N=empty_N,
  )
  return Dataset("tiny", make_histories(rows), items, ())


# Training names items 0 to 3. Of the validation targets 4 and 1, one is cold; of the test targets
# 5 and 4 both are, though a validation interaction names 4.
ROWS = [[0, 1, 0, 4, 5], [2, 3, 1, 4]]


def described_by(dataset, *settings, **named):
  """The protocol of a run that learns from all users of the data set."""
  return protocol_of(dataset, training_view(dataset.histories), *settings, **named)


def test_the_facts_are_counted():
  protocol = described_by(make_dataset(ROWS, 6), num_results=20, num_beams=30)
  assert protocol.dataset == "tiny"
  assert (protocol.num_users, protocol.num_items) == (2, 6)
  assert (protocol.num_results, protocol.num_beams) == (20, 30)
  assert protocol.cold_targets == {"valid": 1, "test": 2}


def test_the_description_names_every_fact_and_policy():
  protocol = described_by(make_dataset(ROWS, 6), num_results=20, num_beams=30)
  text = " ".join(describe(protocol).split())
  for fact in [
    "tiny",
    "2, each counted once",
    "20 results; sidrec: from 30 beams",
    "1 in valid, 2 in test",
  ]:
    assert fact in text
  for policy in ["split", "candidates", "masking", "time_ties", "score_ties", "cold"]:
    assert getattr(protocol, policy) in text
  assert max(map(len, describe(protocol).splitlines())) <= 100


def test_what_sasrec_adds_is_said_only_where_it_takes_part():
  dataset = make_dataset(ROWS, 6)
  without, with_sasrec = (described_by(dataset, 20, 30, exact=exact) for exact in ((), ["sasrec"]))
  assert "sasrec" not in describe(without)
  text = " ".join(describe(with_sasrec).split())
  assert "from 30 beams; baselines: every item is scored; sasrec: every item is scored" in text
  assert "sasrec: the item with the lowest row wins" in text
  assert "a baseline misses all of them; sasrec may find them" in text
  # What was said of the others stands.
  for field in EXACT:
    assert getattr(with_sasrec, field).startswith(getattr(without, field))
  same = [field for field in with_sasrec._fields if field not in EXACT]
  assert [getattr(with_sasrec, f) for f in same] == [getattr(without, f) for f in same]


def test_rescoring_by_the_item_head_is_named_with_its_weight():
  dataset = make_dataset(ROWS, 6)
  assert "item head" not in describe(described_by(dataset, 20, 30))
  text = " ".join(describe(described_by(dataset, 20, 30, item_weight=0.5)).split())
  assert "sidrec: log p(semantic ID | history) + 0.5 × the item head's log p" in text


def test_json_holds_every_field():
  protocol = described_by(make_dataset(ROWS, 6), num_results=20, num_beams=30)
  content = json.loads(json.dumps(protocol._asdict()))
  assert set(content) == set(protocol._fields)
  assert content["cold_targets"] == {"valid": 1, "test": 2}
  assert content["num_beams"] == 30


def test_the_protocol_says_why_there_is_no_calibration_error():
  dataset = make_dataset(ROWS, 6)
  why = "sidrec has none either, because its scores are weighted sums that only rank"
  for changes, lacks in [
    ({}, False),
    ({"level_weights": (1.0, 1.0)}, False),
    ({"item_weight": 0.5}, False),
    ({"level_weights": (1.0, 2.0)}, True),
  ]:
    text = " ".join(describe(described_by(dataset, 20, 30, **changes)).split())
    assert "ece@1 in evaluation.json is the expected calibration error" in text
    assert (why in text) == lacks


@pytest.mark.parametrize("num_results", [0, 31])
def test_more_results_than_beams_are_refused(num_results):
  with pytest.raises(ValueError, match="number of beams"):
    described_by(make_dataset(ROWS, 6), num_results=num_results, num_beams=30)


def test_ties_are_counted_and_their_order_is_named():
  dataset = make_dataset(ROWS, 6)
  # The second user's test item has the time of the one before it.
  tied = dataset.histories._replace(time_T=np.array([0, 1, 2, 3, 4, 5, 6, 7, 7]))
  protocol = described_by(dataset._replace(histories=tied), 20, 30, tie_seed=7)
  assert protocol.tied_targets == {"valid": 0.5, "test": 0.5}
  text = " ".join(describe(protocol).split())
  assert "random order (seed 7)" in text
  assert "50.0% in valid, 50.0% in test of the targets" in text
