"""One config, several seeds: a complete run for each, then their means and how sure they are.

A seed is a run of its own, tokenizer and all, in `<workdir>-seed<number>`; the summary stands in
`<workdir>/seeds.txt` and, with every metric, in `<workdir>/seeds.json`.
"""

import dataclasses
import json

from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.paths import absolute, as_path
from sidrec.evaluation.bootstrap import RESAMPLES
from sidrec.evaluation.protocol import SPLITS
from sidrec.evaluation.results import Group, group_runs, group_text, read_run
from sidrec.parallel.hosts import from_primary
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import AS_NEEDED, Manner
from sidrec.run.stages import run_to


def evaluate_seeds(
  config: RunConfig | ConfigDict,
  workdir: PathLike,
  num_seeds: int,
  resamples: int = RESAMPLES,
  manner: Manner = AS_NEEDED,
) -> None:
  """Trains and evaluates seeds config.seed, config.seed + 1, …, and prints their summary.

  Runs that are done and unchanged are kept, so that more seeds can be added later.

  Args:
    config: the settings that the runs share.
    workdir: of a single seed's run, itself; of several, of the summary.
    num_seeds: how many.
    resamples: of the bootstrap over users.
    manner: as `run_to` takes it.

  Raises:
    ValueError: if num_seeds is below 1, or as a run does.
  """
  config, workdir = run_config(config), as_path(workdir)
  if num_seeds < 1:
    raise ValueError(f"--seeds must be 1 or more, not {num_seeds}")
  if num_seeds == 1:
    run_to("evaluate", config, workdir, manner)
    return
  runs = []
  for seed in range(config.seed, config.seed + num_seeds):
    folder = seed_folder(workdir, seed)
    print(f"seed {seed}, in {folder}")
    seeded = dataclasses.replace(config, seed=seed)
    evaluated = run_to("evaluate", seeded, folder, manner)["evaluate"]
    runs.append(read_run(evaluated.folder)._replace(folder=str(folder), config_name=workdir.name))

  def summarise() -> None:
    (group,) = group_runs(runs)
    text = "\n".join(group_text(group, split, resamples=resamples) for split in SPLITS)
    write_whole_text(workdir / "seeds.txt", text)
    write_whole_text(workdir / "seeds.json", json.dumps(to_json(group), indent=2) + "\n")
    print(text)

  from_primary(summarise)


def seed_folder(workdir: epath.Path, seed: int) -> epath.Path:
  """runs/ml1m → runs/ml1m-seed1."""
  named = workdir if workdir.name else absolute(workdir)  # '.' has no name of its own
  return named.with_name(f"{named.name}-seed{seed}")


def to_json(group: Group) -> dict:
  """The seeds, the protocol they share, and system → split → way → metric → mean over seeds."""
  results = {}
  for path, over in group.results.items():
    system, split, way, metric = path.split("/")
    ways = results.setdefault(system, {}).setdefault(split, {})
    ways.setdefault(way, {})[metric] = over._asdict()
  return {
    "seeds": [run.settings["seed"] for run in group.runs],
    "protocol": group.runs[0].evaluation["protocol"],
    "results": results,
  }
