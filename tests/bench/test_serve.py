"""The load on a server, by a program that stands in for wrk."""

import json
import os

import pytest

from sidrec.bench import serve, serve_client

WRK = """#!/bin/sh
echo "$REST_MS $*" >> {log}
echo
echo '{{"requests": 300, "micros": 2000000, "p50": 1500, "p99": 9000, "errors": 2}}'
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
  """How wrk was called."""
  program = tmp_path / "wrk"
  program.write_text(WRK.format(log=tmp_path / "log"))
  program.chmod(0o755)
  monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
  return lambda: (tmp_path / "log").read_text().splitlines()


def test_requests_are_those_of_the_users_and_figures_those_of_wrk(tmp_path, calls):
  script = serve_client.write_script(tmp_path / "ask.lua", [{"user": 7}, {"user": "anna"}])
  found = serve_client.load("http://localhost:1", script, 16, 2.0, 0.25)
  assert found == serve_client.Load(300, 150.0, 1.5, 9.0, 2)
  bodies = [json.loads(line) for line in (tmp_path / "ask.txt").read_text().splitlines()]
  assert bodies == [{"requests": [{"user": user}]} for user in (7, "anna")]
  assert calls() == [f"250.0 --latency -t1 -c16 -d2s -s{script} http://localhost:1"]


def test_the_rest_between_requests_makes_up_for_what_they_take(tmp_path, calls):
  script = serve_client.write_script(tmp_path / "ask.lua", [{"user": 7}])
  # Connections that ask 150 times a second, whatever their rest, need more of it to ask 100 times:
  # each try adds the difference.
  rest, asking = serve.rest_for(100.0, "http://localhost:1", script, 1.0), serve.CONNECTIONS
  assert rest == pytest.approx(asking / 100 + 3 * (asking / 100 - asking / 150))


def test_without_wrk_it_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(serve_client.NoWrkError, match="apt install wrk"):
    serve_client.load("http://localhost:1", tmp_path / "ask.lua", 1, 1.0)
