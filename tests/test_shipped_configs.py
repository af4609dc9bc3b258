"""What each file in configs/ changes: the results in its docstring and in the README are of that.

A test that fails here says that results have to be measured again. Where a paper is named, the
number is the paper's; the others were chosen on validation.
"""

import pytest
from shipped import FREE, ROOT, flatten, settings_of

from sidrec.config import default_config

AMAZON = {
  "features.content.weight": 0.0,
  "features.text.weight": 1.0,
  "features.text.template": "{title}. {text} Categories: {categories}.",
  "tokenizer.num_levels": 3,
  "model.history_length": 20,
  "model.width": 128,
  "model.head_width": 64,
}
AMAZON_DENSE = {
  **AMAZON,
  "model.encoder_layers": 1,
  "model.encoder_dropout": 0.5,
  "model.decoder_dropout": 0.3,
  "model.item_head": True,
  "model.item_negatives": 1024,
  "train.batch_size": 64,
  "train.learning_rate": 3e-3,
  "train.valid_users": 4000,
  "sasrec.enabled": True,
  "sasrec.model.history_length": 50,  # as SASRec's paper has it on Amazon's data
  "sasrec.model.width": 128,
  "sasrec.model.dropout": 0.5,  # as SASRec's paper has it on Amazon's data
  "sasrec.model.negatives": 1024,
  "sasrec.train.batch_size": 64,
  "sasrec.train.learning_rate": 3e-3,
  "sasrec.train.valid_users": 4000,
  "bsarec.model.heads": 2,
  "bsarec.model.negatives": 1024,
  "bsarec.model.counted_from": "oldest",
  "bsarec.model.filter.ahead": False,
  "bsarec.train.predicts": "every",
  "bsarec.train.batch_size": 64,
  "bsarec.train.learning_rate": 3e-3,
  "bsarec.train.weight_decay": 0.05,
  "bsarec.train.valid_users": 4000,
  "model.repeats": True,
  "model.followers": 64,
  "model.similarity": True,
  "search.follower_candidates": 32,
  "search.weights": "fitted",
}
CHANGED = {
  "demo": {
    "tokenizer.codebook_size": 128,
    "tokenizer.rqvae.steps": 600,
    "tokenizer.rqvae.commitment": 0.25,
    "model.history_length": 50,
    "model.encoder_dropout": 0.4,
    "model.followers": 64,
    "model.similarity": True,
    "search.follower_candidates": 32,
    "search.weights": "fitted",
    "train.batch_size": 32,
    "train.steps": 1000,
    "train.validate_every": 100,
  },
  "custom": {
    "tokenizer.name": "residual_kmeans",
    "model.history_length": 50,
    "model.encoder_dropout": 0.4,
    "model.followers": 64,
    "model.similarity": True,
    "search.follower_candidates": 32,
    "search.weights": "fitted",
    "train.batch_size": 32,
    "train.steps": 1500,
    "train.validate_every": 100,
  },
  "ml1m": {
    "tokenizer.rqvae.commitment": 0.25,
    "model.history_length": 200,
    "model.item_head": True,
    "model.item_negatives": 512,
    "train.learning_rate": 3e-3,
    "train.steps": 7500,
    "train.validate_every": 750,
    "sasrec.enabled": True,
    "sasrec.model.heads": 1,  # the paper's
    "sasrec.model.negatives": 512,
    "sasrec.train.learning_rate": 3e-3,
    "sasrec.train.steps": 6000,
    "sasrec.train.validate_every": 600,
  },
  # Nothing of it was tuned or measured.
  "ml1m_gpu": {
    "tokenizer.rqvae.commitment": 0.25,
    "model.dtype": "bfloat16",
    "model.history_length": 200,
    "model.width": 1024,
    "model.heads": 8,
    "model.head_width": 128,
    "model.hidden": 4096,
    "model.encoder_layers": 6,
    "model.decoder_layers": 2,
    "model.node_vectors": False,
    "model.item_head": True,
    "model.item_negatives": 512,
    "train.batch_size": 128,
    "train.learning_rate": 5e-4,
    "train.steps": 1500,
  },
  "beauty": {
    **AMAZON_DENSE,
    "train.steps": 2400,
    "sasrec.train.steps": 2400,
    "sasrec.train.validate_every": 300,
    "bsarec.enabled": True,
    "bsarec.train.steps": 2400,
    "bsarec.train.validate_every": 400,
  },
  "sports": {
    **AMAZON_DENSE,
    "train.steps": 3600,
    "train.validate_every": 400,
    "sasrec.train.steps": 3600,
    "sasrec.train.validate_every": 300,
    "bsarec.enabled": True,
    "bsarec.train.steps": 3600,
    "bsarec.train.validate_every": 600,
  },
  # Dropout, repeats and followers by validation at 10^4 items; the rest was not tuned.
  "world": {
    "features.content.weight": 0.0,
    "features.cooccurrence.weight": 0.0,
    "features.text.weight": 1.0,
    "features.text.path": "runs/worlds/1e4/vectors.npy",
    "tokenizer.name": "residual_kmeans",
    "model.history_length": 50,
    "model.encoder_dropout": 0.3,
    "model.decoder_dropout": 0.1,
    "model.repeats": True,
    "model.followers": 64,
    "search.follower_candidates": 32,
    "search.weights": "fitted",
    "model.item_head": True,
    "model.item_negatives": 512,
    "train.batch_size": 32,
    "train.steps": 4000,
    "train.validate_every": 1000,
    "train.valid_users": 500,
    "sasrec.enabled": True,
    "sasrec.model.history_length": 50,
    "sasrec.model.dropout": 0.1,
    "sasrec.model.negatives": 512,
    "sasrec.train.batch_size": 32,
    "sasrec.train.steps": 6000,
    "sasrec.train.validate_every": 1500,
    "sasrec.train.valid_users": 500,
  },
  # TIGER's paper, arXiv:2305.05065, section 4 and appendix; what differs is in the docstring.
  "beauty_tiger": {
    **AMAZON,
    "features.cooccurrence.weight": 0.0,
    "features.text.model": "sentence-transformers/sentence-t5-base",
    "tokenizer.rqvae.hidden": (512, 256, 128),
    "tokenizer.rqvae.commitment": 0.25,
    "tokenizer.rqvae.codebook_update": "gradient",
    "tokenizer.rqvae.learning_rate": 1e-3,
    "tokenizer.rqvae.steps": 20_000,
    "tokenizer.rqvae.validate_every": 1000,
    "model.setting": "tiger",
    "model.heads": 6,
    "model.hidden": 1024,
    "model.encoder_layers": 4,
    "model.decoder_layers": 4,
    "model.encoder_dropout": 0.1,
    "model.decoder_dropout": 0.1,
    "model.positions": "relative",
    "model.user_tokens": 2000,
    "model.constrained_softmax": False,
    "model.item_embedding": False,
    "model.node_bias": False,
    "model.node_vectors": False,
    "train.batch_size": 256,
    "train.steps": 200_000,
    "train.learning_rate": 0.01,
    "train.warmup_steps": 10_000,
    "train.schedule": "inverse_sqrt",
    "train.weight_decay": 0.0,
    "train.average_decay": 0.0,
    "train.validate_every": 2000,
    "train.valid_users": 4000,
    "train.patience": 0,
  },
}


@pytest.mark.parametrize("name", CHANGED)
def test_shipped_configs(name):
  before, after = flatten(default_config()), flatten(settings_of(name))
  changed = {key: value for key, value in after.items() if value != before[key]}
  deciding = {key: value for key, value in changed.items() if not key.startswith(FREE)}
  assert deciding == CHANGED[name]


def test_every_shipped_config_is_here():
  files = (ROOT / "configs").glob("*.py")
  assert set(CHANGED) == {path.stem for path in files if "def get_config" in path.read_text()}
