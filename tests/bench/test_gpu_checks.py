"""The checks for accelerators with commands that only seem to run: what is recorded of each."""

import importlib
import json
from pathlib import Path

import pytest
from absl import app, flags

from sidrec import shipped_configs
from sidrec.bench import gpu_checks
from sidrec.bench.gpu_checks import Ended, Plan, run_checks

MFU, SPEED = 0.41, 40_000.0


def machine(platform, broken=(), slow=()):
  """Stands in for `start`: benchmarks write figures, trainings log rates; some fail."""
  calls = []

  def start(arguments, limit, log):
    if arguments[0] == "-c":
      return Ended(0, "a warning\n" + json.dumps({"platform": platform, "hardware": "a machine"}))
    values = dict(word.removeprefix("--").split("=", 1) for word in arguments if "=" in word)
    name = Path(values.get("json") or values["workdir"]).stem
    calls.append((name, arguments))
    if name in slow:
      return Ended(None, f"stopped after {limit:g} s")
    if name in broken:
      return Ended(1, "sidrec: no such thing")
    if "json" in values:
      Path(values["json"]).write_text(json.dumps({"users_per_s_k10": SPEED}))
    else:
      folder = Path(values["workdir"]) / "stages" / "train.1"
      folder.mkdir(parents=True)
      rates = [{}, *({"mfu": x, "tokens_per_second": 5.0} for x in (0.2, MFU, 0.5))]
      lines = [{"step": step, "stage": "recommender", **x} for step, x in enumerate(rates)]
      (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Ended(0, "")

  return start, calls


def test_one_file_has_every_figure_and_every_failure(tmp_path):
  start, calls = machine("gpu", broken=("growth",), slow=("ml1m",))
  content = run_checks(tmp_path, list(gpu_checks.STEPS), 540.0, start)
  assert json.loads((tmp_path / gpu_checks.FILE).read_text()) == content
  assert [name for name, _ in calls] == list(gpu_checks.STEPS)  # one that fails stops no other
  steps = content["steps"]
  assert steps["wide"]["figures"] == {"mfu": MFU, "tokens_per_second": 5.0}
  assert steps["trie"]["figures"] == {"users_per_s_k10": SPEED}
  assert steps["growth"]["status"] == "failed"
  assert steps["growth"]["error"] == "sidrec: no such thing"
  assert steps["ml1m"]["status"] == "stopped at the limit"
  assert steps["ml1m"]["command"].startswith("python -m sidrec.main --config=configs/ml1m.py ")
  assert [(mark["figure"], mark["reached"]) for mark in content["marks"]] == [
    ("mfu", True),
    ("users_per_s_k10", False),
  ]
  # Measured in pieces: what is measured again is replaced, the rest stays.
  again, _ = machine("gpu")
  content = run_checks(tmp_path, ["growth"], 540.0, again)
  assert content["steps"]["growth"]["status"] == "done"
  assert content["steps"]["wide"]["figures"]["mfu"] == MFU
  # Figures of another machine are not mixed in.
  other, _ = machine("tpu")
  content = run_checks(tmp_path, ["trie"], 540.0, other)
  assert list(content["steps"]) == ["trie"]
  assert [mark["reached"] for mark in content["marks"]] == [None, None]


def test_without_a_gpu_it_refuses_or_is_tiny(tmp_path, monkeypatch, capsys):
  start, calls = machine("cpu")
  monkeypatch.delenv(gpu_checks.ALLOW_CPU, raising=False)
  monkeypatch.setattr(gpu_checks, "start", start)
  values = flags.FlagValues()
  gpu_checks.define_flags(values)
  values(["checks", f"--folder={tmp_path}", "--steps=ml1m,wide,trie"])
  with pytest.raises(SystemExit, match=r"^sidrec: JAX sees no GPU, only a machine; install .*\n?$"):
    gpu_checks.main(["checks"], values)
  assert not calls
  monkeypatch.setenv(gpu_checks.ALLOW_CPU, "1")
  gpu_checks.main(["checks"], values)
  assert [words for _, words in calls if "--config=configs/ml1m_gpu.py:tiny" in words]
  assert not [words for _, words in calls if "--config.train.steps=300" in words]
  assert "at least 0.4: reached, 0.41" in capsys.readouterr().out
  values(["checks", "--steps=all"])
  with pytest.raises(app.UsageError, match="no step 'all'"):
    gpu_checks.main(["checks"], values)


def test_a_command_is_stopped_at_its_limit_and_its_words_are_kept(tmp_path):
  log = tmp_path / "step.log"
  assert gpu_checks.start(["-c", "print('said')"], 60.0, log) == Ended(0, "said\n")
  assert gpu_checks.start(["-c", "raise SystemExit('why')"], 60.0, log) == Ended(1, "why\n")
  wait = "import time; print('begun', flush=True); time.sleep(100)"
  assert gpu_checks.start(["-c", wait], 5.0, log).status is None


def test_every_command_is_one_that_there_is():
  """Modules, their flags and configs; a wrong one would be found on a rented machine only."""
  for tiny in (False, True):
    for step in gpu_checks.STEPS.values():
      _, module, *words = step.command(Plan(Path("x"), tiny))
      if module == "sidrec.main":
        config = next(word for word in words if word.startswith("--config="))
        shipped_configs.named_config(config.removeprefix("--config=configs/").replace(".py", ""))
        continue
      values = flags.FlagValues()
      importlib.import_module(module).define_flags(values)
      assert values([module, *words]) == [module]  # raises for a flag that is not there
