"""Imports between rooms run one way: from a line of CONTRIBUTING.md's map to those above it."""

import ast
from pathlib import Path

SIDREC = Path(__file__).parents[1] / "sidrec"
ROOMS = [
  "core",
  "parallel",
  "data",
  "tracking",
  "training",
  "features",
  "tokenizers",
  "catalogue",
  "models",
  "search",
  "evaluation",
  "trainers",
  "estimators",
  "plugins",
  "run",
  "cold_start",
  "report",
  "update",
  "sweep",
  "config",
  "shipped_configs",
  "stored_config",
  "export",
  "api",
  "serving",
  "__init__",
  "flags",
  "generate_semantic_ids",
  "modes",
  "main",
  "command",
  "__main__",
  "bench",
]


def imported_modules(file):
  """The modules of sidrec that a file imports, wherever in the file."""
  for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sidrec":
      yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "sidrec")


def test_each_room_imports_only_rooms_above_it():
  upward = []
  for file in sorted(SIDREC.rglob("*.py")):
    room = file.relative_to(SIDREC).with_suffix("").parts[0]
    assert room in ROOMS, f"{room} has no place in the order of rooms"
    for module in imported_modules(file):
      other = module.split(".")[1]
      if other in ROOMS and ROOMS.index(other) > ROOMS.index(room):
        upward.append(f"{file.relative_to(SIDREC)} imports {module}")
  assert not upward, "\n".join(upward)
