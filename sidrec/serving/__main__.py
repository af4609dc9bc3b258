"""python -m sidrec.serving --workdir=runs/shop: serves a trained run over HTTP."""

import argparse
import asyncio
import dataclasses
import gc
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

from sidrec.api import TrainedRun, load
from sidrec.cold_start.frozen_ids import FrozenIDs
from sidrec.core.paths import as_path
from sidrec.plugins import load_plugins
from sidrec.run.settings import ServingConfig
from sidrec.serving.open_store import open_store
from sidrec.serving.service import Service
from sidrec.serving.settings import Limits
from sidrec.serving.store_sqlite import SQLiteStore
from sidrec.training.profile import enable_compilation_cache

_SHORTEST_TOKEN = 16
# Seconds for which a thread of Python goes on while others wait: a tenth of Python's default,
# because answers wait behind a change of the catalogue that is prepared.
_SWITCH_SECONDS = 5e-4


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser("sidrec.serving", description="Serves a trained run over HTTP.")
  parser.add_argument("--workdir", required=True, help="folder of the run")
  parser.add_argument("--host", default="127.0.0.1", help="other than this machine: needs a token")
  parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
  parser.add_argument("--token_file", help="file of the token that every request must bring")
  parser.add_argument(
    "--store", help="file of events, or redis://host:port/db; default WORKDIR/serving/events.sqlite"
  )
  parser.add_argument("--compilation_cache", help="folder where later starts find what is compiled")
  parser.add_argument(
    "--plugin", action="append", default=[], help="file that registers parts of yours"
  )
  parser.add_argument(
    "--explorer",
    type=_flag,
    help="whether there is a page at / that shows codes and searches; on this machine by default",
  )
  parser.add_argument(
    "--explore", action="store_true", help="the explorer, read only: no events, nothing withdrawn"
  )
  parser.add_argument("--max_waiting", type=int, default=Limits.waiting, help="requests that wait")
  parser.add_argument("--room", type=int, help="new items before a compilation; default 256 or 5%%")
  parser.add_argument(
    "--new_items", help="how they are ranked: similarity, or model; as the run says"
  )
  parser.add_argument(
    "--new_share", type=float, help="p that the next item is new; as the run says"
  )
  parser.add_argument(
    "--largest_batch", type=int, help="requests searched together; default 16 on a CPU, else 128"
  )
  return parser.parse_args(argv)


def _flag(text: str) -> bool:
  """true or false, of the command line."""
  if text.lower() not in ("true", "false"):
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
  return text.lower() == "true"


def read_token(path: str) -> str:
  """The token in a file.

  Raises:
    ValueError: if there is none, or it is too short to be one.
  """
  token = as_path(path).read_text(encoding="utf-8").strip()
  if len(token) < _SHORTEST_TOKEN or not token.isascii() or any(c.isspace() for c in token):
    raise ValueError(
      f"{path} holds no token; write one of at least {_SHORTEST_TOKEN} letters and digits"
    )
  return token


def is_loopback(host: str) -> bool:
  """Whether only this machine can reach it."""
  try:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def token_of(args: argparse.Namespace) -> str | None:
  """The token that requests must bring, if any.

  Raises:
    ValueError: if there has to be one and is none.
  """
  token = read_token(args.token_file) if args.token_file else None
  if token is None and not is_loopback(args.host):
    raise ValueError(f"--host={args.host} can be reached from elsewhere; give --token_file, too")
  return token


def serving_of(args: argparse.Namespace, run: TrainedRun) -> ServingConfig:
  """The run's settings with those of the command line.

  Raises:
    ValueError: for one that makes no sense.
  """
  names = ("new_items", "new_share", "largest_batch")
  given = {name: value for name in names if (value := getattr(args, name)) is not None}
  return dataclasses.replace(run.config.serving, **given)


def open_service(args: argparse.Namespace) -> tuple[TrainedRun, Service]:
  """Loads the run and opens its store: what serves, which is not started yet.

  Raises:
    ValueError, OSError, ImportError: with one sentence for what is wrong.
  """
  if args.max_waiting < 1:
    raise ValueError(f"--max_waiting={args.max_waiting}; give at least 1")
  if args.explore and (args.explorer is False or args.store):
    raise ValueError("--explore shows the explorer and keeps no events; leave the other flag out")
  if args.room is not None and args.room < 0:
    raise ValueError(f"--room={args.room}; give 0 or more")
  if args.compilation_cache:
    enable_compilation_cache(args.compilation_cache)
  load_plugins(args.plugin)
  run = load(args.workdir)
  store = SQLiteStore(Path(":memory:")) if args.explore else open_store(args.workdir, args.store)
  assert run.chain is not None
  new_ids = FrozenIDs(run.config, run.chain)
  history = max(Limits.history, run.model.config.known_length)
  limits = Limits(waiting=args.max_waiting, history=history)
  return run, Service(run, store, limits, new_ids, args.room, serving_of(args, run))


def serve(args: argparse.Namespace) -> None:
  """Serves until a signal.

  Raises:
    ValueError, OSError, ImportError: with one sentence for what is wrong.
  """
  try:
    from sidrec.serving.app import make_app
    from sidrec.serving.explore import Explorer, extras_of
    from sidrec.serving.server import Server, new_event_loop
  except ModuleNotFoundError as error:
    raise ImportError(f"{error}; install the server with pip install 'sidrec[serve]'") from error
  token = token_of(args)
  shows = args.explore or (is_loopback(args.host) if args.explorer is None else args.explorer)
  run, service = open_service(args)
  explorer = None
  if shows:
    explorer = Explorer(service, extras_of(run, args.workdir), read_only=args.explore)
  server = Server(make_app(service, token, explorer), service, args.host, args.port)

  async def until_stopped() -> None:
    await server.serve()
    await server.result()

  usual = sys.getswitchinterval()
  sys.setswitchinterval(_SWITCH_SECONDS)
  service.before_ready.append(keep_what_is_there)
  try:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
      runner.run(until_stopped())
  finally:
    service.stop()
    sys.setswitchinterval(usual)
    gc.unfreeze()
  if not server.started:
    raise OSError(f"cannot listen on {args.host}:{args.port}")


def keep_what_is_there() -> None:
  """Spares Python from looking for garbage in what a start has made, which stays.

  It would stop all answers, each time for longer than most of them take: on MovieLens-1M, without
  this, the slowest hundredth took 4.6 times as long as the median, and 1.7 times with it.
  """
  gc.collect()
  gc.freeze()


def explore(workdir: str, *, port: int = 8000, compilation_cache: str | None = None) -> None:
  """Shows the explorer of a run on this machine until a signal, read only.

  Args:
    workdir: folder of the run.
    port: where the server listens; 0 for any that is free.
    compilation_cache: folder where later starts find what is compiled.

  Raises:
    ValueError, OSError, ImportError: with one sentence for what is wrong.
  """
  argv = [f"--workdir={workdir}", f"--port={port}", "--explore"]
  if compilation_cache:
    argv.append(f"--compilation_cache={compilation_cache}")
  serve(arguments(argv))


def main(argv: Sequence[str] | None = None) -> int:
  """Serves; what is wrong ends with one sentence."""
  try:
    serve(arguments(argv))
  except (ValueError, OSError, ImportError) as error:
    print(f"sidrec: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
