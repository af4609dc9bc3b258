"""A cluster forms as configured, or every process ends with one message; none runs alone."""

import os
import signal
import socket
import threading
import time

import pytest
from processes import environment, free_address, together

from sidrec.parallel import hosts, preemption

START = "import sys; from sidrec.parallel import hosts as d; d.start(*eval(sys.argv[1]), 3, 60); {}"


def test_a_cluster_that_cannot_form_ends_with_a_sentence():
  """Alone as the primary host, alone as another one, and with a port that is taken."""
  address = free_address()
  with socket.socket(socket.AF_INET6) as taken:
    taken.bind(("::", 0))
    taken.listen()
    arguments = [(address, 2, 0), (free_address(), 2, 1)]
    arguments.append((f"localhost:{taken.getsockname()[1]}", 2, 0))
    print_it = START.format("print('running')")
    ended = together([["-c", print_it, repr(x)] for x in arguments], environment(1))
  for x in ended:
    assert x.status == 1
    assert "running" not in x.stdout
    assert "Traceback" not in x.stderr
    assert len([line for line in x.stderr.splitlines() if line.startswith("sidrec: ")]) == 1
  assert f"process 0 of 2 waited 3 seconds for the others at {address}" in ended[0].stderr
  assert "process 1 of 2 waited 3 seconds" in ended[1].stderr
  assert "process 0 cannot listen at port" in ended[2].stderr


@pytest.mark.parametrize("failing", [0, 1])
def test_one_failure_ends_all(failing, tmp_path):
  """What the primary host makes reaches all; so does its failure, while the others wait."""
  script = f"""
import sys, time
from pathlib import Path
from sidrec.parallel import hosts as d
d.start(*eval(sys.argv[1]), 200, 60)
d.check_shared(Path({str(tmp_path)!r}))
me = eval(sys.argv[1])[2]
print(d.from_primary(lambda: ["said by", me]))
print(d.from_primary(lambda: ["said by", me]), me, file=sys.stderr)
if me == {failing}:
  d.end("sidrec: the disk is full", 3)
d.from_primary(lambda: time.sleep(100))
"""
  address = free_address()
  commands = [["-c", script, repr((address, 2, i))] for i in range(2)]
  ended = together(commands, environment(1))
  assert [x.status for x in ended] == [3, 3]
  for i, x in enumerate(ended):
    assert f"['said by', 0] {i}" in x.stderr
    assert x.stderr.count("sidrec: the disk is full") == 1
  assert "said by" in ended[0].stdout
  assert "said by" not in ended[1].stdout  # the primary host alone prints
  assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_shared_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(hosts, "is_alone", lambda: False)
  monkeypatch.setattr(hosts, "from_primary", lambda make: "written-elsewhere")
  monkeypatch.setattr(hosts.time, "sleep", lambda seconds: None)
  with pytest.raises(OSError, match=r"does not see in .* must name a folder .* share"):
    hosts.check_shared(tmp_path)


def test_flags_are_parsed_without_touching_a_device():
  script = """
import sys
import jax
from sidrec import flags, main
# What takes seconds to import is imported where it is used.
assert not {"sklearn", "tensorboardX", "boto3", "pandas", "tensorflow"} & sys.modules.keys()
sys.argv = ["main", "--config=configs/demo.py:tiny", "--config.train.steps=7", "--k=3"]
flags.parse(sys.argv)
assert flags.config().train.steps == 7 and flags.request().count == 3
assert str(flags.workdir()) == "runs/demo-tiny"
from sidrec.parallel import hosts
hosts.start(**flags.cluster())
jax.config.update("jax_num_cpu_devices", 3)  # JAX refuses this once a device was touched
assert jax.device_count() == 3
"""
  (ended,) = together([["-c", script]], environment(1))
  assert ended.status == 0, ended.stderr


@pytest.fixture
def handled(monkeypatch):
  """Signals are handled; gives the clock, to which two seconds are added by hand."""
  before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
  now = [time.monotonic()]
  monkeypatch.setattr(preemption.time, "monotonic", lambda: now[0])
  monkeypatch.setattr(preemption._State, "last", float("-inf"))
  preemption.handle_signals(lambda sentence, status: None)
  yield now
  signal.set_wakeup_fd(-1)
  for number, handler in before.items():
    signal.signal(number, handler)


def test_a_signal_ends_what_is_not_training(handled):
  with pytest.raises(preemption.Stopped, match="stopped by SIGTERM") as stopped:
    os.kill(os.getpid(), signal.SIGTERM)
  assert stopped.value.status == 143
  os.kill(os.getpid(), signal.SIGTERM)  # the same wish, by another way
  handled[0] += 2
  with pytest.raises(preemption.Stopped):
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_a_wait_in_which_python_does_not_run():
  """Such as for a device or for a compilation; here, for a lock of the C library's."""
  script = """
import ctypes, os, signal, threading
from sidrec.parallel import hosts, preemption
preemption.handle_signals(hosts.end)
threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
library, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
library.pthread_mutex_lock(lock)
library.pthread_mutex_lock(lock)
"""
  (ended,) = together([["-c", script]], environment(1), timeout=200)
  assert (ended.status, ended.stderr) == (143, "sidrec: stopped by SIGTERM\n")


def signalled_in_training(clock, *signals):
  """Training that notes the first signal; a later one does not let it come to its end."""
  with preemption.while_training() as asked:
    assert asked() == 0
    for number in signals:
      clock[0] += 2
      os.kill(os.getpid(), number)
      assert asked() == signals[0]
      os.kill(os.getpid(), number)
      assert asked() == signals[0]
    return len(signals)


def test_training_is_asked_once_and_then_ended(handled):
  with pytest.raises(preemption.Stopped, match="SIGINT"):
    signalled_in_training(handled, signal.SIGTERM, signal.SIGINT)
  # What training did not take notice of counts at its end; the next one starts clean.
  with pytest.raises(preemption.Stopped, match="SIGTERM"):
    signalled_in_training(handled, signal.SIGTERM)
  assert signalled_in_training(handled) == 0


def test_only_the_main_thread_is_needed():
  """Where no handler can be set, as in a thread of a notebook, training still runs."""
  seen = []

  def run():
    with preemption.while_training() as asked:
      seen.append(asked())

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert seen == [0]
