"""Stage 2: dataset.npz → item vectors → semantic_ids.json, with a report on its quality."""

from pathlib import Path
from typing import Any

import numpy as np

from sidrec.core.settings import to_dict
from sidrec.data.cache import load_dataset
from sidrec.parallel.hosts import from_primary
from sidrec.run.item_vectors import checkpoint_folders, item_vectors, vector_files
from sidrec.run.prepare import PREPARE
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Stage
from sidrec.run.tokenize_items import TOKENIZED_FILES, id_files, tokenize_items, write_tokenized
from sidrec.training.checkpoint import save_params


def tokenize(config: RunConfig, workdir: Path) -> None:
  """Makes the vectors, fits the tokenizer and writes the IDs."""
  dataset = load_dataset(workdir / "dataset.npz")
  made = item_vectors(config.features, dataset, config.seed, workdir)
  for note in made.notes:
    print(f"tokenize: {note}")
  # The last bits may differ from one host to another; the primary host's count.
  from_primary(lambda: np.save(workdir / "vectors.npy", made.vectors_NxF))
  vectors_NxF = np.load(workdir / "vectors.npy")
  save_params(workdir / "features", made.params)
  tokenized = tokenize_items(
    config.tokenizer, dataset, vectors_NxF, config.seed, workdir, config.mesh.model
  )
  from_primary(lambda: write_tokenized(workdir, tokenized, dataset.items))
  print((workdir / "tokenizer.txt").read_text(encoding="utf-8"))


def _settings(config: RunConfig) -> dict[str, Any]:
  return {
    "seed": config.seed,
    "features": to_dict(config.features),
    "tokenizer": to_dict(config.tokenizer),
  }


def _files(config: RunConfig) -> dict[str, Any]:
  return {**vector_files(config.features), **id_files(config.tokenizer)}


def _outputs(config: RunConfig) -> list[str]:
  trained = checkpoint_folders(config.features)
  return ["vectors.npy", "features", *trained, "tokenizer", *TOKENIZED_FILES]


TOKENIZE = Stage(
  "tokenize",
  after=lambda config: (PREPARE,),
  settings=_settings,
  files=_files,
  outputs=_outputs,
  build=tokenize,
)
