"""A map of the item vectors in two dimensions, coloured by first code.

Here X stands for the two axes.
"""

import contextlib

import numpy as np
from etils import epath

from sidrec.core.atomic import write_whole
from sidrec.core.readers import read_npz
from sidrec.report.charts.scatter import Cloud, scatter
from sidrec.report.finished import FinishedRun, id_text, title_of
from sidrec.report.html import Html, figure, paragraph, section
from sidrec.report.layout import NEAREST, places_of
from sidrec.run.load import item_vectors_of

CACHE = "report_map.npz"  # in the run's folder
FITTED, SHOWN = 5_000, 20_000  # items that the map is made of, and that are put on it
_NAMED, _FEWEST = 14, 10  # first codes whose numbers stand on the map; items that t-SNE needs
_VERSION = 1  # of what is computed here


def item_map(run: FinishedRun) -> Html:
  """The map; a sentence where there are too few items."""
  rows_R, place_RxX = places(run)
  if not len(rows_R):
    return section(
      "Map of the items",
      paragraph("The catalogue is too small for a map, or its vectors are all equal."),
    )
  first_R = run.ids.codes[rows_R, 0]
  codes, counts = np.unique(first_R, return_counts=True)
  named = set(codes[np.argsort(-counts, kind="stable")][:_NAMED].tolist())
  is_fitted_R = np.arange(len(rows_R)) < FITTED
  clouds = []
  for code in codes.tolist():
    at = np.flatnonzero(first_R == code)
    fitted = at[is_fitted_R[at]]
    words = [f"{title_of(run, row)} · {id_text(run, row)}" for row in rows_R[fitted].tolist()]
    clouds.append(Cloud(str(code), place_RxX[at], words, code in named))
  label = f"Map of {len(rows_R):,} items: near each other where their vectors are"
  num_items = run.dataset.items.num_items
  caption = (
    f"{label}. A colour for each first code, with the numbers of the {len(named)} largest; "
    "pointing at an item lights up its code. Made of the vectors that the tokenizer reads, by PCA "
    "and t-SNE; distances between far groups mean little."
  )
  if len(rows_R) > FITTED:
    caption += (
      f" {FITTED:,} items were fitted; others stand between their {NEAREST} nearest among them."
    )
  if len(rows_R) < num_items:
    caption += f" Drawn at random from {num_items:,} items."
  return section("Map of the items", figure(scatter(clouds, label), caption, wide=True))


def places(run: FinishedRun) -> tuple[np.ndarray, np.ndarray]:
  """Item rows and their places: int [R], float32 [R, 2]; from the run's folder, if they lie there.

  Of the R items, the first FITTED were fitted.
  """
  path = run.workdir / CACHE
  made_of = f"{_VERSION} {run.chain['tokenize'].record.identity}"
  kept = _kept(path, made_of)
  if kept is None:
    kept = layout(item_vectors_of(run.chain))
    rows_R, place_RxX = kept
    with contextlib.suppress(OSError):  # the folder may be read-only
      write_whole(
        path,
        lambda file: np.savez_compressed(
          file, allow_pickle=False, made_of=np.array(made_of), rows=rows_R, places=place_RxX
        ),
      )
  return kept


def _kept(path: epath.Path, made_of: str) -> tuple[np.ndarray, np.ndarray] | None:
  """What lies there, if it was made of these vectors."""
  try:
    arrays = read_npz(path)
  except (OSError, ValueError):
    return None
  if str(arrays.get("made_of")) != made_of or not {"rows", "places"} <= set(arrays):
    return None
  return arrays["rows"], arrays["places"]


def layout(vectors_NxF: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Rows of a sample, int [R], and their places, float32 [R, 2]; none where there is no map."""
  num_items = len(vectors_NxF)
  rows_R = np.random.default_rng(seed).permutation(num_items)[:SHOWN]
  rows_R = np.concatenate([np.sort(rows_R[:FITTED]), np.sort(rows_R[FITTED:])])
  vectors_RxF = np.asarray(vectors_NxF[rows_R], np.float64)
  fitted = vectors_RxF[:FITTED]
  if num_items < _FEWEST or not fitted.std(axis=0).any():
    return rows_R[:0], np.zeros((0, 2), np.float32)
  return rows_R, places_of(vectors_RxF, len(fitted), seed)
