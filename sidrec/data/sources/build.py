"""The last step of every reader: a frame of interactions and a frame of items → `Dataset`."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sidrec.data import dataset
from sidrec.data.dataset import TEXT
from sidrec.data.sources import actions, rules

_DIGITS = r"^\p{Nd}+$"
ITEM_SCHEMA = {
  "item": pl.Int64,
  "title": pl.String,
  "categories": pl.List(pl.String),
  "text": pl.String,
}
NO_ITEMS = pl.DataFrame(schema=ITEM_SCHEMA)


def build(
  name: str,
  interactions: pl.DataFrame,
  items: pl.DataFrame,
  min_interactions: int = 3,
  notes: Sequence[str] = (),
  *,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Applies the rules of `rules`, orders everything as the contract asks, keeps the rated items.

  Args:
    name: of the data set.
    interactions: one a row, in file order: 'user' and 'item' (Int64 or String), 'time' (Int64,
      seconds) and perhaps 'rating' (Float32; null or NaN where there is none) and 'action'
      (String; null or '' where unknown).
    items: what is known about items, in any order: 'item' (of the interactions' type), 'title'
      and 'text' (String), 'categories' (List(String)), and numbers under any other name; each
      but 'item' may be left out, and null is unknown. Items without an interaction are left out
      of the catalogue; items that it lacks get missing values. No row: `NO_ITEMS`.
    min_interactions: users with fewer are dropped, with their interactions.
    notes: what the reader itself dropped or assumed; this step's notes follow them.
    repeats: 'keep' keeps every interaction with an item, 'first' the first of a user with an item.

  Returns:
    A validated data set.

  Raises:
    ValueError: where no user is left, an item is described twice, ids are integers on one side
      and text on the other, or the result breaks the contract.
  """
  rules.check_repeats(repeats)
  return apply_rules(name, interactions, items, min_interactions, notes, repeats=repeats)


def apply_rules(
  name: str,
  interactions: pl.DataFrame,
  items: pl.DataFrame,
  min_interactions: int = 3,
  notes: Sequence[str] = (),
  *,
  repeats: str = "",
  ticks: int = 1,
) -> dataset.Dataset:
  """`build`, also for logs that need less or are finer.

  Args, Returns, Raises:
    as `build`, except that
    interactions: ids may be of an Enum, whose order then stands for that of the ids.
    repeats: may be '' for a log without duplicates, where none are looked for.
    ticks: of the times, in a second.
  """
  rules.check_min_interactions(min_interactions)
  _require_same_type(name, interactions["item"], items["item"])
  # Numbers stand for ids until the end: they are far cheaper to compare and to sort.
  distinct_users, user = _numbered(interactions["user"])
  user_ids, order = sort_ids(distinct_users)
  item_ids, item = _numbered(interactions["item"])
  kinds = actions.names_in(interactions)
  log = interactions.select(
    order.arg_sort().gather(user).alias("user"),
    item.alias("item"),
    pl.col("time").cast(pl.Int64),
    _rating(interactions).cast(pl.Float32).fill_null(float("nan")).alias("rating"),
    *([actions.numbered(kinds)] if kinds else []),
  )
  log, counts = rules.histories(log, repeats, min_interactions, ticks)
  if not len(log):
    raise ValueError(
      f"data set {name!r}: none of its {rules.counted(len(user_ids), 'user')} has "
      f"{min_interactions} or more interactions"
    )
  kept_items, item_T = _compacted(item_ids, log["item"])
  catalogue, described = describe(name, items, kept_items)
  user_rows, lengths = log["user"].rle().struct.unnest().select("value", "len")
  histories = dataset.Histories(
    offsets_Up1=_offsets(lengths.to_numpy()),
    item_T=item_T,
    time_T=as_array(log["time"]),
    rating_T=as_array(log["rating"]),
    user_ids_U=as_array(user_ids.gather(user_rows)),
    action_T=as_array(log["action"]) if kinds else None,
    actions=kinds or None,
  )
  own = rules.build_notes(counts, min_interactions, len(items), described, catalogue.num_items)
  dropped = rules.duplicate_notes(counts.copies, counts.later, actions=bool(kinds))
  said = (*notes, *dropped, *own)
  return dataset.validate(dataset.Dataset(name, histories, catalogue, said))


# Ids.


def sort_ids(ids: pl.Series) -> tuple[pl.Series, pl.Series]:
  """Distinct ids sorted as the contract asks, and their order: UInt32, of the same length.

  Integers and text that is all digits, of any length, sort by number ('07' before '7'), other
  text by its characters, an Enum by its own order.
  """
  table = pl.DataFrame({"id": ids})
  keys = [pl.col("id")]
  if ids.dtype == pl.String and ids.str.contains(_DIGITS).all():
    plain = pl.col("id").str.strip_chars_start("0")
    keys = [plain.str.len_chars(), plain, pl.col("id")]
  order = table.select(pl.arg_sort_by(keys).cast(pl.UInt32)).to_series()
  return ids.gather(order), order


def rows_of(ids: pl.Series, among: pl.Series) -> pl.Series:
  """The row of each id among distinct ids: UInt32, null for one that is not among them."""
  table = pl.DataFrame({"id": among}).with_row_index("row")
  return pl.DataFrame({"id": ids}).join(table, on="id", how="left", maintain_order="left")["row"]


def _numbered(ids: pl.Series) -> tuple[pl.Series, pl.Series]:
  """The distinct ids, and each one's row among them: UInt32."""
  distinct = ids.unique(maintain_order=True)
  return distinct, rows_of(ids, distinct)


def _compacted(ids: pl.Series, row: pl.Series) -> tuple[pl.Series, np.ndarray]:
  """Those ids that rows name, sorted, and the rows among them: int32 [T]."""
  used = row.unique()
  kept, order = sort_ids(ids.gather(used))
  place = np.zeros(len(ids), np.int32)
  place[used.gather(order).to_numpy()] = np.arange(len(kept), dtype=np.int32)
  return kept, place[row.to_numpy()]


def _rating(interactions: pl.DataFrame) -> pl.Expr:
  return pl.col("rating") if "rating" in interactions.columns else pl.lit(float("nan"))


def _require_same_type(name: str, ids: pl.Series, described: pl.Series) -> None:
  kinds = ["integers" if series.dtype.is_integer() else "text" for series in (ids, described)]
  if len(described) and kinds[0] != kinds[1]:
    raise ValueError(
      f"data set {name!r}: item ids are {kinds[0]} in the interactions and {kinds[1]} in the "
      "metadata; read both as integers or both as text"
    )


# Items.


def describe(name: str, items: pl.DataFrame, ids: pl.Series) -> tuple[dataset.Items, int]:
  """The catalogue of these ids, and how many of them the metadata describes.

  Raises:
    ValueError: if the metadata describes an item twice.
  """
  if items["item"].n_unique() < len(items):
    twice = items.filter(pl.col("item").is_duplicated())["item"].min()
    raise ValueError(f"data set {name!r}: the metadata describes item {twice!r} twice")
  if not len(items):  # its ids are of no type
    items = pl.DataFrame(schema={**items.schema, "item": ids.dtype})
  wanted = pl.DataFrame({"item": ids})
  described = len(items.join(wanted, on="item", how="semi"))
  return pack_items(wanted.join(items, on="item", how="left", maintain_order="left")), described


def pack_items(items: pl.DataFrame) -> dataset.Items:
  """A frame of items, as `build` describes it, as arrays in the frame's order."""
  table = items.with_columns(
    pl.lit(None, dtype).alias(name)
    for name, dtype in ITEM_SCHEMA.items()
    if name not in items.columns
  )
  names = table["categories"].cast(pl.List(pl.String))
  lengths = names.list.len().fill_null(0)
  flat = names.filter(lengths > 0).explode()
  distinct = flat.unique().sort()
  return dataset.Items(
    ids_N=as_array(table["item"]),
    titles_N=as_array(table["title"].cast(pl.String).fill_null("")),
    categories_C=as_array(distinct),
    category_offsets_Np1=_offsets(lengths.to_numpy()),
    category_E=rows_of(flat, distinct).to_numpy().astype(np.int32),
    numeric={
      name: as_array(table[name].cast(pl.Float32).fill_null(float("nan")))
      for name in items.columns
      if name not in ITEM_SCHEMA
    },
    text_N=as_array(table["text"].cast(pl.String).fill_null("")),
  )


def item_table(
  ids: Sequence[int] | Sequence[str] | np.ndarray,
  titles: Sequence[str],
  categories: Sequence[Sequence[str]],
  numeric: Mapping[str, Sequence[float]],
  text: Sequence[str] | None = None,
) -> dataset.Items:
  """Packs one value per item into an `Items`; a missing value is '', NaN or ()."""
  columns = {
    "item": pl.Series(np.asarray(ids) if len(ids) else np.zeros(0, np.int64)),
    "title": pl.Series(titles, dtype=pl.String),
    "categories": pl.Series([list(names) for names in categories], dtype=pl.List(pl.String)),
    "text": pl.Series([""] * len(titles) if text is None else text, dtype=pl.String),
  }
  return pack_items(pl.DataFrame(columns | {n: np.asarray(c, float) for n, c in numeric.items()}))


def as_array(series: pl.Series) -> np.ndarray:
  """A column without nulls as an array that may be written to; text and Enums as TEXT."""
  if series.dtype.is_numeric():
    return series.to_numpy(writable=True)
  return series.cast(pl.String).to_numpy().astype(TEXT)


def _offsets(lengths: np.ndarray) -> np.ndarray:
  return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
