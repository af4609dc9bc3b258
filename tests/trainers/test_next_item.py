"""What training asks of batches and devices."""

import jax
import numpy as np
import pytest
from tiny import make_histories

from sidrec.data.batches import packed_batches
from sidrec.parallel.mesh import make_mesh
from sidrec.trainers import next_item
from sidrec.trainers.settings import TrainConfig

HISTORIES = make_histories([list(range(user, user + 6)) for user in range(40)])


@pytest.mark.parametrize(("size", "accumulate", "rows"), [(16, 1, 16), (12, 1, 16), (12, 3, 24)])
def test_devices_share_a_batch_of_any_size(monkeypatch, capsys, size, accumulate, rows):
  assert jax.device_count() == 8
  made = []
  monkeypatch.setattr(next_item, "_validation", lambda *_: None)
  monkeypatch.setattr(
    next_item, "train", lambda task, optimizer, batch_at, *_: made.append(batch_at)
  )
  what = next_item.NextItem(None, packed_batches, None, 4, 50, 10)
  config = TrainConfig(batch_size=size, accumulate=accumulate)
  next_item.train_next_item(what, config, HISTORIES, 0, make_mesh(), None)
  (batch_at,) = made
  target_BxS = batch_at(0)["target_BxS"]
  assert len(target_BxS) == rows
  assert (target_BxS[:size] >= 0).any(axis=1).all()
  assert (target_BxS[size:] == -1).all()
  note = f"{rows - size} of {rows} rows of a batch are empty" if rows > size else ""
  assert capsys.readouterr().out.startswith(note)
  assert bool(note) == (np.count_nonzero(target_BxS[size:] == -1) > 0)
