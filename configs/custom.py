r"""Your own log: a table of who met which item when.

Any CSV, TSV, JSON lines or Parquet file will do; the first lines of one:

  user_id,item_id,timestamp
  anna,lamp-12,1700000000
  anna,chair-3,1700000500

  python -m sidrec.main --config=configs/custom.py --config.data.path=log.csv
  python -m sidrec.main --config=configs/custom.py --mode=recommend --user=anna

With other columns and a table of items, on files that come with the project (MovieTweetings, MIT
licence), from the root of the repository:

  python -m sidrec.main --config=configs/custom.py --workdir=runs/films \
    --config.data.path=sidrec/data/movietweetings/demo_5core.tsv.gz \
    --config.data.table.columns.rating=rating \
    --config.data.table.items_path=sidrec/data/movietweetings/demo_items.tsv.gz \
    --config.data.table.item_columns.categories=genres

Hardware: 2 CPU cores. Time: about 3 minutes (3.9 minutes of CPU time, measured while other work
filled the cores). Result of this example (leave-last-out, 4,333 users, 2,414 films, full ranking,
50 beams, seed 0; test, seen items masked): Recall@10 0.2453, NDCG@10 0.1357; training stopped after
900 of 1,500 steps. Without followers and similarity it was 0.2202 and 0.1218.
configs/custom.py:tiny runs the same stages in half that time.

What your columns are called (--config.data.table.X=Y, or a copy of this file):

  columns.user, .item    'user_id', 'item_id'
  columns.time           'timestamp'; empty: the order of the file stands for time
  columns.rating         empty: none; a rating of any value counts as an interaction
  columns.action         empty: none; what the event was, such as view, cart or buy. The names that
                         config.model.inputs.actions lists are told apart, and those of
                         config.train.targets are predicted
  time_unit              's', 'ms', 'us' or 'ns' since 1970, or 'iso' for dates like 2024-05-01 and
                         2024-05-01T12:30:00+02:00; Parquet's own timestamps need none
  time_format            of other dates: '%m/%d/%Y %H:%M' for 12/1/2010 8:26; empty: the unit
  missing                text that is no id, time or number; () keeps such ids:
                         nan, NaN, NULL, null, None, NA, N/A, n/a, \N, <NA>
  separator              between columns of text; empty: a comma in .csv, a tab in all others
  quoting                'auto': quotes that open must close, or in a line of tabs are kept;
                         'strict': they must always close; 'none': quotes are part of values
  strip                  True; False keeps blanks around names and values of text files
  items_path             a table of items; empty: none
  item_columns.id        'item_id'; as in the log
  item_columns.title     'title'; recommendations show it, and its words help to place items
  item_columns.categories, .text, .year    empty: none
  users_path             a table of users; empty: none
  user_columns.id        'user_id'; as in the log
  user_columns.categories, .numbers    (): lists of columns of text and of numbers. Those that
                         config.model.inputs.user_attributes lists are read
  category_separator     '|', between categories in one value; empty: a value is one category

The end of the name tells the form: .csv, .tsv, .jsonl, .parquet; other names are text with tabs.
Text is UTF-8, names its columns on line 1 and may be compressed (.gz, .bz2, .xz, .zst). A folder,
or a pattern with *, stands for its files in the order of their names. A copy of this file may name
several columns of text, more numbers, and several columns of categories, which are levels: each
keeps its place, also where another is empty or repeats it.

  config.data.table.item_columns = ConfigDict(
    {"id": "sku", "title": "name", "categories": ("kind", "brand"), "price": "price"}
  )

What happens to your rows; `prepare` prints the counts, and --mode=prepare stops after it:

  * Rows may stand in any order; of equal times, the row that comes first in the file is older
    (--config.data.shuffle_ties=1 shows how much that matters).
  * Rows without a user, item or time are dropped. If no row has a time, the order of the file
    stands for it.
  * Exact duplicates are dropped. A user who meets an item again meets it again;
    --config.data.repeats=first keeps the first time only, and --config.model.repeats=True learns
    how likely an item comes again (recommend with --exclude_seen=false).
  * Users with fewer than 3 interactions are dropped; --config.data.k_core=5 drops rare users and
    items.
  * Ids may be any text, and are compared as they are written, without blanks around them. If all
    are whole numbers, they count as numbers.
  * Items that the table of items lacks keep their id alone; those without an interaction are left
    out. A table whose ids hardly meet those of the log is refused.
  * What is no number, no date or no such column ends with one sentence that names file and line.

Nobody has tuned these settings for your data. Training validates every 100 steps, stops after three
validations without a better NDCG@10 (--config.train.patience=3) and keeps the best parameters. A
step sees up to 32 × 50 interactions (train.batch_size × model.history_length), so that 1,500 steps
are 30 passes over 80,000 interactions. The learning rate falls until the last step, so give steps
in proportion: for a million --config.train.steps=19000 --config.train.validate_every=1000. If the
last validation was the best, give more. Histories much longer than 50 want a longer
--config.model.history_length; catalogues beyond 50,000 items --config.tokenizer.num_levels=3.

Lists also go by what followed in other histories (model.followers) and by the similarity of items'
vectors (model.similarity). How much each of them counts is fitted on validation when the training
ends, and printed; what does not help on your log gets next to no weight.
"""

from ml_collections import ConfigDict

from sidrec.config import check_variant, custom_config


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant)
  config = custom_config()
  if variant == "tiny":
    config.train.steps = 100
    config.train.validate_every = 50
    config.evaluation.search_cost.enabled = False
  return config
