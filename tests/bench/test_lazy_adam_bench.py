"""The benchmark of lazy Adam, on a small catalogue."""

import json

import pytest
from absl import flags

from sidrec.bench import lazy_adam


@pytest.mark.parametrize("model", lazy_adam.MODELS)
def test_both_kinds_of_step_train_the_same_model(monkeypatch, model):
  for name, value in {"ROWS": 2, "LENGTH": 5, "WIDTH": 8, "NEGATIVES": 4, "STEPS": 2}.items():
    monkeypatch.setattr(lazy_adam, name, value)
  made = {}

  def timed(runs, repeats):
    assert repeats == 3
    for name, run in runs.items():
      made[name] = [float(x) for x in run()["loss"]]
    return {"adam": 0.5, "lazy": 0.25}

  monkeypatch.setattr(lazy_adam, "alternate", timed)
  found = lazy_adam.measure(model, 1000, 3)
  assert made["adam"][0] == pytest.approx(made["lazy"][0], rel=1e-4)
  assert found.parameters > 8 * 1000
  assert (found.adam_ms, found.lazy_ms) == (250.0, 125.0)


def test_the_command_writes_what_it_prints(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(
    lazy_adam, "measure", lambda model, n, repeats: lazy_adam.Found(model, n, 10 * n, 30.0, 20.0)
  )
  values = flags.FlagValues()
  lazy_adam.define_flags(values)
  path = tmp_path / "lazy.json"
  values(["lazy_adam", "--items=1000,2000", f"--json={path}"])
  lazy_adam.main(["lazy_adam"], values)
  written = json.loads(path.read_text())
  assert [(x["model"], x["items"]) for x in written["steps"]] == [
    (model, items) for model in ("sasrec", "sidrec") for items in (1000, 2000)
  ]
  assert "lazy   20.0 ms, 1.5 times as fast" in capsys.readouterr().out
