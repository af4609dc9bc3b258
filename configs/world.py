"""A synthetic world of 10^3 to 10^7 items, whose next-item distribution is known exactly.

  python -m sidrec.bench.world --items=10000 --users=10000 --folder=runs/worlds/1e4
  python -m sidrec.main --config=configs/world.py:1e4
  python -m sidrec.bench.world --score=runs/world-1e4

The first makes the world, the last compares the run with the best possible lists. Variants, with
the users that go with them, and what is off at which size:

  1e3   3,000 users      all tables by item and node, item head; validated and tested on all users
  1e4   10,000 users     the same, but validated and tested on 4,000 users; as without a variant
  1e5   50,000 users     the same, one level of codes more
  1e6   1,670,000 users  one level more, 16 followers of each item instead of 64, 40 beams; off:
                         item embeddings, item head, node biases, node vectors; a wider model of
                         fixed size instead; no SASRec, whose table would be the only one by item;
                         --mode=train, for the evaluation's baselines score all items for each user
  1e7   1,000,000 users  the same, one level of codes more

Hardware: 2 CPU cores. Time: at 1e4 the recommender takes 5 minutes of CPU time, SASRec at 1e3 one;
measured while other work filled the cores. Result (expected NDCG@10 of 2,000 users before their
test event, items of the history included, 50 beams, seed 0):

         oracle    sidrec            SASRec            item-kNN    popular
  1e3    0.3379    0.2278 (67%)      0.2126 (63%)      0.2022      0.0504
  1e4    0.2643    0.1489 (56%)      0.1049 (40%)      0.1410      0.0195
  1e6    0.2179    0.1156 (53%)      0.0116 (5%)       0.1118      0.0026
  1e7    0.2037    0.0853 (42%)

The share of the oracle's is in parentheses. SASRec had 1,600 of its 6,000 steps at 1e4, and as much
time as sidrec at 1e6, where 26 minutes on busy cores took sidrec over 20 million events; it had
Adam there, where the config has lazy Adam now. Rows of SASRec at 1e3 and 1e4 are older; 1e5 was not
trained. docs/results.md has the commands.
Learning rates and dropout are one choice for all sizes, dropout by validation at 1e4.
configs/world.py:tiny is 1e3 with 100 steps and without SASRec; it learns little.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from sidrec.config import check_variant, default_config


class Size(NamedTuple):
  """What depends on the number of items."""

  levels: int  # of the tokenizer
  codes: int  # of each level
  by_item: bool  # whether the model has tables with a row for each item or trie node
  width: int
  hidden: int
  batch_size: int
  steps: int
  sasrec_steps: int
  in_memory: int  # users whom validation and tests see; 0 for all
  followers: int  # that are kept of each item
  beams: int
  candidates: int  # that followed


SIZES = {
  "1e3": Size(2, 64, True, 64, 256, 32, 1500, 1500, 0, 64, 50, 32),
  "1e4": Size(2, 256, True, 64, 256, 32, 4000, 6000, 4000, 64, 50, 32),
  "1e5": Size(3, 256, True, 64, 256, 64, 10000, 15000, 4000, 64, 50, 32),
  "1e6": Size(4, 256, False, 128, 512, 64, 6000, 0, 4000, 16, 40, 16),
  "1e7": Size(5, 256, False, 128, 512, 64, 6000, 0, 4000, 16, 40, 16),
}


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant, *SIZES)
  name = {"": "1e4", "tiny": "1e3"}.get(variant, variant)
  size = SIZES[name]
  config = default_config()
  config.data.source = "store"
  config.data.path = f"runs/worlds/{name}/histories"
  config.data.store.users = size.in_memory
  config.features.content.weight = 0.0
  config.features.cooccurrence.weight = 0.0
  config.features.text.weight = 1.0
  config.features.text.path = f"runs/worlds/{name}/vectors.npy"
  config.tokenizer.name = "residual_kmeans"
  config.tokenizer.num_levels = size.levels
  config.tokenizer.codebook_size = size.codes
  config.model.history_length = 50
  config.model.width = size.width
  config.model.head_width = size.width // 2
  config.model.hidden = size.hidden
  config.model.encoder_dropout = 0.3
  config.model.decoder_dropout = 0.1
  config.model.item_embedding = size.by_item
  config.model.node_bias = size.by_item
  config.model.node_vectors = size.by_item
  config.model.item_head = size.by_item
  config.model.item_negatives = 512
  config.model.repeats = True
  config.model.followers = size.followers
  config.search.beams = size.beams
  config.search.follower_candidates = size.candidates
  config.search.weights = "fitted"
  config.train.batch_size = size.batch_size
  config.train.steps = size.steps
  config.train.validate_every = size.steps // 4
  config.train.valid_users = 500
  config.sasrec.enabled = size.sasrec_steps > 0 and variant != "tiny"
  config.sasrec.model.history_length = 50
  config.sasrec.model.dropout = 0.1
  config.sasrec.model.negatives = 512
  config.sasrec.train.batch_size = size.batch_size
  config.sasrec.train.lazy_adam = not size.by_item  # where whole tables would take most of a step
  config.sasrec.train.steps = max(size.sasrec_steps, 1)
  config.sasrec.train.validate_every = max(size.sasrec_steps // 4, 1)
  config.sasrec.train.valid_users = 500
  if variant == "tiny":
    config.train.steps = 100
    config.train.validate_every = 50
    config.evaluation.search_cost.enabled = False
  return config
