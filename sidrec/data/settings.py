"""The settings of a data set, with their defaults."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sidrec.core.settings import check_choices

# What programs write where a value is missing.
MISSING = ("nan", "NaN", "NULL", "null", "None", "NA", "N/A", "n/a", "\\N", "<NA>")


@dataclasses.dataclass(frozen=True)
class AmazonConfig:
  """What source 'amazon-reviews' takes."""

  metadata_path: str = ""  # the file of items; empty if there is none
  max_characters: int = 512  # of an item's texts


@dataclasses.dataclass(frozen=True)
class StoreConfig:
  """What source 'store' takes: what sidrec.data.prepare wrote."""

  # Users, drawn evenly, whom features, tokenizer, validation and tests see; training then reads
  # all users from the shards. 0: all users, in memory, and the same batches.
  users: int = 0


@dataclasses.dataclass(frozen=True)
class TableConfig:
  """What source 'table' takes: what your own columns are called."""

  # Role → column; empty for none.
  columns: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: {
      "user": "user_id", "item": "item_id", "time": "timestamp", "rating": "", "action": ""
    }
  )  # fmt: skip
  time_unit: str = "s"  # or 'ms', 'us', 'ns', 'iso'
  time_format: str = ""  # of dates, such as '%m/%d/%Y %H:%M' for 12/1/2010 8:26; empty: the unit
  missing: Sequence[str] = MISSING  # text that is no id, time or number; () keeps such ids
  items_path: str = ""  # table of items; empty if there is none
  # Role → column or columns; any other role, such as 'price', is a number of that name.
  item_columns: Mapping[str, str | Sequence[str]] = dataclasses.field(
    default_factory=lambda: {
      "id": "item_id", "title": "title", "categories": "", "text": "", "year": ""
    }
  )  # fmt: skip
  users_path: str = ""  # table of users; empty if there is none
  # The column of ids, and the columns that models may read: text, and numbers.
  user_columns: Mapping[str, str | Sequence[str]] = dataclasses.field(
    default_factory=lambda: {"id": "user_id", "categories": (), "numbers": ()}
  )
  category_separator: str = "|"
  separator: str = ""  # between columns of text files; empty for comma or tab
  # Of text files. 'strict': each quote must close; 'none': quotes are part of the values; 'auto':
  # as 'strict', but in a tab-separated line where a quote does not close it is part of its value.
  quoting: Literal["auto", "strict", "none"] = "auto"
  strip: bool = True  # blanks around values of text files, outside quotes

  def __post_init__(self) -> None:
    check_choices(self)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which data set, and what is dropped from it."""

  source: str = "demo"  # a name in sidrec.data.sources.registry.READERS
  path: str = ""  # folder of the raw files; empty for the source's own ways to find them
  min_interactions: int = 3  # users with fewer are dropped
  k_core: int = 0  # drops users and items with fewer interactions, repeatedly; 0 for none
  shuffle_ties: int = -1  # seed that orders equal times at random; -1 keeps file order
  repeats: str = "keep"  # or 'first' of a user with an item; amazon-reviews, atomic, table
  amazon: AmazonConfig = AmazonConfig()
  store: StoreConfig = StoreConfig()
  table: TableConfig = dataclasses.field(default_factory=TableConfig)
  plugins: dict[str, Any] = dataclasses.field(default_factory=dict)  # of readers by name
