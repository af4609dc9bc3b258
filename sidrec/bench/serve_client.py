"""The load on a server: wrk, which asks in a loop on several connections."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_SCRIPT = """
local bodies, at = {}, 0
for line in io.lines(FILE) do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
local rest = tonumber(os.getenv("REST_MS"))
function init(args) math.randomseed(1) at = math.random(#bodies) end
function request()
  at = at % #bodies + 1
  return wrk.format("POST", "/v1/recommend", headers, bodies[at])
end
if rest > 0 then
  function delay() return math.floor(rest * (0.5 + math.random())) end
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "errors": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class NoWrkError(RuntimeError):
  """The program wrk is not installed, or fails."""


class Load(NamedTuple):
  """What a load found."""

  requests: int
  per_second: float
  p50_ms: float
  p99_ms: float
  errors: int  # other statuses than 200, too


def write_script(path: Path, requests: Sequence[dict[str, Any]]) -> Path:
  """Writes what wrk asks: these requests in turn, each in a call of its own."""
  bodies = path.with_suffix(".txt")
  lines = [json.dumps({"requests": [request]}) for request in requests]
  bodies.write_text("\n".join(lines) + "\n", encoding="utf-8")
  path.write_text(_SCRIPT.replace("FILE", json.dumps(str(bodies))), encoding="utf-8")
  return path


def load(url: str, script: Path, connections: int, seconds: float, rest: float = 0.0) -> Load:
  """Asks for some seconds.

  Args:
    url: of the server.
    script: of `write_script`.
    connections: each asks again when it is answered.
    seconds: how long.
    rest: seconds that a connection waits before a request, in the mean; evenly spread from a half
      to one and a half times that.

  Raises:
    NoWrkError: if wrk cannot be run.
  """
  program = shutil.which("wrk")
  if program is None:
    raise NoWrkError("wrk is not installed; on Debian: apt install wrk")
  command = [program, "--latency", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
  done = subprocess.run(
    [*command, f"-s{script}", url],
    env={"REST_MS": str(1e3 * rest)},
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    raise NoWrkError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
  found = json.loads(done.stdout.strip().splitlines()[-1])
  return Load(
    found["requests"],
    1e6 * found["requests"] / found["micros"],
    found["p50"] / 1e3,
    found["p99"] / 1e3,
    found["errors"],
  )
