"""Answers requests from a bundle in a process that may import jax and numpy, and not sidrec.

python alone.py BUNDLE < requests.json > answers.json
"""

import importlib.abc
import json
import runpy
import sys

FORBIDDEN = ("sidrec", "flax", "orbax", "optax", "polars", "etils", "ml_collections", "sklearn")


class Forbids(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in FORBIDDEN:
      raise ImportError(f"a bundle must not import {name}")


sys.meta_path.insert(0, Forbids())
folder = sys.argv[1]
bundle = runpy.run_path(f"{folder}/run.py")["Bundle"](folder)
json.dump([bundle.recommend(**request) for request in json.load(sys.stdin)], sys.stdout)
