"""Defaults and constants that decide results, against where they come from.

A test that fails here says that somebody changed a number by which results were measured. Where a
paper or another project is named, the number is theirs; 'measured' means that this project's
results (README, docs, docstrings of configs) were made with it, and have to be made again.
"""

import inspect

import pytest
from shipped import FILES, FREE, flatten

from sidrec.config import default_config
from sidrec.core.settings import from_dict, to_dict
from sidrec.evaluation import bootstrap, intervals
from sidrec.evaluation.baselines import POPULARITY_EXPONENTS, item_knn
from sidrec.evaluation.metrics import COVERAGE_AT
from sidrec.evaluation.published import PUBLISHED
from sidrec.features import behaviour
from sidrec.features.cooccurrence import positive_pmi
from sidrec.models import histories, positions
from sidrec.models import similarity as models_similarity
from sidrec.models.sasrec import SASRecConfig
from sidrec.models.settings import RecommenderConfig
from sidrec.search import recommend, similarity
from sidrec.search.settings import SearchConfig
from sidrec.tokenizers import product_quantization
from sidrec.tokenizers.kmeans import hierarchical, kmeans, residual
from sidrec.tokenizers.rqvae import autoencoder


def defaults_of(function):
  """The arguments that may be left out, with what they are then."""
  parameters = inspect.signature(function).parameters.values()
  return {p.name: p.default for p in parameters if p.default is not p.empty}


# Off until measured for a config: histories are items alone.
INPUTS = {
  "gap": False,
  "time_bias": False,
  "rating": False,
  "request_time": "unknown",
  "rating_step": 1.0,
  "earlier": 0,
  "actions": (),
  "user_attributes": (),
}
DEFAULTS = {
  **{
    f"{model}.inputs.{name}": value
    for model in ("model", "sasrec.model", "bsarec.model", "features.sasrec")
    for name, value in INPUTS.items()
  },
  # Protocol: leave-last-out of SASRec and TIGER; no user with fewer than 3 can be split.
  "data.min_interactions": 3,
  "data.k_core": 0,
  "data.shuffle_ties": -1,
  "data.repeats": "keep",
  # Blocks of item vectors: measured (MovieLens-1M, README).
  "features.content.weight": 0.3,
  "features.content.title_buckets": 256,
  "features.content.max_categories": 512,
  "features.content.tag_buckets": 0,
  "features.content.text_buckets": 0,
  "features.content.scaling": "standard",
  "features.content.statistics": False,
  "features.cooccurrence.weight": 1.0,
  "features.cooccurrence.dim": 64,
  "features.cooccurrence.window": 5,
  "features.item2vec.weight": 0.0,
  "features.item2vec.dim": 64,
  "features.item2vec.window": 5,  # word2vec's
  "features.item2vec.steps": 3000,
  # Barkan and Koenigstein (2016) and word2vec (Mikolov et al., 2013), as far as not measured.
  "features.item2vec.batch_size": 4096,
  "features.item2vec.negatives": 2,
  "features.item2vec.shared_negatives": 64,
  "features.item2vec.exponent": 0.75,  # word2vec's
  "features.item2vec.subsample": 0.0,
  "features.item2vec.learning_rate": 0.02,
  "features.sasrec.weight": 0.0,
  "features.sasrec.history_length": 50,
  "features.sasrec.width": 64,
  "features.sasrec.dropout": 0.2,
  "features.sasrec.steps": 3000,
  "features.text.weight": 0.0,
  "features.text.model": "sentence-transformers/all-MiniLM-L6-v2",
  "features.text.template": "{title}. Categories: {categories}.",
  "features.text.missing": "mean",
  "features.image.weight": 0.0,
  "features.audio.weight": 0.0,
  "features.whiten": 0,
  # Two levels of 256 and a digit: measured. 256 codes are TIGER's, arXiv:2305.05065, section 4.
  "tokenizer.name": "rqvae",
  "tokenizer.num_levels": 2,
  "tokenizer.codebook_size": 256,
  "tokenizer.collisions": "extra_digit",
  "tokenizer.rqvae.hidden": (256, 128),
  "tokenizer.rqvae.latent_dim": 32,  # TIGER's
  "tokenizer.rqvae.commitment": 2.0,
  "tokenizer.rqvae.kmeans_iterations": 30,
  "tokenizer.rqvae.usage_decay": 0.97,
  "tokenizer.rqvae.revive_below": 0.05,
  "tokenizer.rqvae.codebook_update": "ema",
  "tokenizer.rqvae.estimator": "straight_through",
  "tokenizer.rqvae.distance": "euclidean",
  "tokenizer.rqvae.sinkhorn_levels": "none",
  "tokenizer.rqvae.sinkhorn_epsilon": 0.003,  # LC-Rec's
  "tokenizer.rqvae.sinkhorn_iterations": 50,  # LC-Rec's
  "tokenizer.rqvae.batch_size": 1024,  # TIGER's
  "tokenizer.rqvae.learning_rate": 5e-3,
  "tokenizer.rqvae.weight_decay": 0.0,
  "tokenizer.rqvae.steps": 2000,
  "tokenizer.rqvae.validate_every": 200,
  "tokenizer.kmeans.iterations": 50,
  "tokenizer.kmeans.balance": 1.5,  # measured: the README's table of tokenizers
  "tokenizer.product_quantization.rotation": True,  # Ge et al. (2013)
  "tokenizer.lsh.centre": True,
  "tokenizer.category.path": ("category_1", "decade"),
  "tokenizer.category.rest": "residual_kmeans",
  # The recommender: measured on MovieLens-1M.
  "model.setting": "dense",
  "model.history_length": 100,
  "model.width": 64,
  "model.heads": 2,
  "model.head_width": 32,
  "model.hidden": 256,
  "model.encoder_layers": 2,
  "model.decoder_layers": 1,
  "model.encoder_dropout": 0.2,
  "model.decoder_dropout": 0.0,
  "model.item_embedding": True,
  "model.node_bias": True,
  "model.node_vectors": True,
  "model.item_head": False,
  "model.item_negatives": 0,
  "model.positions": "absolute",
  "model.user_tokens": 0,
  "model.constrained_softmax": True,
  "model.repeats": False,
  "model.followers": 0,  # off until measured for a config
  "model.similarity": False,
  "model.similarity_bytes": 0,
  "model.item_width": 0,
  "model.node_width": 0,
  "model.unseen": 0.0,  # off until measured for a config
  "model.dtype": "float32",
  "train.batch_size": 16,
  "train.accumulate": 1,
  "train.steps": 3000,
  "train.learning_rate": 2e-3,
  "train.warmup_steps": 200,
  "train.schedule": "cosine",
  "train.weight_decay": 0.05,
  "train.clip_norm": 1.0,
  "train.average_decay": 0.999,
  "train.lazy_adam": False,
  "train.item_loss": 1.0,
  "train.targets": (),
  "train.least_rating": 0.0,
  "train.validate_every": 300,
  "train.valid_users": 1500,
  "train.patience": 3,
  # SASRec, tuned on validation as the recommender is: measured.
  "sasrec.enabled": False,
  "sasrec.model.history_length": 200,  # the paper's for MovieLens-1M, arXiv:1808.09781
  "sasrec.model.width": 64,
  "sasrec.model.heads": 2,
  "sasrec.model.layers": 2,  # the paper's
  "sasrec.model.hidden": 256,
  "sasrec.model.dropout": 0.2,  # the paper's for MovieLens-1M
  "sasrec.model.item_bias": False,
  "sasrec.model.negatives": 0,
  "sasrec.model.dtype": "float32",
  "sasrec.model.norms": "before",
  "sasrec.model.counted_from": "oldest",
  "sasrec.model.filter.share": 0.0,
  "sasrec.model.filter.frequencies": 3,
  "sasrec.model.filter.ahead": True,
  "sasrec.train.batch_size": 16,
  "sasrec.train.accumulate": 1,
  "sasrec.train.steps": 5000,
  "sasrec.train.learning_rate": 2e-3,
  "sasrec.train.warmup_steps": 200,
  "sasrec.train.schedule": "cosine",
  "sasrec.train.weight_decay": 0.05,
  "sasrec.train.clip_norm": 1.0,
  "sasrec.train.average_decay": 0.999,
  "sasrec.train.lazy_adam": False,
  "sasrec.train.validate_every": 500,
  "sasrec.train.valid_users": 1500,
  "sasrec.train.patience": 3,
  "sasrec.train.predicts": "every",
  # BSARec: arXiv:2312.10325 and its code for Amazon Beauty, as far as nothing else is said.
  "bsarec.enabled": False,
  "bsarec.model.history_length": 50,
  "bsarec.model.width": 64,
  "bsarec.model.heads": 1,
  "bsarec.model.layers": 2,
  "bsarec.model.hidden": 256,
  "bsarec.model.dropout": 0.5,
  "bsarec.model.item_bias": False,
  "bsarec.model.negatives": 0,
  "bsarec.model.dtype": "float32",
  "bsarec.model.norms": "after",
  "bsarec.model.counted_from": "newest",
  "bsarec.model.filter.share": 0.7,
  "bsarec.model.filter.frequencies": 3,
  "bsarec.model.filter.ahead": True,
  "bsarec.train.predicts": "last",
  "bsarec.train.batch_size": 48,  # rows that hold about its 256 prefixes
  "bsarec.train.accumulate": 1,
  "bsarec.train.steps": 5000,
  "bsarec.train.learning_rate": 1e-3,  # theirs is constant, 5e-4; ours falls
  "bsarec.train.warmup_steps": 200,
  "bsarec.train.schedule": "cosine",
  "bsarec.train.weight_decay": 0.0,
  "bsarec.train.clip_norm": 1.0,
  "bsarec.train.average_decay": 0.999,
  "bsarec.train.lazy_adam": False,
  "bsarec.train.validate_every": 500,
  "bsarec.train.valid_users": 1500,
  "bsarec.train.patience": 3,
  # Every results table is of 50 beams: they find 99.8% of the exact top ten (README).
  "search.beams": 50,
  "search.results": 20,  # Recall@20 and NDCG@20 are the deepest metrics
  "search.follower_weight": 1.0,  # measured on the validation of Beauty and of the shipped data
  "search.follower_candidates": 0,
  "search.weights": "given",
  "search.similarity_weight": 0.1,  # the best on the validation of the shipped data
  "search.item_weight": 1.0,
  "search.temperature": 1.0,
  "search.level_weights": (),
  "search.most_per_prefix": 0,
  "search.prefix_levels": 1,
  "search.certify": False,
  # New items: measured on Amazon Beauty (README).
  "cold_start.fraction": 0.05,
  "cold_start.seed": 0,
  "cold_start.shares": (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.125,
    0.15,
    0.2,
    0.25,
    0.3,
    0.4,
  ),
  "cold_start.largest_loss": 0.025,
  # A share of the grid that --mode=cold_start tries, for a catalogue with a few new items.
  "serving.new_items": "similarity",
  "serving.new_share": 0.05,
  "serving.largest_batch": 0,
  "seed": 0,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
  assert flatten(default_config())[name] == DEFAULTS[name]


def test_no_setting_that_decides_results_is_left_out():
  deciding = {name for name in flatten(default_config()) if not name.startswith(FREE + FILES)}
  assert deciding <= set(DEFAULTS)


def test_the_library_and_the_settings_agree():
  """Each default stands in one place or is the same in both."""
  config = default_config()
  of_library = to_dict(SASRecConfig(num_items=1))
  assert config.sasrec.model.to_dict() == {
    setting: value for setting, value in of_library.items() if setting != "num_items"
  }
  assert config.model.to_dict() == to_dict(RecommenderConfig())


def test_rqvae():
  assert autoencoder.OUTPUT_SCALE == 0.5


def test_kmeans():
  """Measured: the README's tables of tokenizers."""
  assert kmeans.SEED_SAMPLE == 64
  assert residual.FIT_SAMPLE == 256
  assert residual.BALANCED_ITERATIONS == 4
  assert product_quantization.FIT_SAMPLE == 256
  assert hierarchical.NODE_SAMPLE == 128


def test_cooccurrence():
  """Levy, Goldberg and Dagan (2015): contexts to the power of 0.75."""
  assert defaults_of(positive_pmi) == {"smoothing": 0.75}


def test_item_knn():
  """Measured: README's rows of item-kNN look at the last ten items."""
  assert defaults_of(item_knn) == {"window": 20, "last": 10, "against_popular": 0.5}
  assert POPULARITY_EXPONENTS == (0.0, 0.25, 0.5)


def test_t5_relative_positions():
  """T5 (Raffel et al., JMLR 2020) and its configs: 32 buckets, the last from distance 128 on."""
  assert positions.NUM_BUCKETS == 32
  assert positions.MAX_DISTANCE == 128


def test_new_items():
  """Measured on Amazon Beauty (README, 'New items')."""
  assert histories.LATEST == 10
  assert models_similarity.DECAY == 0.7
  assert models_similarity.TEMPERATURE == 0.05
  assert similarity.AMONG == 20
  assert similarity.SEARCH_WEIGHT == 0.1
  assert behaviour.NEIGHBOURS == 10


def test_search():
  """What was evaluated is what the library recommends: its defaults are those of the configs."""
  assert from_dict(SearchConfig, default_config().search.to_dict()) == SearchConfig()
  options = {"temperature": 1.0, "level_weights": (), "most_per_prefix": 0, "prefix_levels": 1}
  assert options.items() <= to_dict(SearchConfig()).items()
  assert defaults_of(recommend.recommend)["search"] is None


def test_evaluation():
  assert COVERAGE_AT == 10
  assert bootstrap.RESAMPLES == 10_000
  assert intervals.REFERENCE == "sidrec"
  assert list(intervals.METRICS) == ["recall@10", "ndcg@10"]


# (data set, system, source) → Recall@10, NDCG@10 as the source prints them.
FIGURES = {
  # README of meta-recsys/generative-recommenders (arXiv:2402.17152), MovieLens-1M.
  ("movielens-1m", "SASRec, sampled softmax", "HSTU README"): (0.2853, 0.1603),
  ("movielens-1m", "HSTU", "HSTU README"): (0.3097, 0.1720),
  ("movielens-1m", "HSTU-large", "HSTU README"): (0.3294, 0.1893),
  # README of blondered/transformer_benchmark, 'Calculated'.
  ("movielens-1m", "SASRec, sampled softmax", "eSASRec README"): (0.2929, 0.1684),
  ("movielens-1m", "eSASRec", "eSASRec README"): (0.3133, 0.1772),
  ("movielens-1m", "HSTU", "eSASRec README"): (0.3037, 0.1719),
  ("movielens-1m", "FuXi-α", "eSASRec README"): (0.3164, 0.1813),
  ("amazon-beauty", "SASRec, sampled softmax", "eSASRec README"): (0.0921, 0.0531),
  ("amazon-beauty", "eSASRec", "eSASRec README"): (0.0928, 0.0523),
  ("amazon-beauty", "HSTU", "eSASRec README"): (0.0788, 0.0439),
  ("amazon-beauty", "FuXi-α", "eSASRec README"): (0.0809, 0.0451),
  ("amazon-sports", "SASRec, sampled softmax", "eSASRec README"): (0.0569, 0.0314),
  ("amazon-sports", "eSASRec", "eSASRec README"): (0.0560, 0.0323),
  ("amazon-sports", "HSTU", "eSASRec README"): (0.0437, 0.0243),
  ("amazon-sports", "FuXi-α", "eSASRec README"): (0.0437, 0.0244),
  # Table 1 of TIGER's paper (arXiv:2305.05065): Beauty, Sports and Outdoors.
  ("amazon-beauty", "SASRec", "TIGER paper"): (0.0605, 0.0318),
  ("amazon-beauty", "TIGER", "TIGER paper"): (0.0648, 0.0384),
  ("amazon-sports", "SASRec", "TIGER paper"): (0.0350, 0.0192),
  ("amazon-sports", "TIGER", "TIGER paper"): (0.0400, 0.0225),
  # README of blondered/transformer_benchmark, 'Reported'.
  ("amazon-beauty", "ActionPiece", "ActionPiece paper"): (0.0775, 0.0424),
  ("amazon-sports", "ActionPiece", "ActionPiece paper"): (0.0500, 0.0264),
  # README of NetEase-Media/HSTU-Tensorflow; src/output of xhy963319431/WEARec, history of 200.
  ("movielens-1m", "HSTU", "NetEase README"): (0.3419, 0.1944),
  ("movielens-1m", "WEARec", "WEARec logs"): (0.3334, 0.1904),
  # benchmark/ of MTandHJ/RecBoard, five seeds.
  ("amazon-beauty", "BSARec", "RecBoard"): (0.1004, 0.0609),
  ("amazon-sports", "BSARec", "RecBoard"): (0.0596, 0.0342),
  # The papers' own tables; RPG's and DiffGRM's as cornac quotes them next to its reruns.
  ("amazon-beauty", "FADE-0.6B", "FADE paper"): (0.1088, 0.0616),
  ("amazon-sports", "FADE-0.6B", "FADE paper"): (0.0684, 0.0371),
  ("amazon-beauty", "RPG", "RPG paper"): (0.0809, 0.0464),
  ("amazon-sports", "DiffGRM", "DiffGRM paper"): (0.0550, 0.0305),
}


def test_published_figures():
  found = {
    (dataset, row.system, row.protocol): (row.recall, row.ndcg)
    for dataset, rows in PUBLISHED.items()
    for row in rows
  }
  assert found == FIGURES
