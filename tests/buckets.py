"""Buckets on loopback: emulators of Google's and Amazon's object stores (extra remote-test)."""

import contextlib
import os
import socket
import urllib.request
from collections.abc import Iterator
from unittest import mock

import pytest

BUCKET = "shop"


def _free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


@contextlib.contextmanager
def google() -> Iterator[str]:
  """An empty bucket gs://…; the environment points at it, for this process and its children."""
  pytest.importorskip("gcsfs")
  server = pytest.importorskip("gcp_storage_emulator.server")
  port = _free_port()
  emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
  address = f"http://127.0.0.1:{port}"
  with emulator, _environment(STORAGE_EMULATOR_HOST=address, TENSORSTORE_GCS_HTTP_URL=address):
    yield f"gs://{BUCKET}"


@contextlib.contextmanager
def amazon() -> Iterator[str]:
  """An empty bucket s3://…, as `google`."""
  pytest.importorskip("s3fs")
  server = pytest.importorskip("moto.server")
  emulator = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
  emulator.start()
  host, port = emulator.get_host_and_port()
  keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
  try:
    with _environment(AWS_ENDPOINT_URL=f"http://{host}:{port}", AWS_REGION="us-east-1", **keys):
      import fsspec

      # The emulator's state belongs to this process.
      urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", b""))
      fsspec.filesystem("s3").mkdir(BUCKET)
      yield f"s3://{BUCKET}"
  finally:
    emulator.stop()


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
  """Sets the variables; file systems made before or in between are forgotten."""
  with mock.patch.dict(os.environ, variables):
    _forget_file_systems()
    yield
  _forget_file_systems()


def _forget_file_systems() -> None:
  from etils.epath import backend

  for protocol in ("gs", "s3"):
    with contextlib.suppress(ImportError):
      import fsspec

      fsspec.get_filesystem_class(protocol).clear_instance_cache()
  backend.fsspec_backend._get_filesystem.cache_clear()
