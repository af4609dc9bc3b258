"""MovieLens-1M on one GPU: a wide model in bfloat16, to see how much of the device a training uses.

  python -m sidrec.main --config=configs/ml1m_gpu.py --mode=train

Not run on an accelerator yet, and not tuned: it is sixteen times as wide as the model of
configs/ml1m.py, and nobody knows whether it ranks better. `launch/gpu_checks.sh` trains it for some
hundred steps, and records tokens a second and model FLOPs utilisation (MFU), which the progress
line and metrics.jsonl show, too.

Hardware: one GPU of 40 GiB or more, by estimate: attention's float32 logits take 0.2 GB a layer of
the encoder and 0.5 GB one of the decoder, several times each. A step is 25,600 events and about
26 TFLOP, so that an MFU of 40% would be 15 steps a second on an H100 (989 TFLOP/s).

Nearly all of its work is products of matrices. Node vectors are off: in training they are gathered
for each child of each prefix, which moves memory and multiplies little. Item vectors, item head and
biases by node stay. Variants: 512 is half as wide; tiny is narrow and short, for a look on a CPU.
"""

from ml_collections import ConfigDict

from sidrec.config import check_variant, default_config

HEADS = 8
WIDTHS = {"": 1024, "512": 512, "tiny": 32}


def get_config(variant: str = "") -> ConfigDict:
  check_variant(__file__, variant, "512")
  config = default_config()
  config.data.source = "movielens-1m"
  config.tokenizer.rqvae.commitment = 0.25
  config.model.dtype = "bfloat16"
  config.model.history_length = 200
  config.model.width = WIDTHS[variant]
  config.model.heads = HEADS
  config.model.head_width = WIDTHS[variant] // HEADS
  config.model.hidden = 4 * WIDTHS[variant]
  config.model.encoder_layers = 6
  config.model.decoder_layers = 2
  config.model.node_vectors = False
  config.model.item_head = True
  config.model.item_negatives = 512
  config.train.batch_size = 128
  config.train.learning_rate = 5e-4
  config.train.steps = 1500  # 38 passes
  config.train.validate_every = 300
  if variant == "tiny":
    config.tokenizer.rqvae.steps = 200
    config.model.history_length = 50
    config.model.encoder_layers = 1
    config.model.decoder_layers = 1
    config.train.batch_size = 16
    config.train.steps = 100
    config.train.validate_every = 50
    config.train.valid_users = 200
    config.evaluation.search_cost.enabled = False
  return config
