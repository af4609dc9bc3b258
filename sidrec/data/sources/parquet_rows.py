"""Tables in Parquet files, if pyarrow is installed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.data.sources.rows import BLOCK_ROWS, Block, Rows


def parquet_rows(file: Path, groups: Sequence[int] | None = None) -> Rows:
  """A Parquet file; null is missing, and a list is written as its values with '|' between.

  Columns of timestamps or dates are ISO dates. Columns of floats that are all whole numbers
  are whole numbers: integers become floats in programs that have no missing integer.

  Args:
    file: its path.
    groups: neighbouring row groups to read; all if None.

  Raises:
    ImportError: if pyarrow is not installed.
    ValueError: if it is no Parquet file.
  """
  # Imported here because it is large, optional, and only this format needs it.
  try:
    import pyarrow as pa  # pyrefly: ignore[missing-import]
    import pyarrow.parquet as pq  # pyrefly: ignore[missing-import]
  except ImportError as error:
    raise ImportError(
      f"reading {file} needs pyarrow: pip install pyarrow, or write the table as .csv"
    ) from error
  try:
    table = pq.ParquetFile(file)
  except pa.ArrowInvalid as error:
    raise ValueError(f"{file} is not a readable Parquet file: {error}") from error
  schema = table.schema_arrow

  def blocks(names: Sequence[str]) -> Iterator[Block]:
    for batch in table.iter_batches(BLOCK_ROWS, groups, columns=list(names)):
      yield [_as_text(batch.column(name)) for name in names]

  dates = {f.name for f in schema if pa.types.is_timestamp(f.type) or pa.types.is_date(f.type)}
  before = sum(table.metadata.row_group(group).num_rows for group in range((groups or [0])[0]))
  where = lambda row: f"{file}, row {before + row + 1}"
  return Rows(file, schema.names, blocks, where, frozenset(dates))


def num_row_groups(file: Path) -> int:
  """How many row groups a Parquet file has; raises as `parquet_rows` does."""
  parquet_rows(file)
  import pyarrow.parquet as pq  # pyrefly: ignore[missing-import]

  return pq.ParquetFile(file).metadata.num_row_groups


def _as_text(column: Any) -> list[str]:
  """The values of a pyarrow array."""
  import pyarrow as pa  # pyrefly: ignore[missing-import]

  if pa.types.is_floating(column.type):
    value_T = column.to_numpy(zero_copy_only=False)  # null becomes NaN
    known_T = value_T[~np.isnan(value_T)]
    whole = bool((np.abs(known_T) < 2**53).all() and (known_T == np.floor(known_T)).all())
    write = (lambda value: str(int(value))) if whole else str
    return ["" if value != value else write(value) for value in value_T.tolist()]
  if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
    return ["|".join(map(str, values or ())) for values in column.to_pylist()]
  return [value or "" for value in column.cast(pa.string()).to_pylist()]
