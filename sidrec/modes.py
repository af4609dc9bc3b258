"""What --mode may be, and what each mode does."""

from etils import epath
from ml_collections import ConfigDict

from sidrec import flags
from sidrec.cold_start.measure import cold_start
from sidrec.export.finished import export
from sidrec.parallel import hosts
from sidrec.report.write import try_report, write_report
from sidrec.run import recommend
from sidrec.run.ending import ending
from sidrec.run.search_cost import measure_run, try_measure
from sidrec.run.seeds import evaluate_seeds
from sidrec.run.stages import STAGES, run_to, status_text
from sidrec.sweep.sweep import sweep
from sidrec.update.update import update

REDONE = [*STAGES, "cold_start"]  # what --redo may be
MODES = ["all", *REDONE, "recommend", "report", "search_cost"]
MODES += ["export", "status", "update", "sweep"]


def run(mode: str, config: ConfigDict, workdir: epath.Path) -> None:
  """One mode, from its first stage on."""
  if flags.FLAGS.seeds != 1 and mode != "evaluate":
    raise ValueError("--seeds goes with --mode=evaluate")
  if flags.FLAGS.format != "bundle" and mode != "export":
    raise ValueError("--format goes with --mode=export")
  if flags.FLAGS.space is not None and mode != "sweep":
    raise ValueError("--space goes with --mode=sweep")
  manner = flags.manner()
  if manner.redo and mode not in ("all", "cold_start", *STAGES):
    raise ValueError("--redo goes with a --mode that runs stages")
  hosts.check_shared(workdir)
  match mode:
    case "status":
      print(status_text(config, workdir))
    case "recommend":
      recommend.answer(config, workdir, flags.request())
    case "cold_start":
      cold_start(config, workdir, manner)
    case "export":
      export(config, workdir, flags.FLAGS.format, flags.FLAGS.output)
    case "update":
      update(config, workdir, flags.wish())
    case "sweep":
      sweep(config, workdir, flags.search())
    case "report":
      print(f"report: {write_report(workdir, config)}")
    case "search_cost":
      measure_run(workdir, config)
      print(f"report: {write_report(workdir, config)}")
    case "all" | "evaluate":
      evaluate_seeds(config, workdir, flags.FLAGS.seeds, manner=manner)
      if flags.FLAGS.seeds == 1:
        try_measure(workdir, config)
        try_report(workdir, config)
        if mode == "all":
          recommend.show_first_users(config, workdir)
        print(ending(workdir))
    case _:
      run_to(mode, config, workdir, manner)
