"""What a server changes of its process, while it serves and no longer."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from sidrec.serving import __main__ as door
from sidrec.serving import app, server


def test_threads_take_turns_often_and_garbage_is_not_looked_for_in_what_stays(monkeypatch):
  service, seen = SimpleNamespace(before_ready=[], stop=lambda: None), {}

  class Server:
    def __init__(self, *given):
      self.started = True

    async def serve(self):
      seen["before"] = gc.get_freeze_count()
      for prepare in service.before_ready:
        prepare()
      seen["kept"], seen["turn"] = gc.get_freeze_count(), sys.getswitchinterval()

    async def result(self):
      pass

  monkeypatch.setattr(door, "open_service", lambda args: (None, service))
  monkeypatch.setattr(server, "Server", Server)
  monkeypatch.setattr(app, "make_app", lambda *given: None)
  usual = sys.getswitchinterval()
  with ThreadPoolExecutor(1) as pool:  # the browser of other tests may have a loop in this thread
    pool.submit(door.serve, door.arguments(["--workdir=runs/none", "--explorer=false"])).result()
  assert seen["turn"] < usual / 5
  assert seen["kept"] > seen["before"] + 10_000
  assert sys.getswitchinterval() == usual
  assert gc.get_freeze_count() == 0
