"""A real redis-server in a folder of its own, which can be killed and started again."""

import shutil
import subprocess
import time

import pytest
import redis
from processes import free_address

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


class RedisServer:
  """A server on a free port of this machine, with an append-only file that is synced always."""

  def __init__(self, folder, **settings):
    if shutil.which("redis-server") is None:
      pytest.skip("redis-server is not installed")
    self.folder, self.address = folder, free_address()
    self.settings = {**DURABLE, "save": "", **settings}
    self.password = self.settings.get("requirepass")
    self.start()

  @property
  def url(self):
    return f"redis://{self.address}/0"

  def start(self, folder=None):
    host, port = self.address.split(":")
    flags = [
      f"--{part}" if at == 0 else part for s in self.settings.items() for at, part in enumerate(s)
    ]
    self.process = subprocess.Popen(
      [
        "redis-server",
        "--port",
        port,
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder or self.folder),
        *flags,
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    self.client = redis.Redis(host, int(port), password=self.password, decode_responses=True)
    for _ in range(500):
      try:
        self.client.ping()
        return
      except redis.exceptions.ConnectionError:  # or it still loads its file
        time.sleep(0.01)
    raise AssertionError(f"redis-server does not start: {self.process.communicate()[0]}")

  def kill(self):
    self.client.close()
    self.process.kill()
    self.process.communicate()
