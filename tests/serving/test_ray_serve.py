"""launch/ray_serve.py: what it takes, and two replicas that share a store."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from processes import free_address

SCRIPT = Path(__file__).parents[2] / "launch" / "ray_serve.py"
STORE = "--store=redis://localhost:1/0?name=shop"


@pytest.fixture(scope="module")
def script():
  """The script as a module."""
  spec = importlib.util.spec_from_file_location("ray_serve", SCRIPT)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_flags_of_the_server_pass_through(script):
  mine, flags = script.own_arguments(["--workdir=x", "--min_replicas=2", STORE, "--room=5"])
  assert (mine.min_replicas, mine.max_replicas) == (2, 2)
  assert flags == ["--workdir=x", STORE, "--room=5"]


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ([], "give --store=redis://host:port/db"),
    (["--store=events.sqlite"], "give --store=redis://host:port/db"),
    (["--store=redis://:secret@db/0"], "give SIDREC_STORE_PASSWORD instead"),
    ([STORE, "--min_replicas=3", "--max_replicas=2"], "--min_replicas=3 is not from 1 to"),
    ([STORE, "--explore"], "show no explorer"),
    ([STORE, "--host=0.0.0.0"], "give --token_file, too"),
  ],
)
def test_what_replicas_cannot_do_is_refused(script, flags, words, capsys):
  assert script.main(["--workdir=x", *flags]) == 1
  said = capsys.readouterr().err
  assert words in said
  assert "secret" not in said


@pytest.mark.slow  # three processes that import JAX, and those of Ray
def test_two_replicas_swap_the_catalogue(workdir, redis_server):
  pytest.importorskip("ray.serve")
  port = free_address().split(":")[1]
  command = [
    *(sys.executable, str(SCRIPT), f"--workdir={workdir}", f"--store={redis_server.url}?name=ray"),
    *("--min_replicas=2", f"--port={port}", "--cpus=0.5"),
  ]
  env = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "RAY_USAGE_STATS_ENABLED": "0"}
  process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
  try:
    for line in process.stdout:
      if line.startswith("2 replicas serve on"):
        break
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as client:
      assert_both_swap(client)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
  finally:
    process.kill()
    process.communicate()


def assert_both_swap(client):
  assert client.get("/readyz").status_code == 200
  first = client.get("/v1/catalogue").json()["version"]
  event = {"events": [{"user": "somebody", "item": 1}]}
  assert client.post("/v1/events", json=event).status_code == 200
  asked = {"requests": [{"user": "somebody", "k": 5}]}
  removed = client.post("/v1/recommend", json=asked).json()["results"][0]["items"][0]["id"]
  change = {"base": first, "remove": [removed]}
  made = client.post("/v1/catalogue", json=change).json()["version"]
  assert made != first
  seen = {}  # by whether the replica took the change itself: the version that it answers with
  until = time.monotonic() + 60
  while seen != {True: made, False: made} and time.monotonic() < until:
    text = client.get("/metrics").text
    took = "sidrec_catalogue_changes_total 1\n" in text
    seen[took] = re.search(r'sidrec_catalogue\{version="(\w+)"\} 1', text)[1]
  assert seen == {True: made, False: made}
  for _ in range(30):
    answer = client.post("/v1/recommend", json=asked).json()
    assert answer["catalogue"] == made
    assert removed not in [item["id"] for item in answer["results"][0]["items"]]
