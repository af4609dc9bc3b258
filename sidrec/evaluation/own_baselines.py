"""Baselines that plugins register: scores of all items, or lists of item rows, for each user."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, NoReturn, get_args

import numpy as np

from sidrec.core.plugged import Chosen, Register, called, check_signature
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories, Items

Gives = Literal["scores", "lists"]

# Systems that sidrec measures itself; the names of the others have a '-', which no plugin's has.
BUILT_IN = ("sidrec", "sasrec", "bsarec", "popular")

BASELINES = Register(
  "baseline",
  "evaluation.baselines",
  ("enabled", False),
  ("training", "items"),
  lambda name: name in BUILT_IN,
)


def register_baseline(
  name: str,
  function: Callable[..., Any] | None = None,
  settings: Any = None,
  *,
  gives: Gives = "scores",
  files: Callable[..., Iterable[str]] | None = None,
) -> Any:
  """Makes a baseline known by a name: `@register_baseline("newest")`, or with the function.

  Args:
    name: of the system in tables and files, and of `config.evaluation.baselines.<name>`, where
      `enabled` lets an evaluation measure it.
    function: (training, items) → recommend. `training` is all that may be learnt from, a
      `Histories`; `items` is the catalogue. `recommend(histories, users_B)` gets the histories
      before the targets and some user rows of these, and returns what `gives` says.
    settings: a frozen dataclass of its own settings with their defaults, which the function gets
      as a third argument.
    gives: 'scores' for numbers [B, N], where -inf is not recommended and a target ranks below every
      item of equal score. 'lists' for item rows [B, K], best first, any K, NO_ITEM (-1) after the
      last; seen items are taken out of them afterwards, so they should be longer than the lists of
      the evaluation.
    files: settings (or nothing, where there are none) → the files that it reads. Their contents
      count as inputs of the evaluation.

  Raises:
    ValueError: if the name is taken or no Python name, the function takes other arguments, or for
      another `gives`.
    TypeError: for settings that are no instance of a dataclass.
  """
  if gives not in get_args(Gives):
    raise ValueError(f"the baseline {name!r} gives {gives!r}; choose 'scores' or 'lists'")
  return BASELINES.add(name, function, settings, files, {"gives": gives})


class Checked(NamedTuple):
  """A chosen baseline as a `baselines.ScoreBlock`, whose every answer is checked."""

  chosen: Chosen
  recommend: Callable[[Histories, np.ndarray], Any]
  num_items: int

  def __call__(self, histories: Histories, users_B: np.ndarray) -> np.ndarray:
    """Scores [B, N]; ValueError for an answer that makes no sense."""
    found = called(self.chosen.plugged, self.recommend, histories, users_B.copy())
    try:
      answer = np.asarray(found)
    except ValueError:
      self._refuse("rows of different lengths", len(users_B))
    if self.chosen.plugged.options["gives"] == "lists":
      return self._of_lists(answer, len(users_B))
    return self._of_scores(answer, len(users_B))

  def _of_scores(self, score_BxN: np.ndarray, num_users: int) -> np.ndarray:
    if score_BxN.dtype.kind not in "biuf" or score_BxN.shape != (num_users, self.num_items):
      self._refuse(_kind_of(score_BxN), num_users)
    if score_BxN.dtype.kind != "f":
      score_BxN = score_BxN.astype(np.float64)
    for wrong_BxN, name in ((np.isnan(score_BxN), "NaN"), (score_BxN == np.inf, "inf")):
      if wrong_BxN.any():
        row, item = np.argwhere(wrong_BxN)[0]
        self._refuse(f"{name} for item row {item} (row {row} of its answer)", num_users)
    return score_BxN

  def _of_lists(self, item_BxK: np.ndarray, num_users: int) -> np.ndarray:
    is_list = item_BxK.dtype.kind in "iu" and item_BxK.ndim == 2
    if not is_list or len(item_BxK) != num_users:
      self._refuse(_kind_of(item_BxK), num_users)
    outside_BxK = (item_BxK != NO_ITEM) & ((item_BxK < 0) | (item_BxK >= self.num_items))
    if outside_BxK.any():
      row, place = np.argwhere(outside_BxK)[0]
      self._refuse(f"item row {item_BxK[row, place]} (in row {row} of its answer)", num_users)
    row_X, place_X = np.nonzero(item_BxK != NO_ITEM)
    item_X = item_BxK[row_X, place_X]
    at_X, count_X = np.unique(row_X * self.num_items + item_X, return_counts=True)
    if (count_X > 1).any():
      row, item = divmod(int(at_X[count_X > 1][0]), self.num_items)
      self._refuse(f"item row {item} twice in row {row} of its answer", num_users)
    score_BxN = np.full((num_users, self.num_items), -np.inf)
    score_BxN[row_X, item_X] = -place_X
    return score_BxN

  def _refuse(self, what: str, num_users: int) -> NoReturn:
    if self.chosen.plugged.options["gives"] == "lists":
      wanted = (
        f"item rows from 0 to {self.num_items - 1}, each once in a list, and {NO_ITEM} after the "
        f"last: integers [{num_users}, any length]"
      )
    else:
      wanted = f"a number, or -inf, for each user and item: floats [{num_users}, {self.num_items}]"
    raise ValueError(f"{self.chosen.plugged} returns {what}; give {wanted}")


def make_baseline(chosen: Chosen, training: Histories, items: Items) -> Checked:
  """A chosen baseline, fitted.

  Raises:
    ValueError: if it fails, or makes no function of (histories, users_B).
  """
  recommend = chosen(training, items)
  check_signature(f"what {chosen.plugged} returns", recommend, ("histories", "users_B"))
  return Checked(chosen, recommend, items.num_items)


def _kind_of(answer: np.ndarray) -> str:
  return f"values of type {answer.dtype} and shape {list(answer.shape)}"
