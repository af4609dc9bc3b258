"""A small run with random parameters, to export."""

import numpy as np
from tiny import all_codes, init_params, make_dataset, make_model

import sidrec
from sidrec.data.dataset import TEXT
from sidrec.run.settings import RunConfig
from sidrec.search.settings import SearchConfig

TITLES = [f"Thing {row} ({1980 + row})" for row in range(27)] + ["", "Twin", "Twin"]


def make_run(**changes):
  """60 users and 30 items, whose ids are numbers."""
  codes = all_codes(2, 6)[:30]
  model, trie, path = make_model(codes, history_length=6, encoder_layers=1, **changes)
  dataset = make_dataset()
  items = dataset.items._replace(titles_N=np.array(TITLES, TEXT))
  config = RunConfig(model=model.config, search=SearchConfig(beams=20))
  ids = sidrec.SemanticIDManager.from_codes(codes, 6)
  params = init_params(model, trie, path, scale=3.0)
  return sidrec.TrainedRun(config, dataset._replace(items=items), ids, model, params, trie)
