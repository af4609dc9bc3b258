"""The pages of finished runs, from what lies in their folders.

python -m sidrec.report runs/ml1m                                    writes runs/ml1m/report.html
python -m sidrec.report compare runs/a runs/b --output=compare.html
"""

import argparse
import sys
import warnings
from collections.abc import Sequence

from sidrec.plugins import load_plugins
from sidrec.report.compare import compare
from sidrec.report.write import write_report


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
  """The command line; `runs` of 'compare' are several."""
  parser = argparse.ArgumentParser(
    prog="python -m sidrec.report",
    description="Writes a page with pictures on an evaluated run, or on several: compare RUN RUN …",
  )
  parser.add_argument(
    "runs", nargs="+", metavar="RUN", help="a run's folder; or compare, and several"
  )
  parser.add_argument(
    "--output", help="the HTML file; default report.html in the run's folder, or compare.html"
  )
  parser.add_argument(
    "--plugin", action="append", default=[], help="file that registers what the runs were made with"
  )
  args = parser.parse_args(argv)
  args.comparing = args.runs[0] == "compare"
  if args.comparing:
    args.runs = args.runs[1:]
    args.output = args.output or "compare.html"
  elif len(args.runs) > 1:
    parser.error("one run gets one report; say compare before several")
  return args


def main(argv: Sequence[str] | None = None) -> int:
  """Writes a page; what is wrong ends with one sentence."""
  args = arguments(argv)
  warnings.formatwarning = lambda message, *_, **__: f"sidrec: {message}\n"
  try:
    load_plugins(args.plugin)
    if args.comparing:
      path, headline = compare(args.runs, args.output)
      print(headline)
    else:
      path = write_report(args.runs[0], output=args.output)
  except (ValueError, OSError) as error:
    print(f"sidrec: {error}", file=sys.stderr)
    return 1
  print(f"report: {path}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
