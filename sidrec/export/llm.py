"""A run's data and semantic IDs as LC-Rec, LETTER and MiniOneRec read them.

  NAME.inter.json                   {"0": [item, item, …], …}: each user's items, oldest first
  NAME.item.json                    {"0": {"title": …, "description": …, "categories": …}, …}
  NAME.index.json                   {"0": ["<a_45>", "<b_128>"], …}
  NAME.train.inter, .valid., .test. a target a line, after up to 50 items before it
  NAME.user2id, NAME.item2id        original id, tab, number

Users and items are numbered from 0, in the order of the data set. The last item of a user tests,
the last but one validates.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sidrec.catalogue.lcrec_index import write_index
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.core.atomic import PathLike, whole_folder
from sidrec.data.dataset import Dataset, Items

MOST_BEFORE = 50  # items before a target in .inter files, as in those of LC-Rec
_COLUMNS = "user_id:token\titem_id_list:token_seq\titem_id:token\n"


def is_hand_over(folder: Path) -> bool:
  """Whether a folder holds just one hand-over, of any name."""
  names = {file.name for file in folder.iterdir()}
  return any(
    names == {f"{name.removesuffix('.inter.json')}{end}" for end in _ENDS}
    for name in names
    if name.endswith(".inter.json")
  )


_ENDS = (
  ".inter.json",
  ".item.json",
  ".index.json",
  ".train.inter",
  ".valid.inter",
  ".test.inter",
  ".user2id",
  ".item2id",
)


def write_for_llm(folder: PathLike, dataset: Dataset, ids: SemanticIDManager) -> None:
  """Writes the files, all or none.

  Args:
    folder: local; takes the place of such files that are there, and of nothing else.
    dataset: the run's. What is left out: times, ratings and actions.
    ids: a semantic ID for each of its items.

  Raises:
    FileExistsError: if the folder holds anything else.
    ValueError: for ids of other items, original ids that hold a tab or a line break, or a run that
      predicts some actions alone.
  """
  if dataset.histories.target_T is not None:
    raise ValueError(
      "files for language models take each user's last two events as targets, and this run "
      "predicts others (train.targets, train.least_rating)"
    )
  num_ids, num_items = len(ids.codes), dataset.items.num_items
  if num_ids != num_items:
    raise ValueError(f"{num_ids} semantic IDs for {num_items} items; give those of this data set")
  name = dataset.name.replace("/", "-")
  histories = dataset.histories
  sequences = [histories.of(user).tolist() for user in range(histories.num_users)]
  with whole_folder(folder, is_hand_over) as draft:

    def write(end: str, lines: Iterator[str] | Sequence[str]) -> None:
      with (draft / f"{name}{end}").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)

    write(".inter.json", [json.dumps(dict(enumerate(sequences)))])
    items = {row: _described(dataset.items, row) for row in range(dataset.items.num_items)}
    write(".item.json", [json.dumps(items, indent=1)])
    write_index(draft / f"{name}.index.json", ids.codes, range(dataset.items.num_items))
    write(".train.inter", _training_lines(sequences))
    write(".valid.inter", _lines((user, row[:-2], row[-2]) for user, row in enumerate(sequences)))
    write(".test.inter", _lines((user, row[:-1], row[-1]) for user, row in enumerate(sequences)))
    write(".user2id", _numbered(histories.user_ids_U.tolist()))
    write(".item2id", _numbered(dataset.items.ids_N.tolist()))


def _described(items: Items, row: int) -> dict[str, str]:
  return {
    "title": str(items.titles_N[row]),
    "description": str(items.text_N[row]),
    "brand": "",  # which a data set has in its text, if at all
    "categories": ",".join(filter(None, items.categories_of(row))),
  }


def _training_lines(sequences: Sequence[Sequence[int]]) -> Iterator[str]:
  """Every item but the first of what trains, as a target: a user's latest first, as LC-Rec's."""
  return _lines(
    (user, row[:at], row[at])
    for user, row in enumerate(sequences)
    for at in range(len(row) - 3, 0, -1)
  )


def _lines(targets: Iterator[tuple[int, Sequence[int], int]]) -> Iterator[str]:
  yield _COLUMNS
  for user, before, target in targets:
    yield f"{user}\t{' '.join(map(str, before[-MOST_BEFORE:]))}\t{target}\n"


def _numbered(ids: Sequence[Any]) -> Iterator[str]:
  for number, original in enumerate(map(str, ids)):
    if any(mark in original for mark in "\t\n\r"):
      raise ValueError(f"the id {original!r} holds a tab or a line break, which no line can hold")
    yield f"{original}\t{number}\n"
