"""Amazon Beauty (2014, 5-core): a dense recommender on RQ-VAE semantic IDs of text and behaviour.

  python -m sidrec.main --config=configs/beauty.py

Wants the sequence files at $SIDREC_DATA_DIR/amazon-beauty, and either the extra 'text' (to embed
the template below) or --config.features.text.path=FILE with vectors by item id.

Hardware: 2 CPU cores. Time: about 25 minutes with ready text vectors (15 minutes of CPU time
without SASRec and BSARec). Result (leave-last-out, 22,363 users, 12,101 items, full ranking, 50
beams, seed 0, text vectors of all-MiniLM-L6-v2):

                                 sidrec                              SASRec     item-kNN
  test, seen items masked        Recall@10 0.1085  NDCG@10 0.0658    0.0525     0.0526
  test, seen items unmasked      Recall@10 0.1084  NDCG@10 0.0657    0.0376     0.0487

(SASRec and item-kNN: NDCG@10.) Three seeds have 0.1082 ± 0.0003 and 0.0659 ± 0.0002 masked, 0.1081
± 0.0002 and 0.0657 ± 0.0002 unmasked; with weights set by hand (1 and, for similarity, 0.5) it was
0.1058 ± 0.0001 and 0.0644 ± 0.0003 masked. Without model.similarity and search.follower_candidates
sidrec had 0.0971 and 0.0596 masked, without model.followers, too, 0.0932 and 0.0556. Nobody buys an
item twice here, and model.repeats learns it; with neither, sidrec had 0.0911 and 0.0546 masked,
0.0818 and 0.0403 unmasked. The other settings were chosen by the validation NDCG@10 of 4,000 users,
in single runs: re-scoring by the item head took it from 0.058 to 0.062 in one run, more dropout and
one encoder layer in place of two from 0.062 to 0.065, a learning rate of 3e-3 in place of 1e-3 and
more dropout in the decoder from there to 0.071.

BSARec and SASRec, three seeds, test, masked: Recall@10 0.0975 ± 0.0001 and 0.0867 ± 0.0002, NDCG@10
0.0582 ± 0.0001 and 0.0521 ± 0.0004; unmasked NDCG@10 0.0403 ± 0.0001 and 0.0373 ± 0.0004. Each
takes 3 minutes of training and as much of evaluation.
--config.bsarec.enabled=false leaves it out.

New items (--mode=cold_start --config.model.unseen=0.1, 10 minutes more; 605 items held out of
everything, test, masked): Recall@10 of their users 0.0960 (without them 0), of the others 0.1053 in
place of 0.1083. Without model.repeats and model.followers, three seeds have 0.0907 ± 0.0008 and
0.0549 ± 0.0003 masked, 0.0819 and 0.0408 unmasked; SASRec 0.0850 and 0.0508 masked.
configs/beauty.py:tiny runs the same stages, without SASRec, in about 8 minutes (measured while
tests ran beside it), most of them the evaluation of all users.
"""

from ml_collections import ConfigDict

from sidrec.config import amazon_config, check_variant, shrink_amazon


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant)
  config = amazon_config("amazon-beauty", variant)
  config.train.steps = 2400  # 23 passes
  config.sasrec.train.steps = 2400  # 58 passes
  config.sasrec.train.validate_every = 300
  config.bsarec.enabled = not variant
  config.bsarec.train.steps = 2400
  config.bsarec.train.validate_every = 400
  if variant == "tiny":
    shrink_amazon(config)
  return config
