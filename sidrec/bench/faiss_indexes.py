"""FAISS's indexes by inner product, as the benchmarks ask them. Needs the extra 'bench'."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LINKS = 32  # HNSW: neighbours of a vector
EXPLORED = 64  # HNSW: candidates that a search keeps
LISTS = 4  # IVF: times √N lists, as FAISS's guidelines have it
PROBED = 16  # IVF: lists that a search reads
PART = 4  # PQ: numbers of a vector that share a byte
TRAINED = 128  # IVF-PQ: vectors a list that it learns from, at most


def flat_and_hnsw(items: int, width: int, hnsw_items: int) -> Iterator[tuple[str, Any]]:
  """Names and empty indexes: flat, and HNSW for at most `hnsw_items`.

  Raises:
    ImportError: if FAISS is not installed.
  """
  faiss = imported()
  yield "flat", faiss.IndexFlatIP(width)
  if items <= hnsw_items:
    index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = EXPLORED
    yield "hnsw", index


def ivf_pq(items: int, width: int) -> tuple[Any, int]:
  """An empty IVF-PQ of a byte for PART numbers, and how many vectors it is to be trained on.

  Raises:
    ImportError: if FAISS is not installed.
  """
  faiss = imported()
  lists = max(1, round(LISTS * math.sqrt(items)))
  # A list learns from 39 vectors at least, or FAISS complains.
  lists = min(lists, max(1, items // 39))
  index = faiss.index_factory(width, f"IVF{lists},PQ{width // PART}", faiss.METRIC_INNER_PRODUCT)
  index.nprobe = min(PROBED, lists)
  return index, min(items, max(TRAINED * lists, TRAINED * 256))


def installed(say: Callable[[str], None]) -> bool:
  """Whether there is FAISS; says what is left out without it."""
  try:
    imported()
  except ImportError:
    say("FAISS is not installed, so that its indexes are left out: pip install 'sidrec[bench]'")
    return False
  return True


def imported() -> Any:
  """FAISS, set up to be fast here; raises ImportError if it is not installed."""
  _wake_openblas()
  import faiss

  # Products of a whole batch: five times as fast here as one user after another, its default.
  faiss.cvar.distance_compute_blas_threshold = 0
  faiss.cvar.distance_compute_blas_database_bs = 4096
  return faiss


def _wake_openblas() -> None:
  """Names the processor to FAISS's OpenBLAS, which takes those newer than itself for a Pentium."""
  cpuinfo = Path("/proc/cpuinfo")
  features = cpuinfo.read_text().split() if cpuinfo.exists() else []
  for feature, core in (("avx512f", "SkylakeX"), ("avx2", "Haswell")):
    if feature in features:
      os.environ.setdefault("OPENBLAS_CORETYPE", core)
      return


def index_bytes(index: Any) -> int:
  """Bytes of vectors or their codes and, for HNSW, links; with lists, of centres and ids, too."""
  if hasattr(index, "nlist"):
    centres = 4 * index.d * (index.nlist + index.pq.ksub)
    return index.ntotal * (index.pq.code_size + 8) + centres
  size = index.ntotal * index.d * 4
  if hasattr(index, "hnsw"):
    size += 4 * index.hnsw.neighbors.size() + 8 * index.hnsw.offsets.size()
  return size
