"""The settings of the files in configs/, flat."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Settings that change no result: where data lies, what columns are called, how a run is computed.
FREE = (
  *("mesh.", "profile_steps", "track", "data.source", "data.path", "data.amazon.", "data.store."),
  *("data.table.", "search.batch_size", "model.remat", "cold_start.held_out"),
  *("tokenizer.file.", "tokenizer.rqvae.steps_per_call"),
  *("train.steps_per_call", "sasrec.train.steps_per_call", "bsarec.train.steps_per_call"),
  *("nightly.", "evaluation.search_cost."),
)
FILES = tuple(
  f"features.{block}.{name}"
  for block in ("text", "image", "audio")
  for name in ("path", "id", "vector", "missing")
)


def flatten(tree, prefix=""):
  """{'a': {'b': 1}} → {'a.b': 1}."""
  flat = {}
  for key, value in tree.items():
    name = f"{prefix}{key}"
    flat.update(flatten(value, f"{name}.") if hasattr(value, "items") else {name: value})
  return flat


def settings_of(config_name):
  """What a file in configs/ gets."""
  return runpy.run_path(str(ROOT / "configs" / f"{config_name}.py"))["get_config"]()
