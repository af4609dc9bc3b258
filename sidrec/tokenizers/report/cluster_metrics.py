"""Do semantic IDs agree with what is known about items, such as genre or decade?

Items with the same first codes form a cluster; a label divides the same items into classes.
Purity and normalised mutual information grow with the number of clusters whatever the codes
mean (a cluster of one item is pure), so each is shown with its value for shuffled IDs: the same
tuples, dealt to other items. Adjusted mutual information is corrected for chance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from sidrec.core.codes import group
from sidrec.core.tables import aligned_table
from sidrec.data.dataset import Items

# The adjusted mutual information looks at every pair of cluster and class: some seconds for that
# many (12,101 items with 227 categories have 2.6 million at most, 0.2 s).
MAX_PAIRS = 50_000_000
MAX_ITEMS = 1_000_000  # of more, so many random ones are compared: ten million take minutes

HEADINGS = (
  "agreement with",
  "items",
  "without",
  "classes",
  "depth",
  "purity (shuffled)",
  "NMI (shuffled)",
  "AMI (shuffled)",
)


def cluster_metrics(
  codes_NxL: np.ndarray,
  labels: Mapping[str, np.ndarray],
  seed: int = 0,
) -> dict[str, Any]:
  """Compares the prefixes of each depth with labels.

  * Purity: the share of items whose label is the most frequent one of their prefix (Manning et
    al. 2008, Introduction to Information Retrieval, section 16.3).
  * Normalised mutual information: I / ((H(prefix) + H(label)) / 2).
  * Adjusted mutual information: (I - E I) / ((H(prefix) + H(label)) / 2 - E I), with the mean
    E over all ways to deal the prefixes (Vinh et al. 2010, JMLR 11): 0 for chance, 1 for perfect.

  Args:
    codes_NxL: integers.
    labels: name → str or integer [N]; '' or -1 says that an item has none, and leaves it out.
    seed: of the shuffled IDs, one permutation for all labels and depths.

  Returns:
    name → {'items', 'missing', 'compared', 'classes', 'depths'}; of more than MAX_ITEMS items with
    a label, so many random ones are compared, whose classes count; 'depths' is a list of {'depth',
    'prefixes', 'purity', 'purity_shuffled', 'nmi', 'nmi_shuffled', 'ami', 'ami_shuffled'}. The
    two 'ami' are None at depths with more than MAX_PAIRS pairs of prefix and class.

  Raises:
    ValueError: if a label has a wrong shape or type, or no item has it.
  """
  num_items, depths = len(codes_NxL), range(1, codes_NxL.shape[1] + 1)
  rng = np.random.default_rng(seed)
  shuffle_N, result = rng.permutation(num_items), {}
  for name, label in labels.items():
    class_N = _classes(name, label, num_items)
    known_R = np.flatnonzero(class_N >= 0)
    num_known = len(known_R)
    if num_known > MAX_ITEMS:
      known_R = np.sort(rng.choice(known_R, MAX_ITEMS, replace=False))
    code_RxL, shuffled_RxL = codes_NxL[known_R], codes_NxL[shuffle_N[known_R]]
    class_R = class_N[known_R]
    result[name] = {
      "items": num_known,
      "missing": num_items - num_known,
      "compared": len(known_R),
      "classes": len(np.unique(class_R)),
      "depths": [
        {"depth": depth, **_compare(code_RxL[:, :depth], shuffled_RxL[:, :depth], class_R)}
        for depth in depths
      ],
    }
  return result


def item_labels(items: Items) -> dict[str, np.ndarray]:
  """The labels that a catalogue has: str [N], '' where an item has none.

  Returns:
    'category', the first one of each item, or the second, third, … where all before it are
    the same for all items that have one (the root of a shop's category paths); and 'decade'
    ('1990s'), from the numeric column 'year'. Each only if some item has it.
  """
  labels = {}
  start_N, end_N = items.category_offsets_Np1[:-1], items.category_offsets_Np1[1:]
  for place in range(int((end_N - start_N).max(initial=0))):
    has_N = end_N - start_N > place
    category_N = np.full(items.num_items, "", items.categories_C.dtype)
    category_N[has_N] = items.categories_C[items.category_E[start_N[has_N] + place]]
    has_N = category_N != ""
    if not has_N.any():
      continue
    labels.setdefault("category", category_N)
    if (category_N[has_N] != category_N[has_N][0]).any():
      labels["category"] = category_N
      break
  if "year" in items.numeric:
    year_N = np.asarray(items.numeric["year"], np.float64)
    decades = [f"{int(year // 10) * 10}s" if np.isfinite(year) else "" for year in year_N.tolist()]
    if any(decades):
      labels["decade"] = np.array(decades)
  return labels


def cluster_metrics_table(measured: Mapping[str, Any]) -> str:
  """What `cluster_metrics` found, as plain text at most 100 columns wide."""
  rows = [list(HEADINGS)]
  for name, label in measured.items():
    shown = name if len(name) <= 16 else name[:15] + "…"
    about = [shown, *(f"{label[key]:,}" for key in ("items", "missing", "classes"))]
    for row in label["depths"]:
      ami = "-" if row["ami"] is None else f"{row['ami']:z.3f} ({row['ami_shuffled']:z.3f})"
      rows.append(
        [
          *about,
          str(row["depth"]),
          f"{row['purity']:.1%} ({row['purity_shuffled']:.1%})",
          f"{row['nmi']:.3f} ({row['nmi_shuffled']:.3f})",
          ami,
        ]
      )
      about = [""] * len(about)
  table = aligned_table(rows, names=1, underline=False)
  if all(label.get("compared", label["items"]) == label["items"] for label in measured.values()):
    return table
  return f"{table}\nof more than {MAX_ITEMS:,} items, so many random ones are compared"


def _classes(name: str, label: ArrayLike, num_items: int) -> np.ndarray:
  """One label as class numbers, -1 where it is missing: int64 [N]."""
  label_N = np.asarray(label)
  if label_N.shape != (num_items,):
    raise ValueError(
      f"label {name!r} has shape {label_N.shape}, but there are codes of {num_items} items; "
      "give one label for each item"
    )
  if label_N.dtype.kind not in "UTiu":
    raise ValueError(f"label {name!r} is of type {label_N.dtype}; give text or integers")
  values, class_N = np.unique(label_N, return_inverse=True)
  missing_X = np.array([value in ("", -1) for value in values.tolist()])
  if missing_X.all():
    raise ValueError(f"no item has a label {name!r}; leave it out")
  return np.where(missing_X[class_N], -1, class_N)


def _compare(code_RxL: np.ndarray, shuffled_RxL: np.ndarray, label: np.ndarray) -> dict[str, Any]:
  """The measures at one depth, of the first codes of items whose label is known."""
  # Importing scikit-learn takes a second, which programs without a report need not wait for.
  from sklearn import metrics

  prefix, shuffled = group(code_RxL).group_N, group(shuffled_RxL).group_N
  num_prefixes = len(np.unique(prefix))
  # The shuffled IDs of labelled items may have more prefixes, if other items have no label.
  pairs = max(num_prefixes, len(np.unique(shuffled))) * len(np.unique(label))
  few = pairs <= MAX_PAIRS
  return {
    "prefixes": num_prefixes,
    "purity": _purity(prefix, label),
    "purity_shuffled": _purity(shuffled, label),
    "nmi": float(metrics.normalized_mutual_info_score(label, prefix)),
    "nmi_shuffled": float(metrics.normalized_mutual_info_score(label, shuffled)),
    "ami": float(metrics.adjusted_mutual_info_score(label, prefix)) if few else None,
    "ami_shuffled": float(metrics.adjusted_mutual_info_score(label, shuffled)) if few else None,
  }


def _purity(cluster: np.ndarray, label: np.ndarray) -> float:
  """The share of items whose label is the most frequent one of their cluster."""
  from sklearn.metrics.cluster import contingency_matrix

  counts = sp.csr_array(contingency_matrix(label, cluster, sparse=True))  # [classes, clusters]
  return float(counts.max(axis=0).sum() / len(label))
