"""The comparison of tokenizers: one report each, on the same vectors; and the clock."""

import functools
import json
from types import SimpleNamespace

import pytest
from absl import app, flags

from sidrec.bench import timing
from sidrec.bench.tokenize import compare, define_flags, main
from sidrec.config import default_config


def small_config():
  config = default_config()
  config.features.cooccurrence.weight = 0.0
  config.features.content.title_buckets = 8
  config.tokenizer.update(num_levels=2, codebook_size=16)
  config.tokenizer.kmeans.iterations = 3
  config.tokenizer.category.path = ("category_1",)
  return config


def test_tokenizers_are_compared_on_the_same_vectors(tmp_path, capsys):
  names = ["residual_kmeans:1.5", "lsh", "category"]
  reports = compare(small_config(), [*names, "radix"], tmp_path)
  assert list(reports) == names
  assert "radix: left out, because 2414 items do not fit" in capsys.readouterr().out
  assert {report["items"] for report in reports.values()} == {2414}
  # Balance: no code of a level has more than 1.5 times its fair share.
  assert reports["residual_kmeans:1.5"]["levels"][0]["largest_cluster"] <= 1.5 * 2414 / 16 + 1
  assert json.loads((tmp_path / "lsh" / "tokenizer.json").read_text()) == reports["lsh"]


def test_flags_that_ask_for_nothing_are_refused():
  values = flags.FlagValues()
  define_flags(values)
  values(["program"])
  with pytest.raises(app.UsageError, match=r"give --config .* or --json"):
    main(["program"], values)


def test_everything_runs_in_turn_and_the_last_run_of_a_turn_counts(monkeypatch):
  clock, calls, took = [0.0], [], {"a": iter([0.09, *[0.06, 0.05] * 3]), "b": iter([0.2] * 4)}
  monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
  monkeypatch.setattr(timing, "settle", lambda: None)

  def run(name):
    calls.append(name)
    clock[0] += next(took[name])

  seconds = timing.alternate({name: functools.partial(run, name) for name in "ab"}, repeats=3)
  assert "".join(calls) == "ab" + 3 * "aab"
  assert seconds == pytest.approx({"a": 0.05, "b": 0.2})
