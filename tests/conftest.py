"""Every test sees eight virtual CPU devices and may not rely on rank promotion."""

import os
import tempfile

# Tests compile much and compute little, also in the processes that some of them start.
# A program that was compiled once in this session is not compiled again.
COMPILE_FAST = {
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false",
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit all this
  os.environ.update(COMPILE_FAST)
  folder = tempfile.TemporaryDirectory(prefix="sidrec-compiled-", ignore_cleanup_errors=True)
  os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name

import jax  # noqa: E402 - reads the environment

jax.config.update("jax_numpy_rank_promotion", "raise")
