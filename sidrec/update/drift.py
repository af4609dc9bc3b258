"""Whether the tokenizer still suits what comes: collisions, use of codes, and what they lose.

New are all items that came since the tokenizer was fitted, not only those of this night.
"""

from typing import Any

import numpy as np

from sidrec.catalogue.semantic_ids import BASE_CONVERSIONS
from sidrec.core.atomic import load_array
from sidrec.core.codes import group
from sidrec.data.dataset import Dataset
from sidrec.models.transfer import UNKNOWN
from sidrec.run.fitted_catalogue import load_fitted_catalogue
from sidrec.run.generations import Chain
from sidrec.run.settings import RunConfig, UpdateConfig
from sidrec.run.tokenize_items import category_labels, load_fitted, new_item_inputs
from sidrec.update.logs import match_ids

_DRAWS = 20  # of equally many old items, whose mean perplexity new ones are compared with


def measure_drift(config: RunConfig, chain: Chain, new: Dataset) -> dict[str, Any] | None:
  """The content of `update.json` on drift; None where codes mean nothing or no item is new.

  Args:
    config: the settings of the run.
    chain: the grown catalogue: 'prepare' and 'tokenize'.
    new: its data set.
  """
  if config.tokenizer.name in (*BASE_CONVERSIONS, "file"):
    return None
  since_M = match_ids(new.items.ids_N, load_fitted_catalogue(config, chain).items.ids_N) == UNKNOWN
  if not since_M.any():
    return None
  folder = chain["tokenize"].file("tokenizer")
  vectors_NxF = load_array(chain["tokenize"].file("vectors.npy"), in_memory=True)
  fitted = load_fitted(config.tokenizer, config.seed, folder)
  assert fitted is not None
  inputs_NxF = new_item_inputs(category_labels(config.tokenizer, folder), new.items, vectors_NxF)
  codes_NxL = np.asarray(fitted.tokenizer.encode(fitted.params, inputs_NxF))
  decoded_NxF = None
  if fitted.tokenizer.decode is not None:
    decoded = np.asarray(fitted.tokenizer.decode(fitted.params, codes_NxL))
    decoded_NxF = decoded[:, -vectors_NxF.shape[1] :]
  return drift_of(codes_NxL, since_M, vectors_NxF, decoded_NxF, config.seed)


def drift_of(
  codes_NxL: np.ndarray,
  new_N: np.ndarray,
  vectors_NxF: np.ndarray,
  decoded_NxF: np.ndarray | None,
  seed: int,
) -> dict[str, Any]:
  """Compares new items with old ones.

  Args:
    codes_NxL: as the tokenizer encodes, before IDs are made unique.
    new_N: bool, which items are new.
    vectors_NxF: what is encoded.
    decoded_NxF: what the codes stand for, or None where nothing decodes.
    seed: of the draws of old items.
  """
  groups = group(codes_NxL)
  shared_N = groups.size_G[groups.group_N] > 1
  found: dict[str, Any] = {
    "new items": int(new_N.sum()),
    "old items": int((~new_N).sum()),
    "share a tuple": {"new": float(shared_N[new_N].mean()), "old": float(shared_N[~new_N].mean())},
  }
  old_R, rng = np.flatnonzero(~new_N), np.random.default_rng(seed)
  count = min(int(new_N.sum()), len(old_R))
  new_R = np.flatnonzero(new_N)
  draws = [rng.permutation(old_R)[:count] for _ in range(_DRAWS)]
  # New items are drawn, too, where there are more of them: a perplexity grows with the sample.
  new_draws = [rng.permutation(new_R)[:count] for _ in range(_DRAWS)]
  found["perplexity of each level"] = {
    "new": np.mean([_perplexities(codes_NxL[rows]) for rows in new_draws], axis=0).tolist(),
    f"as many old ({count})": np.mean(
      [_perplexities(codes_NxL[rows]) for rows in draws], axis=0
    ).tolist(),
  }
  if decoded_NxF is not None:
    error_N = np.square(vectors_NxF - decoded_NxF, dtype=np.float64).sum(axis=1)
    found["mean squared error"] = {
      "new": float(error_N[new_N].mean()),
      "old": float(error_N[~new_N].mean()),
    }
  return found


def due(found: dict[str, Any] | None, settings: UpdateConfig) -> list[str]:
  """Why a new tokenizer is due, a clause for each reason; empty if none is."""
  if found is None or found["new items"] < settings.drift_items:
    return []
  reasons = []
  shared = found["share a tuple"]
  if shared["new"] - shared["old"] > settings.drift_collisions:
    reasons.append(f"{shared['new']:.0%} of them share a tuple ({shared['old']:.0%} of old ones)")
  new_L, old_L = found["perplexity of each level"].values()
  for level, (new, old) in enumerate(zip(new_L, old_L, strict=True), start=1):
    if new < settings.drift_perplexity * old:
      reasons.append(f"level {level} has perplexity {new:.1f} ({old:.1f} for as many old ones)")
  error = found.get("mean squared error")
  if error is not None and error["new"] > settings.drift_error * error["old"]:
    reasons.append(
      f"codes lose {error['new']:.3g} of their vectors ({error['old']:.3g} of old ones)"
    )
  return reasons


def drift_text(found: dict[str, Any] | None, settings: UpdateConfig) -> str:
  """The findings in a few lines, and whether a new tokenizer is due."""
  if found is None:
    return "drift: no item came since the tokenizer was fitted, or its codes mean nothing"
  shared = found["share a tuple"]
  new_L, old_L = found["perplexity of each level"].values()
  levels = ", ".join(f"{new:.1f} ({old:.1f})" for new, old in zip(new_L, old_L, strict=True))
  lines = [
    f"drift: {found['new items']:,} items came since the tokenizer was fitted to "
    f"{found['old items']:,}; of old ones in brackets:",
    f"  share a tuple {shared['new']:.1%} ({shared['old']:.1%}); perplexity of levels {levels}",
  ]
  error = found.get("mean squared error")
  if error is not None:
    lines.append(f"  mean squared error {error['new']:.4g} ({error['old']:.4g})")
  reasons = due(found, settings)
  if reasons:
    lines.append(
      f"  a new tokenizer is due, for {'; '.join(reasons)}: run --mode=all --redo=tokenize"
    )
  return "\n".join(lines)


def _perplexities(codes_RxL: np.ndarray) -> list[float]:
  """exp(entropy) of each level's codes."""
  found = []
  for code_R in codes_RxL.T:
    share = np.unique(code_R, return_counts=True)[1] / len(code_R)
    found.append(float(np.exp(-(share * np.log(share)).sum())))
  return found
