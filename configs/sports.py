"""Amazon Sports and Outdoors (2014, 5-core): the recommender of configs/beauty.py on more items.

  python -m sidrec.main --config=configs/sports.py

Wants the sequence files at $SIDREC_DATA_DIR/amazon-sports, and either the extra 'text' (to embed
the template below) or --config.features.text.path=FILE with vectors by item id.

Hardware: 2 CPU cores. Time: about 12 minutes without SASRec and BSARec, with ready text vectors and
other work on the cores. Result (leave-last-out, 35,598 users, 18,357 items, full ranking, 50 beams,
seed 0, text vectors of all-MiniLM-L6-v2):

                                 sidrec                              BSARec  SASRec  item-kNN
  test, seen items masked        Recall@10 0.0691  NDCG@10 0.0408    0.0335  0.0254  0.0305
  test, seen items unmasked      Recall@10 0.0691  NDCG@10 0.0408    0.0233  0.0186  0.0289

(The last three: NDCG@10. Recall@10 of BSARec is 0.0577, masked.) Three seeds have 0.0690 ± 0.0007
and 0.0408 ± 0.0004 masked; with weights set by hand (1 and, for similarity, 0.5) it was 0.0678 and
0.0402. Without model.similarity and search.follower_candidates sidrec had 0.0591 and 0.0348,
without model.followers, too, 0.0556 and 0.0321. Nobody buys an item twice here, and model.repeats
learns it; with neither, sidrec had 0.0539 and 0.0306 masked, 0.0499 and 0.0241 unmasked. The
settings are those chosen on Beauty, with more steps for more users; none was tuned here.

BSARec and SASRec train for as many steps as sidrec. They can be left out, by
--config.bsarec.enabled=false and --config.sasrec.enabled=false.

configs/sports.py:tiny runs the same stages without these two. It was not timed. Most of its time is
the evaluation of all users, as on Beauty.
"""

from ml_collections import ConfigDict

from sidrec.config import amazon_config, check_variant, shrink_amazon


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant)
  config = amazon_config("amazon-sports", variant)
  config.train.steps = 3600
  config.train.validate_every = 400
  config.sasrec.train.steps = 3600
  config.sasrec.train.validate_every = 300
  config.bsarec.enabled = not variant
  config.bsarec.train.steps = 3600
  config.bsarec.train.validate_every = 600
  if variant == "tiny":
    shrink_amazon(config)
  return config
