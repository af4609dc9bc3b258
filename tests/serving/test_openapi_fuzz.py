"""Requests made up from the OpenAPI document: whatever is asked, the server does not fail.

Five minutes; it wants the extra `fuzz`.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from explorer_page import listening
from explorer_run import make_extras
from live_shop import Numbers, open_shop_on

from sidrec.serving.app import make_app
from sidrec.serving.explore import Explorer
from sidrec.serving.store_sqlite import SQLiteStore

pytest.importorskip("schemathesis")

EXAMPLES = 500  # of each operation that takes anything
METHODS = ("get", "put", "post", "delete", "patch")


@pytest.fixture
def address(run, compiled, tmp_path):
  """Where a server with an explorer listens, whose catalogue and store may change."""
  store = SQLiteStore(tmp_path / "events.sqlite")
  service = open_shop_on(store, run, compiled, new_ids=Numbers(run), room=20).service
  explorer = Explorer(service, make_extras(sasrec="this run trained none"))
  with listening(make_app(service, explorer=explorer)) as at:
    yield at
  service.stop()


@pytest.mark.slow
def test_no_request_of_any_operation_makes_the_server_fail(address, tmp_path):
  asked = Counter()
  # Beside PUT with the same path, schemathesis makes up few requests for DELETE.
  for part in ("", "--include-method=DELETE"):
    asked += fuzzed(address, tmp_path / "report.ndjson", *part.split())
  metrics = httpx.get(f"{address}/metrics").text
  assert not [line for line in metrics.splitlines() if 'status="5' in line]
  takes = operations(httpx.get(f"{address}/openapi.json").json())
  assert set(asked) == set(takes)
  assert not {name: asked[name] for name in takes if takes[name] and asked[name] < EXAMPLES}


def fuzzed(address, report, *more):
  """How many requests were made up for each operation; asserts that all were answered."""
  program = Path(sys.executable).with_name("schemathesis")
  command = [program, "run", f"{address}/openapi.json", "--checks=not_a_server_error"]
  command += [f"--max-examples={EXAMPLES}", "--phases=coverage,fuzzing", "--seed=0", *more]
  command += ["--continue-on-failure", "--report=ndjson", f"--report-ndjson-path={report}"]
  found = subprocess.run(command, cwd=report.parent, capture_output=True, text=True, check=False)
  assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-4000:]
  asked = Counter()
  for line in report.read_text().splitlines():
    recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
    asked[recorder.get("label")] += len(recorder.get("cases", ()))
  return +asked


def operations(document):
  """Whether each operation of an OpenAPI document takes anything; without the document itself."""
  return {
    f"{method.upper()} {path}": bool({"requestBody", "parameters"} & {*methods, *methods[method]})
    for path, methods in document["paths"].items()
    for method in METHODS
    if method in methods and path != "/openapi.json"
  }
