"""A server under load: requests a second and latency over HTTP, next to the search alone.

  python -m sidrec.bench.serve --workdir=runs/ml1m --json=serve.json
  python -m sidrec.bench.serve --workdir=runs/ml1m --json=serve.json --seconds=60

Starts `python -m sidrec.serving` on the run twice, with an empty and with a warm compilation cache,
and asks it by wrk (Debian: apt install wrk) on this machine: as fast as it goes, and at 70% of
that, and at 70% while the catalogue changes every two seconds (`serve_swaps`). Requests are the
histories of the run's own users, K = 10; a model that reads the request's time gets that of the
last event. The search alone answers the same requests in this process, in batches of every compiled
size. Reads /proc, so it needs Linux.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from sidrec.api import TrainedRun
from sidrec.api import load as load_run
from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.bench.serve_client import Load, NoWrkError, load, write_script
from sidrec.bench.serve_process import ServerProcess
from sidrec.bench.serve_swaps import Swapping, room_for
from sidrec.data.dataset import Items
from sidrec.parallel.hardware import hardware, num_cores
from sidrec.run.answers import wanted_of
from sidrec.search.questions import Question

# Three times the largest batch of a CPU: while one batch is searched, others are read and written.
CONNECTIONS = 48
SHARE = 0.7  # of the peak, at which latency is measured
USERS = 2048  # whose histories are asked with, at most
K = 10


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("workdir", None, "Folder of a finished run.", flag_values=values)
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_float("seconds", 60.0, "Of each load.", lower_bound=1.0, flag_values=values)
  flags.mark_flag_as_required("workdir", flag_values=values)


def measure(workdir: str, seconds: float) -> dict[str, Any]:
  """All figures, a flat dict.

  Raises:
    NoWrkError: if wrk is not installed.
    OSError, ValueError: as loading the run or starting the server does.
  """
  run = load_run(workdir)
  requests = requests_of(run)
  found: dict[str, Any] = {
    "hardware": hardware(),
    "cores": num_cores(),
    "users": run.dataset.histories.num_users,
    "items": run.dataset.items.num_items,
    "beams": run.search.beams,
    "k": K,
    "parameters": sum(x.size for x in _leaves(run.params)),
    **offline(run, requests),
  }
  with tempfile.TemporaryDirectory() as folder:
    found |= over_http(workdir, Path(folder), run.dataset.items, requests, seconds)
  found["throughput_of_offline"] = found["requests_per_s"] / found["offline_users_per_s"]
  found["cpu_of_engine"] = found["http_cpu_ms"] / found["engine_cpu_ms"]
  found["p99_of_p50_at_70_percent"] = found["p99_ms_at_70_percent"] / found["p50_ms_at_70_percent"]
  return found


def requests_of(run: TrainedRun) -> list[dict[str, Any]]:
  """What is asked: a request for each user, asked when the data set ends if that is read."""
  histories, common = run.dataset.histories, {"k": K}
  if run.model.config.inputs.asks:
    common["request_time"] = int(histories.time_T.max())
  return [{"user": user, **common} for user in histories.user_ids_U[:USERS].tolist()]


def _leaves(params: Any) -> list[Any]:
  import jax

  return jax.tree.leaves(params)


def offline(
  run: TrainedRun, requests: Sequence[dict[str, Any]], repeats: int = 5
) -> dict[str, Any]:
  """The search alone, in this process: users a second and CPU milliseconds for every batch size.

  The best of the batch sizes counts.
  """
  search, asker = run.bucket_search, run.asker
  questions = [
    asker.question(asker.of_user(user), wanted_of(options))[0]
    for user, options in ((x["user"], _without_user(x)) for x in requests)
  ]
  rates, cpu = {}, {}
  for size in search.batches:
    batches = [questions[at : at + size] for at in range(0, len(questions) - size + 1, size)]
    batches = batches[: max(1, 512 // size)]
    search.find(batches[0])  # compiles
    wall, used = min(_timed(search.find, batches) for _ in range(repeats))
    rates[size], cpu[size] = size * len(batches) / wall, 1e3 * used / (size * len(batches))
  best = max(rates, key=rates.__getitem__)
  return {
    "offline_users_per_s": rates[best],
    "offline_batch": best,
    "batching_gain": rates[best] / rates[min(rates)],
    "engine_cpu_ms": min(cpu.values()),
    "engine_cpu_ms_by_batch": {str(size): value for size, value in cpu.items()},
  }


def _timed(find: Any, batches: Sequence[Sequence[Question]]) -> tuple[float, float]:
  """Wall seconds, and CPU seconds of all threads."""
  wall, used = time.perf_counter(), time.process_time()
  for batch in batches:
    find(batch)
  return time.perf_counter() - wall, time.process_time() - used


def _without_user(request: dict[str, Any]) -> dict[str, Any]:
  return {name: value for name, value in request.items() if name != "user"}


def over_http(
  workdir: str,
  folder: Path,
  items: Items,
  requests: Sequence[dict[str, Any]],
  seconds: float,
) -> dict[str, Any]:
  """The server: its start, cold and warm, and its answers under load."""
  script = write_script(folder / "ask.lua", requests)
  cache, room = folder / "cache", room_for(items.num_items, seconds)
  with ServerProcess(workdir, folder / "first.sqlite", cache, room) as server:
    cold = server.cpu_seconds()
  with ServerProcess(workdir, folder / "second.sqlite", cache, room) as server:
    warm = server.cpu_seconds()
    load(server.url, script, CONNECTIONS, min(5.0, seconds))  # to warm up
    compiled, rss, used = server.compilations(), server.rss_mib(), server.cpu_seconds()
    peak = load(server.url, script, CONNECTIONS, seconds)
    cpu_ms = 1e3 * (server.cpu_seconds() - used) / peak.requests
    growth = server.rss_mib() - rss
    rest = rest_for(SHARE * peak.per_second, server.url, script, min(5.0, seconds))
    steady = load(server.url, script, CONNECTIONS, seconds, rest)
    under_load = server.compilations() - compiled
    with Swapping(server.url, items, requests) as swapping:
      swapped = load(server.url, script, CONNECTIONS, seconds, rest)
  return {
    "seconds": seconds,
    "connections": CONNECTIONS,
    "requests_per_s": peak.per_second,
    "p50_ms": peak.p50_ms,
    "p99_ms": peak.p99_ms,
    "http_cpu_ms": cpu_ms,
    "errors": peak.errors + steady.errors,
    "compilations_under_load": under_load,
    "rss_growth_mib": growth,
    "share_of_peak_asked": steady.per_second / peak.per_second,
    "p50_ms_at_70_percent": steady.p50_ms,
    "p99_ms_at_70_percent": steady.p99_ms,
    **of_swaps(swapping, swapped),
    "p99_with_swaps_of_without": swapped.p99_ms / steady.p99_ms,
    "room": room,
    "start_cpu_s_cold": cold,
    "start_cpu_s_warm": warm,
    "warm_of_cold_start": warm / cold,
  }


def of_swaps(swapping: Swapping, load: Load) -> dict[str, Any]:
  """What the load found while the catalogue changed."""
  return {
    "swaps": len(swapping.seconds),
    "swap_s": sum(swapping.seconds) / max(1, len(swapping.seconds)),
    "compilations_by_swaps": swapping.compiled,
    "requests_per_s_with_swaps": load.per_second,
    "p50_ms_with_swaps": load.p50_ms,
    "p99_ms_with_swaps": load.p99_ms,
    "errors_with_swaps": load.errors + len(swapping.errors),
    "first_error_with_swaps": next(iter(swapping.errors), ""),
    "answers_checked": len(swapping.answers),
    "answers_with_items_that_went": swapping.at_risk,
    "answers_with_gone_items": swapping.wrong,
  }


def rest_for(per_second: float, url: str, script: Path, seconds: float) -> float:
  """Seconds that each connection has to rest before a request, so that all ask at this rate.

  A request takes less time the fewer there are, so the rest is found by trying.
  """
  rest = CONNECTIONS / per_second
  for _ in range(3):
    found = load(url, script, CONNECTIONS, seconds, rest)
    rest = max(0.0, rest + CONNECTIONS / per_second - CONNECTIONS / found.per_second)
  return rest


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures, prints, and writes the file."""
  check_flags_alone(argv)
  if shutil.which("wrk") is None:
    sys.exit("sidrec: wrk is not installed; on Debian: apt install wrk")
  with one_sentence(NoWrkError):
    found = measure(values.workdir, values.seconds)
  for name, value in found.items():
    print(f"{name:28} {f'{value:.4g}' if isinstance(value, float) else value}")
  write_json(values.json, found)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
