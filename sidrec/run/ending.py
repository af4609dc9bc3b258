"""How a complete run ends: where it lies, and what to do with it."""

import shlex

from etils import epath


def ending(workdir: epath.Path) -> str:
  """The last lines that a run prints."""
  folder = shlex.quote(str(workdir))
  drawn = "report.html shows it, and " if (workdir / "report.html").exists() else ""
  return "\n".join(
    [
      "",
      f"The run is in {workdir}: {drawn}evaluation.txt has all metrics, their",
      "intervals and the protocol.",
      f"  sidrec recommend {folder} --users=all --output=lists.jsonl",
      f"  sidrec explore {folder}",
      f"  sidrec serve {folder}",
      f"  sidrec compare {folder} runs/ANOTHER",
    ]
  )
