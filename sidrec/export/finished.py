"""What a run's folder holds for those who hand it over."""

import jax
import numpy as np
from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike
from sidrec.core.checked_json import parse_checked
from sidrec.core.paths import as_path
from sidrec.export.bundle import Finished, write_bundle
from sidrec.export.llm import write_for_llm
from sidrec.export.programs import Searched
from sidrec.run.evaluate import EVALUATE
from sidrec.run.generations import Chain
from sidrec.run.load import semantic_ids_of, trained_of
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.train import TRAIN

FORMATS = ("bundle", "llm")


def load_finished(config: RunConfig | ConfigDict, workdir: PathLike) -> Finished:
  """The newest trained recommender of a run's folder, with its evaluation if it has one.

  Raises:
    FileNotFoundError: if the run is not trained yet.
    ValueError: if its parts do not belong together.
  """
  config = run_config(config)
  chain, evaluation = chain_of(config, workdir), None
  if "evaluate" in chain:
    evaluation = parse_checked(chain["evaluate"].file("evaluation.json").read_bytes())
  trained = trained_of(config, chain)
  searched = Searched(trained.model, trained.params, trained.trie, config.search)
  dataset, ids = load_prepared(chain), semantic_ids_of(config, chain)
  return Finished(config, dataset, ids, searched, evaluation)


def load_same(loaded: Finished, workdir: PathLike) -> Finished:
  """What `load_finished` finds, with its tokenizer and evaluation, for a run that was loaded.

  Raises:
    ValueError: if the folder holds another training by now.
  """
  found = load_finished(loaded.config, workdir)
  same = jax.tree.map(np.array_equal, found.searched.params, loaded.searched.params)
  if not np.array_equal(found.ids.codes, loaded.ids.codes) or not jax.tree.all(same):
    raise ValueError(f"{workdir} was trained anew since it was loaded; load it again")
  return found


def export(
  config: RunConfig | ConfigDict, workdir: PathLike, format: str, output: str | None
) -> None:
  """Hands a finished run over, in a folder, and says what is in it.

  Raises:
    ValueError: for no folder, or as the formats do.
  """
  if not output:
    raise ValueError("--mode=export needs a folder to write: --output=FOLDER")
  finished = load_finished(config, workdir)
  if format == "llm":
    write_for_llm(output, finished.dataset, finished.ids)
    print(f"export: files for language models in {output}")
    return
  manifest = write_bundle(output, finished)
  size = sum(size for size, _ in manifest["files"].values()) / 2**20
  print(f"export: {len(manifest['programs'])} programs, {size:.1f} MiB, in {output}")


def chain_of(config: RunConfig, workdir: PathLike) -> Chain:
  """The newest training, what it was built on, and its evaluation if there is one."""
  chain = find(TRAIN, config, as_path(workdir))
  try:
    found = find(EVALUATE, config, as_path(workdir))
  except FileNotFoundError:
    return chain
  return found if found["train"].folder == chain["train"].folder else chain
