"""Runs commands and Python of the documentation, each in a fork of a process that is warm.

  python tests/readme_worker.py < jobs.json > results.json

A job is {"do": "check" or "run", "argv": [module, flags …]} or {"do": "run", "codes": {name: …}};
"check" stops where a command's flags are parsed. A result is {"status": …, "output": …}. Jobs run
in order; one that fails stops none of the others. The codes of a job run in one process, so that
they share what is compiled; the output ends with a line `ran NAME` for each that did not fail.
"""

import ast
import json
import os
import runpy
import sys
import tempfile
import traceback

import numpy as np


def literal_behind(line):
  """(True, value) of the comment that ends a line, if it is one: `f(2)  # [1, 2]`."""
  try:
    return True, ast.literal_eval(line.partition("  # ")[2])
  except (ValueError, SyntaxError):
    return False, None


def run_python(code, name):
  """Executes the code, and compares its expressions with the values in their comments."""
  lines, namespace = code.split("\n"), {"__name__": name}
  for node in ast.parse(code, name).body:
    if not isinstance(node, ast.Expr):
      exec(compile(ast.Module([node], []), name, "exec"), namespace)
      continue
    value = eval(compile(ast.Expression(node.value), name, "eval"), namespace)
    stated, expected = literal_behind(lines[node.end_lineno - 1])
    if stated and not np.array_equal(value, expected):
      raise AssertionError(f"line {node.lineno} of {name} gives {value}, not {expected}")


def run_all(codes):
  """Runs each code by itself."""
  ran, errors = [], []
  for name, code in codes.items():
    try:
      run_python(code, name)
      ran.append(f"ran {name}")
    except BaseException:
      errors.append(traceback.format_exc(limit=-3))
  print(*errors, *ran, sep="\n")  # last, because the beginning of long outputs is cut
  sys.exit(len(errors))


def run_module(argv, stop_behind_flags):
  """`python -m argv`, or no further than its flags."""
  from absl import app

  if stop_behind_flags:

    def parse(main, argv=None, flags_parser=app.parse_flags_with_usage):
      del main
      flags_parser(sys.argv if argv is None else argv)

    app.run = parse
  sys.argv = list(argv)
  runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def do(job):
  if "codes" in job:
    run_all(job["codes"])
  else:
    run_module(job["argv"], job["do"] == "check")


def in_fork(job):
  """The result of a job."""
  with tempfile.TemporaryFile() as output:
    child = os.fork()
    if not child:
      status = 1
      os.dup2(output.fileno(), 1)
      os.dup2(output.fileno(), 2)
      try:
        do(job)
        status = 0
      except SystemExit as end:
        status = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
          print(end.code)
      except BaseException:
        traceback.print_exc()
      finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    output.seek(0)
    text = output.read().decode("utf-8", "replace")
    return {"status": os.waitstatus_to_exitcode(status), "output": text[-3000:]}


if __name__ == "__main__":
  import sidrec.run.evaluate  # noqa: F401 - what most jobs want; starts no device

  results = [in_fork(job) for job in json.load(sys.stdin)]
  json.dump(results, sys.stdout)
