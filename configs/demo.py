"""The data set shipped in the package: MovieTweetings 100K, users and films with 5 ratings or more.

  python -m sidrec.main --config=configs/demo.py

Hardware: 2 CPU cores. Time: 3 minutes. Result (leave-last-out, 4,333 users, 2,414 films, full
ranking, 50 beams, seed 0; test, seen items masked): Recall@10 0.2456, NDCG@10 0.1378; item-kNN has
0.2271 and 0.1259. With weights set by hand it was 0.2407 and 0.1350, without model.similarity and
search.follower_candidates, too, 0.2444 and 0.1347, and without model.followers 0.2250 and 0.1220.

configs/demo.py:tiny runs the same stages in under 1 minute.
"""

from ml_collections import ConfigDict

from sidrec.config import check_variant, default_config


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant)
  config = default_config()
  config.data.source = "demo"
  config.tokenizer.codebook_size = 128
  config.tokenizer.rqvae.steps = 600
  config.tokenizer.rqvae.commitment = 0.25
  config.model.history_length = 50
  config.model.encoder_dropout = 0.4
  config.model.followers = 64
  config.model.similarity = True
  config.search.follower_candidates = 32
  config.search.weights = "fitted"
  config.train.batch_size = 32
  config.train.steps = 1000
  config.train.validate_every = 100
  if variant == "tiny":
    config.tokenizer.rqvae.steps = 200
    config.train.steps = 150
    config.train.validate_every = 75
    config.evaluation.search_cost.enabled = False
  return config
