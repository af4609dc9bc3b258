"""Stage 2: dataset.npz → item vectors → semantic_ids.json, with a report on its quality."""

from typing import Any

from etils import epath

from sidrec.core.atomic import load_array, save_array
from sidrec.core.content import stamps
from sidrec.core.settings import to_dict
from sidrec.data.inputs import without_idle_inputs
from sidrec.parallel.hosts import from_primary
from sidrec.parallel.mesh import make_mesh
from sidrec.run.config_file import without_paths
from sidrec.run.generations import Chain
from sidrec.run.item_vectors import (
  block_code,
  checkpoint_folders,
  item_vectors,
  registered_blocks,
  vector_files,
)
from sidrec.run.prepare import PREPARE, load_prepared
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Stage
from sidrec.run.tokenize_items import TOKENIZED_FILES, id_files, tokenize_items, write_tokenized
from sidrec.tokenizers import registry
from sidrec.training.checkpoint import check_can_save, save_params


def tokenize(config: RunConfig, folder: epath.Path, before: Chain) -> None:
  """Makes the vectors, fits the tokenizer and writes the IDs."""
  if config.tokenizer.name == "rqvae" or checkpoint_folders(config.features):
    check_can_save(folder)
  dataset = load_prepared(before)
  mesh = make_mesh(model=config.mesh.model) if config.mesh.ids == "all" else None
  made = item_vectors(config.features, dataset, config.seed, folder, mesh)
  for note in made.notes:
    print(f"tokenize: {note}")
  # The last bits may differ from one host to another; the primary host's count.
  from_primary(lambda: save_array(folder / "vectors.npy", made.vectors_NxF))
  vectors_NxF = load_array(folder / "vectors.npy", in_memory=True)
  save_params(folder / "features", made.params)
  tokenized = tokenize_items(config.tokenizer, dataset, vectors_NxF, config.seed, folder, mesh)
  from_primary(lambda: write_tokenized(folder, tokenized, dataset.items))
  print((folder / "tokenizer.txt").read_bytes().decode())


def _settings(config: RunConfig) -> dict[str, Any]:
  registry.check_name(config.tokenizer.name)
  code = [*block_code(), *registry.code_of(config.tokenizer.name)]
  tokenizer = to_dict(config.tokenizer)
  del tokenizer["plugins"]  # those of others decide nothing
  if own := registry.own_settings(config.tokenizer):
    tokenizer["plugins"] = {config.tokenizer.name: own}
  features = without_paths("features", without_idle_inputs(to_dict(config.features)))
  del features["plugins"]  # those that have a weight are among `registered_blocks`
  return {
    "seed": config.seed,
    "features": features,
    **registered_blocks(config.features),
    "tokenizer": without_paths("tokenizer", tokenizer),
    **({"code of tokenizer and features": code} if code else {}),
    **({"mesh.ids": "all"} if config.mesh.ids == "all" else {}),
  }


def _files(config: RunConfig) -> dict[str, Any]:
  return {"files": stamps([*vector_files(config.features), *id_files(config.tokenizer)])}


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
