"""TensorBoard's event files."""

import os
import struct
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from sidrec.core.growing import GrowingFile
from sidrec.tracking.points import plain


class Events:
  """TensorBoard's file of one training, without the name of the host."""

  def __init__(self, folder: epath.Path, start_step: int):
    """Makes the file; older points after `start_step` are void, because those steps run again."""
    # Imported here: tensorboardX takes a second, for it loads what reads buckets.
    from tensorboardX import record_writer, summary
    from tensorboardX.proto import event_pb2

    generated: Any = event_pb2  # its classes are made at run time, unseen by type checkers
    self._event, self._summary = generated.Event, summary.scalar
    self._checksum = record_writer.masked_crc32c
    # Event files are named by the second; a quick restart must not overwrite one.
    name = f"events.out.tfevents.{time.time():.0f}.{os.getpid()}.{start_step}"
    self._file = GrowingFile(folder / name)
    self._add(file_version="brain.Event:2")
    restart = generated.SessionLog(status=generated.SessionLog.START)
    self._add(step=start_step + 1, session_log=restart)

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Adds one point for each name."""
    for name, x in values.items():
      self._add(step=step, summary=self._summary(plain(name), x))
    self._file.flush()

  def close(self) -> None:
    """Writes what is left."""
    self._file.close()

  def _add(self, **fields: Any) -> None:
    data = self._event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", self._checksum(part)) for part in (length, data)]
    self._file.write(length + checks[0] + data + checks[1])


def events(folder: epath.Path, training: str, start_step: int, logged: int) -> Events:
  """The event file of a training, in `folder/tensorboard/<training>`."""
  del logged
  return Events(folder / "tensorboard" / training, start_step)
