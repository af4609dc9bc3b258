"""The settings of a run, with their defaults; experiments in `configs/` change some of them."""

from pathlib import Path

from ml_collections import ConfigDict

from sidrec.core.settings import to_dict
from sidrec.data.settings import DataConfig


def default_config() -> ConfigDict:
  """Every setting there is. A name that is not here is refused, with the nearest one that is."""
  config = ConfigDict()
  config.seed = 0

  # How a run is computed, which changes no result but for rounding: no stage is done again for it.
  config.mesh = ConfigDict()
  config.mesh.model = 1  # devices that large parameters are spread over; the others share batches
  config.profile_steps = 0  # steps of the recommender's training to trace into <workdir>/profile

  config.data = ConfigDict(to_dict(DataConfig()))

  # Blocks of an item's vector; each counts by its weight, and a weight of 0 leaves it out.
  config.features = ConfigDict()
  config.features.content = ConfigDict()  # what the catalogue says: no behaviour needed
  config.features.content.weight = 0.3
  config.features.content.title_buckets = 256
  config.features.content.max_categories = 512
  config.features.content.tag_buckets = 0  # for categories beyond the most frequent ones
  config.features.content.text_buckets = 0  # for words of the free text
  config.features.content.scaling = "standard"  # of numbers; or 'quantile'
  config.features.content.statistics = False  # mean rating and popularity in training, too
  config.features.cooccurrence = ConfigDict()  # which items are consumed near each other
  config.features.cooccurrence.weight = 1.0
  config.features.cooccurrence.dim = 64
  config.features.cooccurrence.window = 5
  config.features.item2vec = ConfigDict()  # the same, by skip-gram with negative sampling
  config.features.item2vec.weight = 0.0
  config.features.item2vec.dim = 64
  config.features.item2vec.window = 5
  config.features.item2vec.steps = 3000
  config.features.sasrec = ConfigDict()  # the item embeddings of a small SASRec
  config.features.sasrec.weight = 0.0
  config.features.sasrec.history_length = 50
  config.features.sasrec.width = 64
  config.features.sasrec.dropout = 0.2
  config.features.sasrec.steps = 3000
  config.features.text = ConfigDict()  # sentence embeddings
  config.features.text.weight = 0.0
  config.features.text.path = ""  # a ready file of ids and vectors; empty to embed the template
  config.features.text.model = "sentence-transformers/all-MiniLM-L6-v2"  # or a local folder
  config.features.text.template = "{title}. Categories: {categories}."
  for name in ("text", "image", "audio"):
    if name not in config.features:  # ready files only
      config.features[name] = ConfigDict({"weight": 0.0, "path": ""})
    config.features[name].id = "item_id"  # what the file calls its ids and its vectors
    config.features[name].vector = "embedding"
    config.features[name].missing = "mean"  # or 'zero' or 'error': for items not in the file
  config.features.whiten = 0  # dimensions that PCA keeps and whitens; 0 leaves vectors as they are

  config.tokenizer = ConfigDict()
  # Or residual_kmeans, hierarchical_kmeans, product_quantization, lsh, category, radix, file.
  config.tokenizer.name = "rqvae"
  config.tokenizer.num_levels = 2  # before the digit that makes colliding IDs unique
  config.tokenizer.codebook_size = 256
  config.tokenizer.collisions = "extra_digit"  # or 'reassign': move to the nearest free ID
  config.tokenizer.rqvae = ConfigDict()
  config.tokenizer.rqvae.hidden = (256, 128)
  config.tokenizer.rqvae.latent_dim = 32
  config.tokenizer.rqvae.commitment = 2.0  # less keeps more of the vectors, and collides more
  config.tokenizer.rqvae.codebook_update = "ema"  # or 'gradient'
  config.tokenizer.rqvae.estimator = "straight_through"  # or 'rotation'
  config.tokenizer.rqvae.distance = "euclidean"  # or 'cosine'
  config.tokenizer.rqvae.sinkhorn_levels = "none"  # or 'last' or 'all': balanced in training
  config.tokenizer.rqvae.sinkhorn_epsilon = 0.003
  config.tokenizer.rqvae.batch_size = 1024
  config.tokenizer.rqvae.learning_rate = 5e-3
  config.tokenizer.rqvae.weight_decay = 0.0
  config.tokenizer.rqvae.steps = 2000
  config.tokenizer.rqvae.steps_per_call = 50
  config.tokenizer.rqvae.validate_every = 200
  config.tokenizer.kmeans = ConfigDict()  # of every tokenizer that is made of k-means
  config.tokenizer.kmeans.iterations = 50
  # A code takes at most that many times its fair share of the items; 0 for no bound. Without one,
  # k-means on what the first level leaves puts most items into a few clusters.
  config.tokenizer.kmeans.balance = 1.5
  config.tokenizer.category = ConfigDict()
  config.tokenizer.category.path = ("category_1", "decade")
  config.tokenizer.category.rest = "residual_kmeans"  # for the levels below the path
  config.tokenizer.file = ConfigDict()
  config.tokenizer.file.path = ""  # semantic_ids.json of a run, or an index of LC-Rec's form
  config.tokenizer.file.offset = 0  # the file's number of an item minus its id in the data set

  config.model = ConfigDict()
  config.model.setting = "dense"  # or 'tiger'
  config.model.history_length = 100
  config.model.width = 64
  config.model.heads = 2
  config.model.head_width = 32
  config.model.hidden = 256
  config.model.encoder_layers = 2
  config.model.decoder_layers = 1
  config.model.encoder_dropout = 0.2
  config.model.decoder_dropout = 0.0
  config.model.item_embedding = True
  config.model.node_bias = True
  config.model.node_vectors = True
  config.model.item_head = False  # the encoder predicts items too; dense setting only
  config.model.item_negatives = 0  # sampled items of its softmax in training; 0 for all items
  config.model.positions = "absolute"  # or 'relative': T5's attention bias instead
  config.model.user_tokens = 0  # buckets that users are hashed into; 0 for none; tiger setting only
  config.model.constrained_softmax = True  # over real continuations; False: over all codes
  config.model.dtype = "float32"  # or 'bfloat16'; softmax and parameters stay float32
  config.model.remat = False  # blocks are computed again in the backward pass, to save memory

  config.train = ConfigDict()
  config.train.batch_size = 16
  config.train.accumulate = 1  # micro-batches that a step's gradient is computed in
  config.train.steps = 3000
  config.train.steps_per_call = 10
  config.train.learning_rate = 2e-3
  config.train.warmup_steps = 200
  config.train.schedule = "cosine"  # or 'inverse_sqrt': at its peak for warmup_steps, then 1/√step
  config.train.weight_decay = 0.05
  config.train.clip_norm = 1.0
  config.train.average_decay = 0.999  # of the moving average of parameters; 0 keeps none
  config.train.item_loss = 1.0  # what the item head's loss counts beside the semantic ID's
  config.train.validate_every = 300
  config.train.valid_users = 1500  # a random sample, so that validating stays cheap
  config.train.patience = 3  # validations without a better NDCG@10 before stopping; 0 never stops

  config.sasrec = ConfigDict()  # what the recommender is compared with; not an item vector
  config.sasrec.enabled = False  # whether evaluations train it and show it
  config.sasrec.model = ConfigDict()
  config.sasrec.model.history_length = 200
  config.sasrec.model.width = 64
  config.sasrec.model.heads = 2
  config.sasrec.model.layers = 2
  config.sasrec.model.hidden = 256
  config.sasrec.model.dropout = 0.2
  config.sasrec.model.item_bias = False  # each item's popularity
  config.sasrec.model.negatives = 0  # sampled items of the softmax in training; 0 for all items
  config.sasrec.model.dtype = "float32"
  config.sasrec.train = ConfigDict()  # as config.train
  config.sasrec.train.batch_size = 16
  config.sasrec.train.accumulate = 1
  config.sasrec.train.steps = 5000
  config.sasrec.train.steps_per_call = 10
  config.sasrec.train.learning_rate = 2e-3
  config.sasrec.train.warmup_steps = 200
  config.sasrec.train.schedule = "cosine"
  config.sasrec.train.weight_decay = 0.05
  config.sasrec.train.clip_norm = 1.0
  config.sasrec.train.average_decay = 0.999
  config.sasrec.train.validate_every = 500
  config.sasrec.train.valid_users = 1500
  config.sasrec.train.patience = 3

  config.evaluate = ConfigDict()
  config.evaluate.beams = 50  # prefixes kept at each level; more find more of the true top K
  config.evaluate.results = 20
  config.evaluate.item_weight = 1.0  # of the item head's scores beside the search's, if it is there
  config.evaluate.batch_size = 0  # users at once; 0 for 16 a CPU device, 128 another device

  config.cold_start = ConfigDict()  # mode 'cold_start': new items, measured
  config.cold_start.fraction = 0.05  # of the items, drawn evenly and held out
  config.cold_start.seed = 0  # of the draw
  config.cold_start.shares = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)  # on validation
  config.cold_start.largest_loss = 0.025  # of warm recall@10 there, relative
  config.cold_start.held_out = False  # leaves these items out of this run; the mode sets it
  return config


def run_name(config_path: str) -> str:
  """'configs/ml1m.py:tiny' → 'ml1m-tiny', the default folder name below runs/."""
  path, _, variant = config_path.partition(":")
  return Path(path).stem + (f"-{variant}" if variant else "")
