"""Users who asked to be forgotten: out of every file of a run's folder.

A log without them is the start: the new generation never knew them. What is left is deleted here,
after it answers. Parameters that were learnt from their events hold no id of theirs; only a
training from zero makes parameters without their influence.
"""

import contextlib
import sqlite3
from collections.abc import Generator, Sequence
from pathlib import Path

from etils import epath

from sidrec.core.paths import as_path, is_local
from sidrec.run import generations as folders
from sidrec.run.config_file import PATHS
from sidrec.run.generations import Generation
from sidrec.run.given_data import FOLDER as GIVEN
from sidrec.run.seeds import seed_folder
from sidrec.run.settings import RunConfig

# Folders of runs within the run's, which read the same log.
RUNS_WITHIN = ("cold_start", "from_zero")
EVENTS = "serving/events.sqlite"  # of `sidrec.serving`


def read_users(path: str) -> tuple[str, ...]:
  """The ids in a file, one a line.

  Raises:
    FileNotFoundError: if there is none.
    ValueError: if it names nobody, or is no text.
  """
  try:
    lines = as_path(path).read_bytes().decode("utf-8-sig").splitlines()
  except UnicodeDecodeError:
    raise ValueError(f"{path} is no text in UTF-8; write a user's id on each line") from None
  users = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
  if not users:
    raise ValueError(f"{path} names nobody; write a user's id on each line")
  return users


def check_events(workdir: epath.Path) -> None:
  """Raises ValueError if a server holds the run's events, so that nothing can be deleted there."""
  with _events(workdir):
    pass


def forget(
  config: RunConfig, workdir: epath.Path, kept: Sequence[Generation], users: Sequence[str]
) -> list[str]:
  """Deletes all that may hold users whom the kept outputs do not know.

  Args:
    config: of the kept outputs.
    workdir: the run's folder, which this process has locked.
    kept: the outputs that stay, of all stages.
    users: original ids, as text.

  Returns:
    What was done, a sentence each.

  Raises:
    ValueError: if a server holds the run's events.
  """
  names = {generation.folder.name for generation in kept}
  gone = [g for g in folders.all_generations(workdir) if g.folder.name not in names]
  for generation in gone:
    folders.delete(generation)
  folders.unlink_dangling(workdir)
  said = [f"removed {len(gone)} older outputs of stages, which may hold the users to forget"]
  for name in RUNS_WITHIN:
    if (workdir / name).exists():
      (workdir / name).rmtree()
      said.append(f"removed {workdir / name}, which was made of the older log")
  drop_given(config, workdir)
  with _events(workdir) as database:
    if database is not None:
      said.append(f"removed {delete_events(database, users)} rows of them from {EVENTS}")
  said.append(
    "events in other stores of servers (--store=…) are not touched; delete them with python -m "
    "sidrec.serving.forget --store=… --forget_users=…"
  )
  others = [seed_folder(workdir, seed) for seed in range(config.seed, config.seed + 10)]
  others = [folder for folder in others if folder.exists()]
  if others:
    said.append(f"{others[0]} is another run of the log before; delete it, too")
  return said


def drop_given(config: RunConfig, workdir: epath.Path) -> None:
  """Deletes data that a program gave to earlier runs in this folder, where no setting names it."""
  folder = workdir / GIVEN
  if not is_local(workdir) or not folder.exists():
    return
  named = set()
  for section, settings in PATHS.items():
    for setting in settings:
      value = getattr(config, section)
      for part in setting.split("."):
        value = getattr(value, part)
      if value:
        named.add(Path(as_path(str(value))).resolve())
  for path in sorted(Path(folder).rglob("*"), reverse=True):
    if path.is_dir():
      with contextlib.suppress(OSError):  # it holds what is named
        path.rmdir()
    elif path.resolve() not in named:
      path.unlink()


@contextlib.contextmanager
def _events(workdir: epath.Path) -> Generator[sqlite3.Connection | None]:
  """The database of events, which nobody else has meanwhile; None if there is none."""
  path = workdir / EVENTS
  if not is_local(workdir) or not path.exists():
    yield None
    return
  with contextlib.closing(sqlite3.connect(Path(path), timeout=0, isolation_level=None)) as database:
    try:
      database.execute("PRAGMA locking_mode=EXCLUSIVE")
      database.execute("BEGIN EXCLUSIVE")
      database.execute("COMMIT")
    except sqlite3.OperationalError as error:
      raise ValueError(
        f"{path} holds events of users, and a server has it open ({error}); stop the server, and "
        "run the same command again"
      ) from None
    yield database


def delete_events(database: sqlite3.Connection, users: Sequence[str]) -> int:
  """Deletes users' rows from all tables, so that no byte of them stays; how many there were."""
  database.execute("PRAGMA secure_delete=ON")
  tables = [
    name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
  ]
  deleted = 0
  database.execute("BEGIN")
  for table in tables:
    columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
    if "user" in columns:
      made = database.executemany(
        f'DELETE FROM "{table}" WHERE user = ?', [(user,) for user in users]
      )
      deleted += made.rowcount
  database.execute("COMMIT")
  database.execute("VACUUM")
  database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
  return deleted
