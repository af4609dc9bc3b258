"""Damage to a checkpoint's files, as a failing disk or a cut copy does it."""

from pathlib import Path


def largest_file(folder: Path) -> Path:
  """The file with the arrays, whose contents Orbax itself does not check."""
  return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit(path: Path) -> None:
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 16
  path.write_bytes(content)


def cut(path: Path) -> None:
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def hide(path: Path) -> None:
  """Lets reading fail with an OSError, for root too: a link that leads to itself."""
  path.rename(path.with_name("hidden"))
  path.symlink_to(path.name)


def bring_back(path: Path) -> None:
  path.unlink()
  path.with_name("hidden").rename(path)
