"""The server on a socket: slow clients, and a stop that drains."""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import sidrec
from sidrec.run.stages import run_to
from sidrec.serving.__main__ import arguments, explore, is_loopback, main, read_token, serve
from sidrec.serving.app import make_app
from sidrec.serving.explore import extras_of
from sidrec.serving.others import Others
from sidrec.serving.server import Server
from sidrec.serving.settings import Limits
from sidrec.serving.store_sqlite import SQLiteStore


@pytest.fixture
def address(served, monkeypatch):
  """(host, port) of a server in a thread, which waits 0.3 seconds for heads and bodies."""
  service, _ = served
  monkeypatch.setattr(service, "limits", Limits(read_seconds=0.3))
  monkeypatch.setattr(service, "start", lambda: None)
  server = Server(make_app(service), service, "127.0.0.1", 0)
  thread = threading.Thread(target=server.run)
  thread.start()
  while not server.started:
    time.sleep(0.01)
  yield server.servers[0].sockets[0].getsockname()
  server.should_exit = True
  thread.join(20)
  assert not thread.is_alive()


def said(connection, seconds=5):
  """All that a server says until it closes the connection."""
  connection.settimeout(seconds)
  parts = []
  while part := connection.recv(65536):
    parts.append(part)
  return b"".join(parts)


HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"requests":[{"items":[1],"k":3}]}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.mark.parametrize(
  "sent", [b"", b"POST /v1/rec", HEAD, HEAD + b"Content-Length: 99\r\n\r\n{"]
)
def test_half_sent_requests_are_closed(address, sent):
  with socket.create_connection(address) as connection:
    connection.sendall(sent)
    assert_timed_out(connection)
  with socket.create_connection(address) as connection:
    connection.sendall(WHOLE)
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    connection.sendall(sent or b"P")
    assert_timed_out(connection)


def assert_timed_out(connection):
  began = time.monotonic()
  answer = said(connection)
  assert time.monotonic() - began < 3
  assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"408"]
  assert b"connection: close" in answer.lower()


def test_a_head_that_comes_drop_by_drop_gets_no_more_time(address):
  with socket.create_connection(address) as connection:
    began = time.monotonic()
    connection.settimeout(0.05)
    answer, drop = b"", b"GET /"
    while not answer and time.monotonic() - began < 5:
      connection.sendall(drop)
      drop = b"x"
      with contextlib.suppress(TimeoutError):
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("part", [b"x: " + b"y" * 999 + b"\r\n", b"y"])
def test_a_head_has_no_more_than_64_kib(address, part):
  with socket.create_connection(address) as connection:
    connection.sendall(
      b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + part * (60000 // len(part))
    )
    time.sleep(0.1)
    with contextlib.suppress(OSError):  # it may be closed already
      connection.sendall(part * (20000 // len(part)))
    assert said(connection).startswith(b"HTTP/1.1 431")


def test_what_is_no_http_is_refused_in_one_sentence(address):
  with socket.create_connection(address) as connection:
    connection.sendall(b"\x16\x03\x01")  # as TLS begins
    answer = said(connection)
  assert answer.startswith(b"HTTP/1.1 400")
  assert json.loads(answer.rpartition(b"\r\n")[2]) == {"error": "the request is no HTTP/1.1"}


def test_a_large_body_is_refused_before_it_is_sent(address):
  with socket.create_connection(address) as connection:
    connection.sendall(HEAD + b"Content-Length: 50000000\r\n\r\n")
    assert b"HTTP/1.1 413" in said(connection)


def test_a_connection_serves_many_requests(address):
  client = http.client.HTTPConnection(*address, timeout=10)
  for _ in range(3):
    client.request("POST", "/v1/recommend", BODY, {"Content-Type": "application/json"})
    response = client.getresponse()
    assert response.status == 200
    assert len(json.load(response)["results"][0]["items"]) == 3


def started(workdir, *flags):
  """A server process that is ready, and its address."""
  env = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONUNBUFFERED": "1"}
  command = [sys.executable, "-m", "sidrec.serving", f"--workdir={workdir}", "--port=0", *flags]
  command.append("--largest_batch=4")
  process = subprocess.Popen(
    command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )
  first, second = process.stdout.readline(), process.stdout.readline()
  assert re.match(r"ready after \d+ compilations", second), process.communicate(timeout=60)
  host, port = re.fullmatch(r"serving on http://([\d.]+):(\d+)\n", first).groups()
  return process, (host, int(port))


class Load(threading.Thread):
  """A client that asks and notes events until it is turned away, and what it was answered."""

  def __init__(self, address, number):
    super().__init__()
    self.address, self.number = address, number
    self.statuses, self.appended, self.ended = [], 0, None
    self.is_new = True  # nothing was answered on this connection yet

  def run(self):
    client = http.client.HTTPConnection(*self.address, timeout=30)
    while True:
      try:
        client.connect()
      except OSError:  # nobody listens any more
        return
      self.is_new = True
      try:
        while client.sock:
          self.statuses.append(self.ask(client))
      except OSError as error:
        # A connection that waits to be accepted when the server closes is reset by the kernel.
        if not (self.is_new and isinstance(error, ConnectionResetError)):
          self.ended = error
        return

  def ask(self, client):
    headers = {"Content-Type": "application/json"}
    client.request("POST", "/v1/recommend", BODY, headers)
    response = client.getresponse()
    response.read()
    self.is_new = client.sock is None
    if self.is_new:
      client.connect()
    event = {"events": [{"user": f"load {self.number}", "item": self.appended % 30}]}
    client.request("POST", "/v1/events", json.dumps(event), headers)
    noted = client.getresponse()
    noted.read()
    self.is_new = False
    self.appended += noted.status == 200
    return response.status


def test_sigterm_answers_what_was_accepted_and_ends_with_0(workdir, tmp_path):
  path = tmp_path / "events.sqlite"
  process, address = started(workdir, f"--store={path}")
  clients = [Load(address, number) for number in range(4)]
  try:
    for client in clients:
      client.start()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
  finally:
    process.kill()
  for client in clients:
    client.join(30)
  assert (process.returncode, output, errors) == (0, "", "")
  store = SQLiteStore(path)
  for client in clients:
    assert len(client.statuses) > 3
    assert {*client.statuses} == {200}
    assert client.ended is None or isinstance(client.ended, ConnectionRefusedError)
    assert len(store.events_of(f"load {client.number}", 10**6)) == client.appended
  store.close()


def test_the_explorer_knows_what_lies_in_the_run(workdir):
  run = sidrec.load(workdir)
  extras = extras_of(run, workdir)
  assert extras.vectors_NxF.shape == (run.dataset.items.num_items, 4)
  assert extras.sasrec == "this run trained no SASRec (config.sasrec.enabled)"
  assert extras_of(with_sasrec(run), workdir).sasrec == "this run's SASRec is not trained yet"


def with_sasrec(run):
  sasrec = dataclasses.replace(run.config.sasrec, enabled=True)
  return dataclasses.replace(run, config=dataclasses.replace(run.config, sasrec=sasrec))


@pytest.mark.slow
def test_the_explorer_of_a_run_with_sasrec_reads_it_and_changes_nothing(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / "run", symlinks=True)
  wanted = with_sasrec(sidrec.load(workdir))
  run_to("sasrec", wanted.config, tmp_path / "run")
  sasrec = extras_of(wanted, tmp_path / "run").sasrec
  score_N = Others(wanted.dataset, sasrec)._next_item([1, 2])
  assert np.exp(score_N).sum() == pytest.approx(1, abs=1e-4)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
  process, address = started(tmp_path / "run", "--explore")
  try:
    client = http.client.HTTPConnection(*address, timeout=30)
    for path, part in (("/", b"<title>sidrec explorer"), ("/v1/about", b'"read_only":true')):
      client.request("GET", path)
      assert part in client.getresponse().read()
    client.request("POST", "/v1/explain", b'{"items":[1]}', {"Content-Type": "application/json"})
    assert len(json.load(client.getresponse())["history"]) == 1
  finally:
    process.kill()
    process.communicate(timeout=60)
  assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_flags_of_the_explorer(tmp_path, capsys):
  wrong = (["--explore", "--store=x"], ["--explore", "--explorer=false"])
  for flags in wrong:
    with pytest.raises(ValueError, match="leave the other flag out"):
      serve(arguments([f"--workdir={tmp_path}", *flags]))
  with pytest.raises(SystemExit):
    arguments([f"--workdir={tmp_path}", "--explorer=maybe"])
  assert "'maybe' is neither true nor false" in capsys.readouterr().err
  with pytest.raises(FileNotFoundError, match="there is no run in"):
    explore(str(tmp_path))


def test_hosts_that_others_reach_need_a_token(tmp_path, capsys):
  assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost")] == [True] * 3
  assert [is_loopback(host) for host in ("0.0.0.0", "::", "example.com")] == [False] * 3
  with pytest.raises(ValueError, match="can be reached from elsewhere; give --token_file"):
    serve(arguments([f"--workdir={tmp_path}", "--host=0.0.0.0"]))
  path = tmp_path / "token"
  path.write_text("short\n")
  with pytest.raises(ValueError, match="holds no token; write one of at least 16"):
    read_token(str(path))
  path.write_text("0123456789abcdef\n")
  assert read_token(str(path)) == "0123456789abcdef"
  assert main([f"--workdir={tmp_path}"]) == 1
  assert "there is no run in" in capsys.readouterr().err
  assert main([f"--workdir={tmp_path}", "--room=-1"]) == 1
  assert "--room=-1; give 0 or more" in capsys.readouterr().err
