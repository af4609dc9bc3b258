"""What models may read of a log, by settings and by what the log has."""

import numpy as np
import pytest
from tiny import tiny_config

from sidrec.run.settings import run_config
from sidrec.run.stages import run_to
from sidrec.run.train import deciding


@pytest.mark.parametrize(
  ("section", "stage", "inputs", "message"),
  [
    ("model", "train", {"rating": True}, r"config\.model\.inputs reads ratings, and data set"),
    ("model", "train", {"gap": True}, r"config\.model\.inputs reads times, and data set"),
    ("sasrec.model", "sasrec", {"time_bias": True}, r"sasrec\.model\.inputs reads times, and"),
    ("features.sasrec", "tokenize", {"gap": True}, r"features\.sasrec\.inputs reads times, and"),
  ],
)
def test_a_log_without_times_or_ratings_is_told(tmp_path, section, stage, inputs, message):
  config = tiny_config(tmp_path)
  config.data.table.columns.time = ""
  config.features.sasrec.weight = float(section == "features.sasrec")
  part = config
  for name in section.split("."):
    part = part[name]
  part.inputs.update(inputs)
  with pytest.raises(ValueError, match=message):
    run_to(stage, config, tmp_path / "run")


def test_item_vectors_may_read_times_too(tmp_path):
  config = tiny_config(tmp_path)
  config.features.cooccurrence.weight = 0.0
  config.features.sasrec.update(weight=1.0, steps=1, width=8, history_length=8)
  config.features.sasrec.inputs.update(gap=True, time_bias=True, request_time="known")
  chain = run_to("tokenize", config, tmp_path / "run")
  vectors_NxF = np.load(chain["tokenize"].file("vectors.npy"))
  assert vectors_NxF.shape[0] == 30
  assert np.isfinite(vectors_NxF).all()
  assert vectors_NxF.std(axis=0).min() > 0


def test_runs_without_inputs_are_known_by_the_settings_of_before(tmp_path):
  config = run_config(tiny_config(tmp_path))
  assert "inputs" not in deciding(config.model)
  assert "inputs" not in deciding(config.sasrec.model)
