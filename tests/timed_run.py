"""A run that reads times, ratings and the moment of the request, with random parameters."""

import numpy as np
from tiny import all_codes, init_params, make_dataset, make_model

import sidrec
from sidrec.data.inputs import InputsConfig
from sidrec.run.settings import RunConfig
from sidrec.search.settings import SearchConfig

NOW = 1_300_000_000
SEEN = [1.0, 2.0, 3.0, 4.0, 5.0]  # ratings of the data


def make_timed_run():
  """60 users who rate an item an hour and 30 items, whose ids are numbers."""
  codes = all_codes(2, 6)[:30]
  inputs = InputsConfig(gap=True, time_bias=True, rating=True, request_time="known")
  model, trie, path = make_model(codes, history_length=6, inputs=inputs)
  dataset = make_dataset()
  histories = dataset.histories
  dataset = dataset._replace(
    histories=histories._replace(
      time_T=NOW - 10**6 + 3600 * np.arange(len(histories.item_T)) % 28_800,
      rating_T=(1 + histories.item_T % 5).astype(np.float32),
    )
  )
  config = RunConfig(model=model.config, search=SearchConfig(beams=10))
  ids = sidrec.SemanticIDManager.from_codes(codes, 6)
  params = init_params(model, trie, path, scale=3.0)
  return sidrec.TrainedRun(config, dataset, ids, model, params, trie)
