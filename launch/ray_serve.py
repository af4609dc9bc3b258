#!/usr/bin/env python3
"""Several servers of one run behind one port, by Ray Serve.

  python launch/ray_serve.py --workdir=runs/shop --store='redis://db:6379/0?name=shop' \
    --min_replicas=2 --max_replicas=8 --port=8000 --compilation_cache=/shared/xla

All flags of `python -m sidrec.serving` but the explorer's hold for each replica, which has the
whole run, an engine that makes its own batches (Ray's are off), and the shared store. A change of
the catalogue reaches one replica, which writes it to the store; the others make it again from
there, within half a second and the time that it takes. Each answer names its version.

On a cluster (--address=auto) every node needs sidrec[serve,redis], ray[serve], the run, the token's
file and SIDREC_STORE_PASSWORD under the same names.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from sidrec.serving.__main__ import arguments, open_service, token_of
from sidrec.serving.redis_place import is_redis, parsed

NAME = "sidrec"


def own_arguments(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
  """The flags of this script, and those of the server.

  Raises:
    ValueError: for what several replicas cannot do.
  """
  parser = argparse.ArgumentParser(
    "ray_serve.py",
    description="Serves a run by Ray Serve; takes the flags of python -m sidrec.serving, too.",
  )
  parser.add_argument("--address", help="of a cluster of Ray; by default one on this machine alone")
  parser.add_argument("--min_replicas", type=int, default=1)
  parser.add_argument("--max_replicas", type=int, help="by default as --min_replicas")
  parser.add_argument("--target", type=float, default=16, help="requests under way in a replica")
  parser.add_argument("--cpus", type=float, default=1, help="of each replica")
  parser.add_argument("--gpus", type=float, default=0, help="of each replica")
  mine, rest = parser.parse_known_args(argv)
  server = arguments(rest)
  mine.max_replicas = mine.max_replicas or mine.min_replicas
  if not 1 <= mine.min_replicas <= mine.max_replicas:
    raise ValueError(f"--min_replicas={mine.min_replicas} is not from 1 to --max_replicas")
  if not server.store or not is_redis(server.store):
    raise ValueError(
      "replicas share events and changes in Redis; give --store=redis://host:port/db"
    )
  if "@" in server.store and parsed(server.store).password:
    raise ValueError("Ray shows flags to who sees its cluster; give SIDREC_STORE_PASSWORD instead")
  if server.explore or server.explorer:
    raise ValueError("replicas show no explorer; start python -m sidrec.serving --explore")
  token_of(server)
  return mine, rest


class Replica:
  """One server; Ray makes it in a process of its own."""

  def __init__(self, flags: list[str]):
    """Loads the run, and compiles everything: requests come when this returns."""
    server = arguments(flags)
    self._token, (_, self._service) = token_of(server), open_service(server)
    self._service.start()

  def __serve_build_asgi_app__(self) -> Any:
    """What Ray passes requests to."""
    from sidrec.serving.app import make_app

    return make_app(self._service, self._token)

  def __del__(self):
    """Answers what waits."""
    if hasattr(self, "_service"):
      self._service.stop()


def deployment(mine: argparse.Namespace, flags: list[str]) -> Any:
  """The application for `serve.run`."""
  from ray import serve

  waiting = arguments(flags).max_waiting
  deployed = serve.deployment(
    name=NAME,
    ray_actor_options={"num_cpus": mine.cpus, "num_gpus": mine.gpus},
    autoscaling_config={
      "min_replicas": mine.min_replicas,
      "initial_replicas": mine.min_replicas,
      "max_replicas": mine.max_replicas,
      "target_ongoing_requests": mine.target,
    },
    max_ongoing_requests=waiting,
    max_queued_requests=waiting,  # of each proxy; more get 503
  )(serve.ingress()(Replica))
  return deployed.bind(flags)


def set_at_signal(stopped: threading.Event) -> None:
  """Sets the event when the process is asked to end."""
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopped.set())


def main(argv: Sequence[str] | None = None) -> int:
  """Serves until a signal; what is wrong ends with one sentence."""
  try:
    mine, flags = own_arguments(argv)
    try:
      import ray
      from ray import serve
    except ModuleNotFoundError as error:
      raise ImportError(f"{error}; install it with pip install 'sidrec[ray]'") from error
  except (ValueError, OSError, ImportError) as error:
    print(f"sidrec: {error}", file=sys.stderr)
    return 1
  stopped = threading.Event()
  set_at_signal(stopped)
  where, local = arguments(flags), mine.address is None
  try:
    ray.init(address=mine.address, include_dashboard=False if local else None)
    set_at_signal(stopped)  # again, for Ray's own handler of SIGTERM aborts after three seconds
    serve.start(http_options={"host": where.host, "port": where.port})
    serve.run(deployment(mine, flags), name=NAME, route_prefix="/")
    print(f"{mine.min_replicas} replicas serve on http://{where.host}:{where.port}", flush=True)
    stopped.wait()
  except Exception as error:  # Ray's have no class of their own; a replica's words are among them
    print(f"sidrec: Ray does not serve the run: {error}", file=sys.stderr)
    return 1
  finally:
    if ray.is_initialized():
      serve.delete(NAME)  # when replicas have answered what they accepted
      if local:
        serve.shutdown()
        ray.shutdown()
  return 0


if __name__ == "__main__":
  sys.exit(main())
