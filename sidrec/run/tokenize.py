"""Stage 2: dataset.npz → item vectors → semantic_ids.json, with a report on its quality."""

from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sidrec.core.settings import from_dict
from sidrec.data.cache import load_dataset
from sidrec.features.settings import FeaturesConfig
from sidrec.parallel.hosts import from_primary
from sidrec.run.item_vectors import checkpoint_folders, item_vectors, vector_files
from sidrec.run.prepare import PREPARE
from sidrec.run.stage import Stage
from sidrec.run.tokenize_items import TOKENIZED_FILES, id_files, tokenize_items, write_tokenized
from sidrec.tokenizers.settings import TokenizerConfig
from sidrec.training.checkpoint import save_params


def tokenize(config: ConfigDict, workdir: Path) -> None:
  """Makes the vectors, fits the tokenizer and writes the IDs."""
  dataset = load_dataset(workdir / "dataset.npz")
  made = item_vectors(_features(config), dataset, config.seed, workdir)
  for note in made.notes:
    print(f"tokenize: {note}")
  # The last bits may differ from one host to another; the primary host's count.
  from_primary(lambda: np.save(workdir / "vectors.npy", made.vectors_NxF))
  vectors_NxF = np.load(workdir / "vectors.npy")
  save_params(workdir / "features", made.params)
  tokenized = tokenize_items(tokenizer_config(config), dataset, vectors_NxF, config.seed, workdir)
  from_primary(lambda: write_tokenized(workdir, tokenized, dataset.items))
  print((workdir / "tokenizer.txt").read_text(encoding="utf-8"))


def _features(config: ConfigDict) -> FeaturesConfig:
  return from_dict(FeaturesConfig, config.features.to_dict())


def tokenizer_config(config: ConfigDict) -> TokenizerConfig:
  """The settings of the tokenizer; ValueError for some that make no sense."""
  return from_dict(TokenizerConfig, config.tokenizer.to_dict())


def _settings(config: ConfigDict) -> dict[str, Any]:
  return {
    "seed": config.seed,
    "features": config.features.to_dict(),
    "tokenizer": config.tokenizer.to_dict(),
  }


def _files(config: ConfigDict) -> dict[str, Any]:
  return {**vector_files(_features(config)), **id_files(tokenizer_config(config))}


def _outputs(config: ConfigDict) -> list[str]:
  trained = checkpoint_folders(_features(config))
  return ["vectors.npy", "features", *trained, "tokenizer", *TOKENIZED_FILES]


TOKENIZE = Stage(
  "tokenize",
  after=lambda config: (PREPARE,),
  settings=_settings,
  files=_files,
  outputs=_outputs,
  build=tokenize,
)
