"""The settings of a data set, with their defaults."""

from ml_collections import ConfigDict

from sidrec.data.sources.table import COLUMNS, ITEM_COLUMNS


def default_data() -> ConfigDict:
  """The settings of `config.data`."""
  data = ConfigDict()
  data.source = "demo"  # a name in sidrec.data.sources.registry.READERS
  data.path = ""  # folder of the raw files; empty for the source's own ways to find them
  data.min_interactions = 3  # users with fewer are dropped
  data.k_core = 0  # drops users and items with fewer interactions, repeatedly; 0 for none
  data.shuffle_ties = -1  # seed that orders equal times at random; -1 keeps file order
  data.repeats = "keep"  # or 'first' of a user with an item; amazon-reviews, atomic, table
  data.amazon = ConfigDict()  # source 'amazon-reviews'
  data.amazon.metadata_path = ""  # the file of items; empty if there is none
  data.amazon.max_characters = 512  # of an item's texts
  data.store = ConfigDict()  # source 'store': what sidrec.data.prepare wrote
  # Users, drawn evenly, whom features, tokenizer, validation and tests see; training then reads
  # all users from the shards. 0: all users, in memory, and the same batches.
  data.store.users = 0
  data.table = ConfigDict()  # source 'table': what your own columns are called
  data.table.columns = ConfigDict(COLUMNS)
  data.table.time_unit = "s"  # or 'ms', 'us', 'ns', 'iso'
  data.table.items_path = ""  # table of items; empty if there is none
  data.table.item_columns = ConfigDict(ITEM_COLUMNS)
  data.table.category_separator = "|"
  data.table.separator = ""  # between columns of text files; empty for comma or tab
  return data
