"""Every test sees eight virtual CPU devices and may not rely on rank promotion."""

import gc
import importlib.metadata
import os
import tempfile
from pathlib import Path

# Tests compile much and compute little, also in the processes that some of them start: most
# optimisations are off, XLA's older emitters take half the time of those that compile fusions, a
# program that is not cut up for several threads takes an eighth less, and what was compiled once
# is not compiled again. Each worker of pytest has a cache of its own,
# because JAX does not write its files atomically.
compiled = tempfile.TemporaryDirectory(prefix="sidrec-compiled-", ignore_cleanup_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if importlib.metadata.version("jaxlib").split(".")[:2] == ["0", "10"]:
  # Later ones may not know the flags, and an unknown flag ends the process.
  for flag in ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '').replace(flag, '')} {flag}"
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
  # The processes that tests start would compile all modules anew, five seconds for each.
  os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(compiled.name, "modules")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import hypothesis  # noqa: E402
import jax  # noqa: E402 - reads the environment
import pytest  # noqa: E402

# No test fails because a machine was busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

jax.config.update("jax_numpy_rank_promotion", "raise")
# Tracing makes many objects that stay; looking for garbage less often takes a tenth less time.
gc.set_threshold(100_000, 50, 100)


# Linux allows a process 65,530, and compiled programs hold several each. So many take up to 7 GiB.
MOST_MAPS = 20_000


@pytest.fixture(autouse=True, scope="module")
def few_programs():
  """Forgets compiled programs before there are too many for one process."""
  yield
  maps = Path("/proc/self/maps")
  if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
    jax.clear_caches()


def pytest_collection_modifyitems(items):
  """The file that takes longest comes first, so that no worker is left alone with it at the end."""
  items.sort(key=lambda item: item.path.name != "test_readme.py")


def pytest_unconfigure():
  compiled.cleanup()
