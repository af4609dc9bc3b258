"""Plots of `growth`: cost by the size of random catalogues, quality by cost of trained runs."""

from collections.abc import Sequence
from typing import Any

from etils import epath

_OF_SIZES = {
  "sidrec": "sidrec: beam search over semantic IDs",
  "exact": "exact: matmul and top_k (JAX)",
  "flat": "exact: FAISS flat",
  "hnsw": "approximate: FAISS HNSW",
}
_OF_RUNS = {
  "sidrec": "sidrec",
  "exact": "SASRec, exact",
  "flat": "SASRec, FAISS flat",
  "hnsw": "SASRec, FAISS HNSW",
  "ivfpq": "SASRec, FAISS IVF-PQ",
}


def plot_sizes(measured: dict[str, Any], items: Sequence[int], path: epath.Path) -> None:
  """Draws milliseconds a user and memory over the size of the catalogue."""
  plt = _pyplot()
  figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
  for axis, kind, title in zip(
    axes, ("ms_per_user", "mib"), ("milliseconds a user, top-10", "MiB of the index"), strict=True
  ):
    for name, label in _OF_SIZES.items():
      at = [count for count in items if f"{name}_{kind}_n{count}" in measured]
      if at:
        axis.plot(at, [measured[f"{name}_{kind}_n{count}"] for count in at], "o-", label=label)
    axis.set(xscale="log", yscale="log", xlabel="items", title=title)
  _save(plt, figure, axes, path)


def plot_runs(measured: dict[str, Any], path: epath.Path) -> None:
  """Draws the share of the oracle's NDCG@10 over the time and the memory of each method."""
  plt = _pyplot()
  figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
  items = sorted(value for name, value in measured.items() if name.startswith("items_n"))
  for name, label in _OF_RUNS.items():
    at = [count for count in items if f"{name}_share_n{count}" in measured]
    if not at:
      continue
    share = [100 * measured[f"{name}_share_n{count}"] for count in at]
    ms = [1e3 / measured[f"{name}_users_per_s_n{count}"] for count in at]
    num_bytes = [measured[f"{name}_bytes_per_item_n{count}"] for count in at]
    for axis, cost in zip(axes, (ms, num_bytes), strict=True):
      axis.plot(cost, share, "o-", label=label)
      for count, x, y in zip(at, cost, share, strict=True):
        axis.annotate(
          f"{count:.0e}".replace("e+0", "e"),
          (x, y),
          fontsize=7,
          xytext=(4, 3),
          textcoords="offset points",
        )
  axes[0].set(xlabel="milliseconds a user, top-10", ylabel="% of the oracle's NDCG@10")
  axes[1].set(xlabel="bytes an item")
  for axis in axes:
    axis.set(xscale="log")
  _save(plt, figure, axes, path)


def _pyplot() -> Any:
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  return plt


def _save(plt: Any, figure: Any, axes: Any, path: epath.Path) -> None:
  for axis in axes:
    axis.grid(alpha=0.3)
  axes[0].legend(fontsize=8)
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)
