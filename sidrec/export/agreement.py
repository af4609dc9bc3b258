"""Whether a bundle finds what the run finds: its own `run.py` against the search in here."""

from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from sidrec.core.python_file import module_of
from sidrec.data.dataset import Histories
from sidrec.data.inputs import InputsConfig, KnownInputs
from sidrec.export.programs import Searched, Widths, widths_of
from sidrec.search.buckets import BucketSearch, Shape
from sidrec.search.questions import Question

_REQUESTS = 4  # of each program; they fill a batch on a CPU
_YEARS = 10**8  # seconds that a random history spans, three years
_CLOSE = 1e-4  # of scores, which two compilations may round differently


def check_agreement(folder: Path, searched: Searched, histories: Histories) -> dict[str, Any]:
  """Asks every program of a bundle what the search is asked, on the device at hand.

  Histories are those of random users, a random one that fills the program's width, and an empty
  one; lists of items are random, and so is what is read beside items.

  Returns:
    What was checked, for the manifest.

  Raises:
    ValueError: if they do not find the same items in the same order, or scores differ.
  """
  bundle = consumer_of(folder).Bundle(folder)
  search = BucketSearch(searched.model, searched.params, searched.trie, searched.config)
  search.only_compiled = True
  batch = next(batch for batch in search.batches if batch >= _REQUESTS)
  rng = np.random.default_rng(0)
  for widths in widths_of(searched):
    search.compile(Shape(batch, *widths))
  for widths in widths_of(searched):
    questions = _questions(rng, widths, search, histories)
    for token in bundle.manifest["user_tokens"]:
      questions = [question._replace(token=token) for question in questions]
    expected = search.find(questions)
    rows = [question.history_S.tolist() for question in questions]
    lists = [question.listed_J.tolist() for question in questions]
    found = bundle.find(
      rows, lists, widths.allows, **_events(questions, search.model.config.inputs)
    )
    for (item_K, score_K), same in zip(found, expected, strict=True):
      agree = np.array_equal(item_K, same.item_K)
      if not agree or not np.allclose(score_K, same.score_K, rtol=_CLOSE, atol=_CLOSE):
        raise ValueError(
          f"the exported program {widths.name} does not find what the run finds, so that nothing "
          f"was written; report it with the versions of sidrec and jax ({jax.__version__})"
        )
  return {"platform": jax.default_backend(), "requests": _REQUESTS * len(widths_of(searched))}


def consumer_of(folder: Path) -> ModuleType:
  """The bundle's own `run.py`, as a module."""
  module, execute = module_of("sidrec_bundle_run", folder / "run.py")
  execute()
  return module


def _events(questions: list[Question], inputs: InputsConfig) -> dict[str, Any]:
  """What a bundle is given next to items."""
  named = (None, *inputs.actions)
  known = inputs.known if isinstance(inputs, KnownInputs) else ()
  lists = {
    "times": [question.time_S for question in questions],
    "ratings": [question.rating_S for question in questions],
    "actions": [
      None if question.action_S is None else [named[row] for row in question.action_S.tolist()]
      for question in questions
    ],
    "request_times": [question.request_time for question in questions],
    "attributes": [
      None
      if question.user_X is None
      else {x.name: x.value_of(row) for x, row in zip(known, question.user_X.tolist(), strict=True)}
      for question in questions
    ],
  }
  plain = lambda x: x.tolist() if isinstance(x, np.ndarray) else x
  return {name: [*map(plain, values)] for name, values in lists.items() if values[0] is not None}


def _questions(
  rng: np.random.Generator, widths: Widths, search: BucketSearch, histories: Histories
) -> list[Question]:
  """Requests that no narrower program takes."""
  num_items, inputs = search.num_items, search.model.config.inputs
  users = rng.integers(histories.num_users, size=_REQUESTS - 2)
  config = search.model.config
  count = widths.history + inputs.earlier * (widths.history == config.history_length)
  rows = [histories.of(user)[-count:] for user in users.tolist()]
  rows += [rng.integers(num_items, size=widths.history), np.zeros(0, int)]
  most = min(widths.listed // 4 + 1, num_items)
  counts = [most, *rng.integers(most + 1, size=_REQUESTS - 1).tolist()]
  lists = [rng.choice(num_items, count, replace=False) for count in counts]
  questions = [
    Question(
      row.astype(np.int32), listed.astype(np.int32), widths.allows, search.search_config.temperature
    )
    for row, listed in zip(rows, lists, strict=True)
  ]
  for at, question in enumerate(questions):
    count = len(question.history_S)
    time_S = np.sort(rng.integers(_YEARS, size=count))
    rating_S = rng.integers(15, size=count).astype(np.float32) * np.float32(inputs.rating_step)
    rating_S[rng.random(count) < 0.2] = np.nan
    questions[at] = question._replace(
      time_S=time_S if inputs.times else None,
      rating_S=rating_S if inputs.rating else None,
      request_time=_YEARS + int(rng.integers(_YEARS)) if inputs.asks else None,
    )
    if inputs.actions:
      action_S = rng.integers(1 + len(inputs.actions), size=count).astype(np.int32)
      questions[at] = questions[at]._replace(action_S=action_S)
    if isinstance(inputs, KnownInputs):
      user_X = [rng.integers(attribute.rows) for attribute in inputs.known]
      questions[at] = questions[at]._replace(user_X=np.array(user_X, np.int32))
  return questions
