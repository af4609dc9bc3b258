"""Amazon Beauty (2014, 5-core) as in TIGER (Rajput et al., NeurIPS 2023): a T5 on text IDs alone.

  python -m sidrec.main --config=configs/beauty_tiger.py

Wants the sequence files at $SIDREC_DATA_DIR/amazon-beauty, and either the extra 'text' (to embed
the template below with Sentence-T5) or --config.features.text.path=FILE with vectors by item id.

Hardware: a GPU. This has not been run to the end, and not on a GPU: there is no result and no time.
By count a step is 0.3 TFLOP, so hours rather than minutes. Checked were the first steps (MiniLM
vectors, an RQ-VAE of 200 steps), on 2 CPU cores that other work shared; uniform guessing would be
4 · ln 256 = 22.2 nats per item:

  batches of 256    7.5 seconds a step (17 days for all)    loss 22.6 → 16.4 in 6 steps
  batches of 64     1.8 seconds a step in the first 38      loss 22.6 → 15.9 in 45 steps

The last 7 steps took 26 seconds each, with the cores presumably taken. Most of the fall is the
digit's (5.6 → 0.4); the other levels went from 5.6 to between 4.9 and 5.4.

The paper's own result, for orientation (unmasked; no number of this project): Recall@10 0.0648,
NDCG@10 0.0384. The table to compare it with is 'test, seen items unmasked'.

As in the paper: RQ-VAE 512-256-128 → 32 with 3 × 256 codes and β 0.25 on text vectors, and a digit;
4 + 4 layers of width 128, 6 heads of 64, feed-forward 1024 with ReLU, dropout 0.1, T5's relative
position bias, nothing by item or trie node; 20 items of 4 tokens after one of 2,000 user tokens; a
softmax without constraint; sliding windows, batches of 256, 200,000 steps, learning rate 0.01 for
10,000 steps and then falling with 1/√step; no average of parameters.

What differs: AdamW behind a gradient clip, for the paper's optimiser and for the RQ-VAE's Adagrad.
T5X's Adafactor scales its steps with the parameters and AdamW does not, so 0.01 is bolder here;
that it holds for 10,000 steps is untested, and --config.train.learning_rate=0.001 the first thing
to try if the loss stays high. β weighs a mean over the latent's 32 numbers; each level has a
softmax of its own, where T5 has one over all tokens; dropout on embeddings and on what a layer
adds, not inside attention and feed-forward; titles and categories without prices; the best of the
validations is kept (NDCG@10 of 4,000 users), and the search finds real items only. The RQ-VAE
trains for 20,000 steps, the paper's for 20,000 epochs. The model has 5 million parameters; the
paper says about 13.

configs/beauty_tiger.py:tiny runs the same stages, with a small model, on 2 CPU cores in about
4 minutes (measured: 4 minutes 16 seconds while other work shared the cores); it learns next to
nothing.
"""

from ml_collections import ConfigDict

from sidrec.config import check_variant, default_config


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant)
  config = default_config()
  config.data.source = "amazon-beauty"
  config.features.content.weight = 0.0
  config.features.cooccurrence.weight = 0.0
  config.features.text.weight = 1.0
  config.features.text.model = "sentence-transformers/sentence-t5-base"
  config.features.text.template = "{title}. {text} Categories: {categories}."
  config.tokenizer.num_levels = 3
  config.tokenizer.rqvae.hidden = (512, 256, 128)
  config.tokenizer.rqvae.commitment = 0.25
  config.tokenizer.rqvae.codebook_update = "gradient"
  config.tokenizer.rqvae.learning_rate = 1e-3
  config.tokenizer.rqvae.steps = 20_000
  config.tokenizer.rqvae.validate_every = 1000
  config.model.setting = "tiger"
  config.model.history_length = 20
  config.model.width = 128
  config.model.heads = 6
  config.model.head_width = 64
  config.model.hidden = 1024
  config.model.encoder_layers = 4
  config.model.decoder_layers = 4
  config.model.encoder_dropout = 0.1
  config.model.decoder_dropout = 0.1
  config.model.positions = "relative"
  config.model.user_tokens = 2000
  config.model.constrained_softmax = False
  config.model.item_embedding = False
  config.model.node_bias = False
  config.model.node_vectors = False
  config.train.batch_size = 256
  config.train.steps = 200_000
  config.train.steps_per_call = 50
  config.train.learning_rate = 0.01
  config.train.warmup_steps = 10_000
  config.train.schedule = "inverse_sqrt"
  config.train.weight_decay = 0.0
  config.train.average_decay = 0.0
  config.train.validate_every = 2000
  config.train.valid_users = 4000
  config.train.patience = 0
  if variant == "tiny":
    config.tokenizer.rqvae.steps = 200
    config.tokenizer.rqvae.validate_every = 100
    config.model.width = 32
    config.model.heads = 2
    config.model.head_width = 16
    config.model.hidden = 64
    config.model.encoder_layers = 1
    config.model.decoder_layers = 1
    config.train.batch_size = 64
    config.train.steps = 200
    config.train.warmup_steps = 100
    config.train.validate_every = 100
    config.train.valid_users = 500
    config.search.beams = 20
    config.evaluation.search_cost.enabled = False
  return config
