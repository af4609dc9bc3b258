"""The engine takes what is queued, drops what nobody waits for, and compiles nothing."""

import threading
import time

import numpy as np
import pytest

from sidrec.run.settings import ServingConfig
from sidrec.search import buckets
from sidrec.search.buckets import BucketSearch, NotCompiledError, Shape
from sidrec.search.questions import Question
from sidrec.serving.engine import Engine, QueueFullError, StoppedError
from sidrec.serving.service import Service
from sidrec.serving.store_sqlite import SQLiteStore


class Slow:
  """A search that waits at a gate and notes its batches."""

  def __init__(self):
    self.batches, self.num_items, self.most = (1, 4), 30, 4
    self.gate, self.busy, self.sizes = threading.Event(), threading.Event(), []

  def compile(self, shape):
    pass

  def shape_for(self, questions):
    if len(questions[0].listed_J) > 9:
      raise NotCompiledError("too many")
    return len(questions), len(questions[0].listed_J), questions[0].allows

  def batch_of(self, questions):
    return min(len(questions), self.most)

  def find(self, questions):
    self.sizes.append(len(questions))
    self.busy.set()
    assert self.gate.wait(10)
    if any(question.temperature < 0 for question in questions):
      raise ValueError("broken")
    return [question.token for question in questions]


def question(token=0, allows=False, temperature=1.0, listed=0):
  return Question(np.zeros(0, np.int32), np.arange(listed), allows, temperature, token)


@pytest.fixture
def slow():
  search, sizes = Slow(), []
  engine = Engine(6, sizes.append, at_once=1)
  engine.start()
  yield search, engine
  search.gate.set()
  engine.stop()
  assert sizes == search.sizes


def test_it_never_waits_for_a_batch_and_takes_what_is_there(slow):
  search, engine = slow
  (first,) = engine.submit(search, [question(7)], 60)
  assert search.busy.wait(10)  # alone, though four would fit
  others = [*engine.submit(search, [question(n) for n in range(3)], 60)]
  others += engine.submit(search, [question(3, allows=True)], 60)
  others += engine.submit(search, [question(n) for n in (4, 5)], 60)
  search.gate.set()
  assert first.result(10) == 7
  assert [future.result(10) for future in others] == [0, 1, 2, 3, 4, 5]
  assert search.sizes == [1, 4, 1, 1]  # of one kind, oldest first


def test_requests_that_list_few_items_and_many_share_a_batch(slow):
  search, engine = slow
  (first,) = engine.submit(search, [question(7)], 60)
  assert search.busy.wait(10)
  others = [engine.submit(search, [question(n, listed=n)], 60)[0] for n in (0, 9, 1, 8)]
  search.gate.set()
  assert [first.result(10), *(future.result(10) for future in others)] == [7, 0, 9, 1, 8]
  assert search.sizes == [1, 4]


def test_a_batch_is_as_large_as_the_search_likes(slow):
  search, engine = slow
  search.most = 2
  (first,) = engine.submit(search, [question(7)], 60)
  assert search.busy.wait(10)
  others = engine.submit(search, [question(n) for n in range(5)], 60)
  search.gate.set()
  assert [first.result(10), *(future.result(10) for future in others)] == [7, 0, 1, 2, 3, 4]
  assert search.sizes == [1, 2, 2, 1]


def test_a_batch_never_mixes_searches(slow):
  search, engine = slow
  other = Slow()
  other.gate.set()
  (first,) = engine.submit(search, [question(7)], 60)
  assert search.busy.wait(10)
  order = [search, other, search, other]
  futures = [engine.submit(one, [question(n)], 60)[0] for n, one in enumerate(order)]
  search.gate.set()
  assert [first.result(10), *(future.result(10) for future in futures)] == [7, 0, 1, 2, 3]
  assert (search.sizes, other.sizes) == ([1, 2], [2])
  search.sizes.append(2)  # all batches are counted


def test_what_nobody_waits_for_is_not_searched(slow):
  search, engine = slow
  engine.submit(search, [question()], 60)
  assert search.busy.wait(10)
  (cancelled,) = engine.submit(search, [question()], 60)
  (late,) = engine.submit(search, [question()], 0.01)
  (kept,) = engine.submit(search, [question(9)], 60)
  cancelled.cancel()
  time.sleep(0.05)
  search.gate.set()
  assert kept.result(10) == 9
  assert search.sizes == [1, 1]
  with pytest.raises(TimeoutError, match="nobody waits"):
    late.result(10)


def test_a_full_queue_takes_all_of_a_call_or_nothing(slow):
  search, engine = slow
  engine.submit(search, [question()], 60)
  assert search.busy.wait(10)
  engine.submit(search, [question()] * 5, 60)
  with pytest.raises(QueueFullError, match="5 requests wait already"):
    engine.submit(search, [question()] * 2, 60)
  with pytest.raises(NotCompiledError):
    engine.submit(search, [question(listed=10)], 60)
  assert engine.waiting == 5


def test_a_search_that_fails_tells_those_who_wait_and_the_next_one_works(slow):
  search, engine = slow
  search.gate.set()
  (broken,) = engine.submit(search, [question(temperature=-1)], 60)
  with pytest.raises(ValueError, match="broken"):
    broken.result(10)
  assert engine.submit(search, [question(5)], 60)[0].result(10) == 5


def test_stopping_answers_what_waits_and_takes_no_more(slow):
  search, engine = slow
  futures = [engine.submit(search, [question(n)], 60)[0] for n in range(4)]
  threading.Timer(0.05, search.gate.set).start()
  engine.stop()
  assert [future.result(0) for future in futures] == [0, 1, 2, 3]
  with pytest.raises(StoppedError):
    engine.submit(search, [question()], 60)


def test_every_request_of_a_small_catalogue_has_a_shape(run):
  search = BucketSearch(run.model, run.params, run.trie, run.search)
  search.batches = (1, 4)
  shapes = search.shapes_ahead()
  assert len(shapes) == 4  # two batch sizes, and lists that forbid or allow
  for allows in (False, True):
    whole = Question(np.arange(20), np.arange(30), allows)
    for count in range(1, 5):
      assert any(shape.holds(search.shape_for([whole] * count)) for shape in shapes)


@pytest.mark.parametrize(
  ("largest", "batches"),
  [(0, (1, 4, 16)), (1, (1,)), (4, (1, 4)), (9, (1, 4, 9)), (99, (1, 4, 16))],
)
def test_the_largest_batch_can_be_set(run, tmp_path, largest, batches):
  store, serving = SQLiteStore(tmp_path / "events.sqlite"), ServingConfig(largest_batch=largest)
  service = Service(run, store, serving=serving)
  search = service.catalogue.now.snapshot.search
  store.close()
  assert search.batches == batches
  assert {shape.batch for shape in search.shapes_ahead()} == set(batches)


def test_a_largest_batch_below_zero_is_refused():
  with pytest.raises(ValueError, match=r"serving\.largest_batch is -1; give 1 or more"):
    ServingConfig(largest_batch=-1)


def test_a_list_that_no_list_shape_holds_becomes_bits(served, run, monkeypatch):
  """Whatever a request lists has a shape ahead; the answers are those of long lists."""
  whole = served[0].catalogue.now.snapshot.search
  rng = np.random.default_rng(0)
  questions = [
    Question(np.arange(3, dtype=np.int32), rng.permutation(30)[:listed].astype(np.int32), allows)
    for listed in (0, 5, 9, 29, 30)
    for allows in (False, True)
  ]
  expected = whole.find(questions)
  monkeypatch.setattr(buckets, "NARROWEST", 2)
  monkeypatch.setattr(buckets, "_MIDDLE", 8)
  search = BucketSearch(run.model, run.params, run.trie, run.search)
  search.batches, search.widths = (1, 4), (2, 8)
  shapes = search.shapes_ahead()
  search._compiled, search.only_compiled = dict.fromkeys(shapes), True  # pyrefly: ignore
  needed = [search.shape_for([question]) for question in questions]
  assert [shape.listed for shape in needed] == [2, 8, 8, 8, *[30] * 6]
  assert [shape.bits for shape in needed] == [False] * 4 + [True] * 6
  bits = search.bits_shape(4, run.model.config.history_length)
  assert bits in shapes
  search._compiled = {}
  search._compiled = {bits: search.compile(bits)}  # it holds all of them
  for question, mine, its in zip(questions, search.find(questions), expected, strict=True):
    assert mine.item_K.tolist() == its.item_K.tolist()
    np.testing.assert_allclose(mine.score_K, its.score_K, rtol=5e-5, atol=1e-4)
    listed = len(question.listed_J)
    assert len(mine.item_K) == min(20, listed if question.allows else 30 - listed)


def test_what_a_request_forbids_makes_no_batch_smaller(run, monkeypatch):
  monkeypatch.setattr(buckets, "NARROWEST", 2)
  monkeypatch.setattr(buckets, "_MIDDLE", 8)
  search = BucketSearch(run.model, run.params, run.trie, run.search)
  search.batches, search.least_fill = (1, 2, 4), 1.0
  few, some, most = (Question(np.arange(3), np.arange(listed)) for listed in (0, 5, 29))
  for widths in ((8,), (2, 8)):  # of a CPU, and of others
    search.widths, search.only_compiled = widths, True
    search._compiled = dict.fromkeys(search.shapes_ahead())  # pyrefly: ignore
    assert search.shape_for([few]).listed == widths[0]
    for asked in ([few, some], [few, most], [few, some, most, few]):
      assert search.batch_of(asked) == len(asked)
      assert search.shape_for(asked).batch == len(asked)


def test_a_cpu_fills_no_batch_up_that_is_less_than_three_quarters_full(run):
  search = BucketSearch(run.model, run.params, run.trie, run.search)
  search.batches = (1, 4, 16)
  one = Question(np.arange(3), np.zeros(0, np.int32))

  def sizes(least_fill):
    search.least_fill = least_fill
    return [search.batch_of([one] * count) for count in range(1, 17)]

  assert sizes(0.75) == [1, 1, 3, *[4] * 8, *range(12, 17)]
  assert sizes(0.0) == list(range(1, 17))  # an accelerator fills up any


def test_lists_that_few_batches_are_compiled_for_go_with_those(run):
  search = BucketSearch(run.model, run.params, run.trie, run.search)
  few, wide = (Question(np.arange(3), np.arange(listed)) for listed in (0, 65))
  length = run.model.config.history_length
  narrow = [Shape(size, length, 64, False) for size in (1, 4)]
  search._compiled = dict.fromkeys([*narrow, Shape(1, length, 256, False)])
  search.batches, search.only_compiled = (1, 4), True
  assert search.batch_of([few] * 4) == 4
  assert search.batch_of([few] * 3 + [wide]) == 1


def test_a_full_batch_is_searched_next_to_another_one_and_a_smaller_one_waits():
  search, engine = Slow(), Engine(9)
  engine.start()
  futures = engine.submit(search, [question(7)], 60)
  assert search.busy.wait(10)
  search.busy.clear()
  futures += engine.submit(search, [question(n) for n in range(3)], 60)
  assert not search.busy.wait(0.2)  # three of four
  futures += engine.submit(search, [question(3), question(4)], 60)
  assert search.busy.wait(10)
  search.busy.clear()
  futures += engine.submit(search, [question(n) for n in range(5, 9)], 60)
  assert not search.busy.wait(0.2)  # two batches at once are the most
  assert engine.waiting == 5
  search.gate.set()
  engine.stop()
  assert [future.result(0) for future in futures] == [7, *range(9)]
  assert search.sizes == [1, 4, 4, 1]
