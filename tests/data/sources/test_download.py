"""Downloads from a server on this machine."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sidrec.data.sources.download import fetch

_BODY = bytes(range(256)) * 1000
_MD5 = hashlib.md5(_BODY).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler, int], None]  # (request, how many came before)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], tuple[str, list]]]:
  """A function from an answer to a server's URL and the list of its requests."""
  monkeypatch.setenv("no_proxy", "*")
  servers = []

  def start(answer: Answer) -> tuple[str, list]:
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
      def do_GET(self) -> None:
        requests.append(self.path)
        answer(self, len(requests) - 1)

      def log_message(self, *args: object) -> None:
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    servers.append(server)
    return f"http://127.0.0.1:{server.server_port}/file", requests

  yield start
  for server in servers:
    server.shutdown()
    server.server_close()


def _send(request: BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
  request.send_response(200)
  request.send_header("Content-Length", str(len(body) if length is None else length))
  request.end_headers()
  request.wfile.write(body)


def _nothing_but(folder: Path, *names: str) -> bool:
  return sorted(file.name for file in folder.iterdir()) == sorted(names)


def test_a_good_file_is_fetched_once(serve: Callable, tmp_path: Path) -> None:
  url, requests = serve(lambda request, _: _send(request, _BODY))
  destination = tmp_path / "new/folder/file"
  assert fetch(url, destination, _MD5, len(_BODY)) == destination
  assert destination.read_bytes() == _BODY
  assert _nothing_but(destination.parent, "file")
  fetch(url, destination, _MD5, len(_BODY))
  assert len(requests) == 1
  destination.write_bytes(b"damaged")
  fetch(url, destination, _MD5, len(_BODY))
  assert destination.read_bytes() == _BODY


def test_a_wrong_checksum_leaves_nothing(serve: Callable, tmp_path: Path) -> None:
  url, requests = serve(lambda request, _: _send(request, _BODY))
  with pytest.raises(ValueError, match=f"expected md5:00ff but got {_MD5}"):
    fetch(url, tmp_path / "file", "00ff", len(_BODY))
  assert _nothing_but(tmp_path)
  assert len(requests) == 1


def test_a_file_too_large_is_refused(serve: Callable, tmp_path: Path) -> None:
  url, requests = serve(lambda request, _: _send(request, _BODY))
  with pytest.raises(ValueError, match="larger than the limit of 255,999 bytes"):
    fetch(url, tmp_path / "file", _MD5, len(_BODY) - 1)
  assert _nothing_but(tmp_path)
  assert len(requests) == 1


def test_a_flaky_server_is_asked_again(serve: Callable, tmp_path: Path) -> None:
  def answer(request: BaseHTTPRequestHandler, before: int) -> None:
    if before == 0:
      request.send_error(503)
    elif before == 1:
      _send(request, _BODY[:1000], length=len(_BODY))  # the connection ends early
    else:
      _send(request, _BODY)

  url, requests = serve(answer)
  fetch(url, tmp_path / "file", _MD5, len(_BODY), retries=2, pause=0.001)
  assert (tmp_path / "file").read_bytes() == _BODY
  assert len(requests) == 3


def test_retries_end(serve: Callable, tmp_path: Path) -> None:
  url, requests = serve(lambda request, _: _send(request, _BODY[:1000], length=len(_BODY)))
  with pytest.raises(ConnectionError, match=r"3 attempts.*1000 bytes read, 255000 more expected"):
    fetch(url, tmp_path / "file", _MD5, len(_BODY), retries=2, pause=0.001)
  assert len(requests) == 3
  assert _nothing_but(tmp_path)


def test_a_missing_file_is_asked_for_once(serve: Callable, tmp_path: Path) -> None:
  url, requests = serve(lambda request, _: request.send_error(404))
  with pytest.raises(ConnectionError, match=r"1 attempts\): 404 Client Error: Not Found"):
    fetch(url, tmp_path / "file", _MD5, len(_BODY))
  assert len(requests) == 1
  assert _nothing_but(tmp_path)


def test_a_silent_server_times_out(serve: Callable, tmp_path: Path) -> None:
  over = threading.Event()
  url, requests = serve(lambda request, _: over.wait(10) and None)
  with pytest.raises(ConnectionError, match=r"2 attempts.*timed out"):
    fetch(url, tmp_path / "file", _MD5, len(_BODY), retries=1, timeout=0.1, pause=0.001)
  over.set()
  assert len(requests) == 2
  assert _nothing_but(tmp_path)


def test_a_dead_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv("no_proxy", "*")
  server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
  server.server_close()
  url = f"http://127.0.0.1:{server.server_port}/file"
  with pytest.raises(ConnectionError, match=f"could not download {url} .3 attempts.*refused"):
    fetch(url, tmp_path / "file", _MD5, len(_BODY), retries=2, pause=0.001)
  assert _nothing_but(tmp_path)


def test_the_pause_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  pauses: list[float] = []
  monkeypatch.setattr("sidrec.data.sources.download.time.sleep", pauses.append)
  monkeypatch.setenv("no_proxy", "*")
  server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
  server.server_close()
  with pytest.raises(ConnectionError):
    fetch(f"http://127.0.0.1:{server.server_port}/", tmp_path / "f", _MD5, 9, retries=3, pause=2.0)
  assert pauses == [2, 4, 8]


def test_other_urls_are_refused(tmp_path: Path) -> None:
  (tmp_path / "source").write_bytes(_BODY)
  with pytest.raises(ValueError, match="only http and https"):
    fetch(f"file://{tmp_path}/source", tmp_path / "file", _MD5, len(_BODY))
