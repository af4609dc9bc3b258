"""The notebooks of the documentation, as they are committed.

`.ci/run` executes the first one in Jupyter, and `pytest -m slow` the cells of both.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
PATH = re.compile(r"(?<![\w.:/])/(home|root|tmp|usr|Users|work|opt|var)/")


def code_cells(notebook):
  cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
  return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_two():
  assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_cells_ran_once_in_order_without_error(notebook):
  cells = code_cells(notebook)
  assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
  outputs = [output for cell in cells for output in cell["outputs"]]
  assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
  assert len(outputs) >= 3


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_no_folder_of_a_machine_is_in_them(notebook):
  assert not PATH.search(notebook.read_text(encoding="utf-8"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_nothing_but_cells_is_kept(notebook):
  """No times of execution, versions or settings of editors, which change with each run."""
  parsed = json.loads(notebook.read_text(encoding="utf-8"))
  assert parsed["metadata"].keys() == {"kernelspec", "language_info"}
  assert all(cell["metadata"] == {} for cell in parsed["cells"])


@pytest.mark.slow
def test_cells_run_in_a_new_folder(tmp_path, monkeypatch):
  """One after another; both use the run of demo:tiny, which the first one makes."""
  monkeypatch.chdir(tmp_path)
  programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
  for notebook in NOTEBOOKS:
    names = {"__name__": notebook.stem}
    for cell in code_cells(notebook):
      source = "".join(cell["source"])
      if source.startswith("%%bash"):
        script = source.partition("\n")[2]
        subprocess.run(["bash", "-c", script], env={**os.environ, "PATH": programs}, check=True)
      else:
        exec(compile(source, notebook.name, "exec"), names)
  assert {path.name for path in Path("runs").iterdir()} == {"demo-tiny", "kmeans"}
