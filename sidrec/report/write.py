"""Writes the page of a run into its folder."""

import warnings

from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.paths import as_path, open_bytes
from sidrec.evaluation.search_cost import SearchCost
from sidrec.parallel.hosts import from_primary
from sidrec.report.beams import beams
from sidrec.report.beyond import beyond
from sidrec.report.calibration import calibration
from sidrec.report.codes import codes
from sidrec.report.curves import curves
from sidrec.report.finished import FinishedRun, read
from sidrec.report.html import paragraph, section
from sidrec.report.item_map import item_map
from sidrec.report.lists import lists
from sidrec.report.page import page
from sidrec.report.results import how, results, top
from sidrec.report.slices import slices
from sidrec.report.tree import tree
from sidrec.run.evaluate import EVALUATE
from sidrec.run.generations import Chain
from sidrec.run.search_cost import read_cost
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find

REPORT = "report.html"
_VERSION = 2  # of what a page shows

SECTIONS = {
  "Results": results,
  "How it was measured": how,
  "For whom it works": slices,
  "Beyond accuracy": beyond,
  "Calibration": calibration,
  "Beams": beams,
  "Learning curves": curves,
  "Semantic IDs": codes,
  "The tree of IDs": tree,
  "Map of the items": item_map,
  "Lists": lists,
}

_ABSENT = "Other seeds are in seeds.txt where --seeds made them."


def report_text(run: FinishedRun) -> str:
  """The page of a run."""
  sections = [(name, draw(run)) for name, draw in SECTIONS.items()]
  sections.append(("What is not here", section("What is not here", paragraph(_ABSENT))))
  return page(f"{run.name}: sidrec report", top(run), sections, made_of(run.chain, run.cost))


def made_of(chain: Chain, cost: SearchCost | None) -> str:
  """What the page of a chain of stages, and of what its searches cost, begins with."""
  measured = cost.identity if cost else "-"
  return f"{_VERSION} {chain['evaluate'].record.identity} {measured}"


def write_report(
  workdir: PathLike,
  config: RunConfig | ConfigDict | None = None,
  output: PathLike | None = None,
) -> epath.Path:
  """Writes `report.html`; a reader sees the old or the whole new page.

  Args:
    workdir: the folder of a run that was evaluated.
    config: its settings; by default those that lie in it.
    output: the file; by default `report.html` in the run's folder.

  Returns:
    The file.

  Raises:
    FileNotFoundError, ValueError: as `finished.read` does.
  """
  path = as_path(output) if output else as_path(workdir) / REPORT
  from_primary(lambda: write_whole_text(path, report_text(read(workdir, config))))
  return path


def try_report(workdir: PathLike, config: RunConfig | ConfigDict) -> None:
  """Writes the page after an evaluation, unless it is there already.

  Whatever goes wrong is a warning and nothing more.
  """
  workdir = as_path(workdir)
  path = workdir / REPORT

  def attempt() -> None:
    try:
      if _is_current(path, workdir, run_config(config)):
        print(f"report: unchanged, kept: {path}")
        return
      write_whole_text(path, report_text(read(workdir, config)))
      print(f"report: {path}")
    except Exception as error:  # the evaluation is worth more than its picture
      warnings.warn(
        f"the evaluation is finished, but its report was not drawn: {type(error).__name__}: "
        f"{error}; --mode=report tries again",
        stacklevel=2,
      )

  from_primary(attempt)


def _is_current(path: epath.Path, workdir: epath.Path, config: RunConfig) -> bool:
  """Whether a page shows the newest evaluation, and what was measured after it."""
  if not path.is_file():
    return False
  chain = find(EVALUATE, config, workdir)
  cost = read_cost(config, chain, workdir)
  with open_bytes(path) as file:
    return f'"{made_of(chain, cost)}"'.encode() in file.read(1000)
