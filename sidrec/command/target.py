"""What a command works on: a shipped config, a config file, or the folder of a run."""

from pathlib import Path

from sidrec import shipped_configs, stored_config
from sidrec.core.paths import as_path
from sidrec.run.generations import STAGES

_LOCAL = Path("configs")  # a config of this name in the current folder stands before a shipped one


def flags_of(target: str) -> list[str]:
  """The flags of `sidrec.main` that name a target.

  Args:
    target: 'demo', 'demo:tiny', 'my/config.py:variant' or 'runs/demo'.

  Raises:
    ValueError: for what is none of them, or two of them.
    FileNotFoundError: for a config file that is not there, or a folder without a run.
  """
  path, colon, variant = target.partition(":")
  if path.endswith(".py"):
    if not as_path(path).is_file():
      raise FileNotFoundError(f"there is no config file {path}")
    return [f"--config={target}"]
  config = _config_file(path)
  if config is None:
    return [f"--config={config_of_run(target)}", f"--workdir={target}"]
  if _is_run(target):
    raise ValueError(
      f"'{target}' is a config and the folder of a run; write ./{target} for the run"
    )
  return [f"--config={config}{colon}{variant}"]


def config_of_run(folder: str) -> str:
  """A config that gives the settings that the run in a folder was built with.

  Raises:
    ValueError, FileNotFoundError: if there is no run.
  """
  if _is_run(folder):
    return f"{stored_config.__file__}:{folder}"
  if as_path(folder).is_dir():
    raise FileNotFoundError(f"{folder} holds no run; give a config, too, to start one there")
  known = ", ".join(shipped_configs.names())
  raise ValueError(f"'{folder}' is no config and no folder of a run; there are the configs {known}")


def _is_run(folder: str) -> bool:
  return bool(folder) and (as_path(folder) / STAGES).is_dir()


def _config_file(name: str) -> Path | None:
  """The file of a config that is called so; None if there is none."""
  if not name or "/" in name or name.startswith("."):
    return None
  files = (folder / f"{name}.py" for folder in (_LOCAL, shipped_configs.FOLDER))
  return next((file for file in files if file.is_file()), None)
