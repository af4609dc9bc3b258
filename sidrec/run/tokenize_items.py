"""Item vectors → semantic IDs, by the tokenizer that the config names, with a report on them.

X is the length of unique IDs: the levels, and the extra digits.
"""

import functools
import json
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from sidrec.catalogue.collisions import add_extra_digit
from sidrec.catalogue.lcrec_index import align_index, read_index, write_index, write_new_tokens
from sidrec.catalogue.reassignment import reassign
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.core.atomic import write_whole_text
from sidrec.core.codes import check_codes, collision_rate
from sidrec.core.readers import parse_json
from sidrec.data.dataset import Dataset, Items, training_view
from sidrec.features.category_paths import (
  Labels,
  category_paths,
  check_labels,
  overflow_notes,
  paths_with,
)
from sidrec.parallel.hosts import from_primary
from sidrec.run.generations import Generation
from sidrec.tokenizers.base import Fitted, Tokenizer
from sidrec.tokenizers.category import with_paths
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.report import quality
from sidrec.tokenizers.report.cluster_metrics import item_labels
from sidrec.tokenizers.report.interpretation import (
  interpret,
  interpretation_table,
  interpretation_text,
)
from sidrec.tokenizers.settings import FileSettings, TokenizerConfig
from sidrec.trainers.tokenizer import train_rqvae
from sidrec.training.checkpoint import load_params, save_params

IDS, COMPACT_IDS = "semantic_ids.json", "semantic_ids.npz"
# What `write_tokenized` writes.
TOKENIZED_FILES = (
  IDS,  # the map, by item row
  COMPACT_IDS,  # the same, to be read: of ten million items it takes a tenth of the memory
  "index.json",  # the same by original id, in the form that LC-Rec, LETTER and MiniOneRec read
  "new_tokens.txt",  # the tokens in it, to add to a language model's vocabulary
  "tokenizer.json",  # the quality report
  "tokenizer.txt",  # the same as tables, with what the largest codes mean
  "meanings.txt",  # what all codes mean
)


class Tokenized(NamedTuple):
  """The semantic IDs of a catalogue."""

  ids: SemanticIDManager  # of item rows
  report: dict[str, Any]  # their quality, see `quality.report`
  interpretation: dict[str, Any]  # what the codes stand for, see `interpretation.interpret`


class Encoded(NamedTuple):
  """A catalogue's codes, before collisions are resolved."""

  codes_NxL: np.ndarray  # int32
  codebook_size: int  # V
  fitted: Fitted | None  # None where the codes come from a file
  inputs_NxF: np.ndarray  # what was encoded: the vectors, after paths where there are
  seconds: dict[str, float]  # of 'fit' and 'encode'
  notes: tuple[str, ...] = ()  # one sentence each


class Unique(NamedTuple):
  """Unique IDs."""

  codes_NxX: np.ndarray  # int32; the first L are codes, further ones extra digits
  resolved: dict[str, Any]  # what it took
  without_codeword: list[int]  # rows of the items whose codes stand for nothing


def tokenize_items(
  config: TokenizerConfig,
  dataset: Dataset,
  vectors_NxF: np.ndarray,
  seed: int,
  workdir: epath.Path,
  mesh: Mesh | None = None,
) -> Tokenized:
  """Fits the tokenizer, encodes every item, makes the IDs unique and measures them.

  Args:
    config: the `tokenizer` settings.
    dataset: the catalogue, and training histories for what is popular.
    vectors_NxF: float32, one row per item.
    seed: of the fit.
    workdir: takes `tokenizer/` (the parameters) and the logs.
    mesh: devices that share the work. The IDs then depend on their number, by the order of sums.
      None for one device; each process does the same work then.

  Raises:
    ValueError: for an unknown tokenizer, or vectors that cannot be encoded.
  """
  (workdir / "tokenizer").mkdir(parents=True, exist_ok=True)
  if config.name == "file":
    encoded = _from_file(config.file, dataset.items, vectors_NxF)
  else:
    encoded = _by_tokenizer(config, dataset.items, vectors_NxF, seed, workdir, mesh)
  unique = _make_unique(config.collisions, encoded)
  codes_NxL = unique.codes_NxX[:, : encoded.codes_NxL.shape[1]]  # as they are written
  report = quality.report(
    codes_NxL,
    encoded.codebook_size,
    vectors_NxF,
    _decoded(encoded.fitted, codes_NxL, vectors_NxF, unique.without_codeword),
    labels=item_labels(dataset.items),
    timings=encoded.seconds or None,
    collisions=unique.resolved,
    notes=encoded.notes,
  )
  ids = SemanticIDManager.from_codes(
    unique.codes_NxX, encoded.codebook_size, generation_method=config.name, fitted=encoded.fitted
  )
  return Tokenized(ids, report, meaning_of(codes_NxL, dataset))


def meaning_of(codes_NxL: np.ndarray, dataset: Dataset) -> dict[str, Any]:
  """What a catalogue's codes stand for, popular items first; see `interpretation.interpret`."""
  item_T = training_view(dataset.histories).item_T
  return interpret(codes_NxL, dataset.items, np.bincount(item_T, minlength=dataset.items.num_items))


def write_tokenized(workdir: epath.Path, tokenized: Tokenized, items: Items) -> None:
  """Writes `TOKENIZED_FILES`."""
  ids, report, interpretation = tokenized
  for name in (IDS, COMPACT_IDS):
    ids.save_to_file(workdir / name)
  write_index(workdir / "index.json", ids.codes, items.ids_N)
  write_new_tokens(workdir / "new_tokens.txt", ids.codes)
  write_whole_text(workdir / "tokenizer.json", json.dumps(report, indent=2) + "\n")
  tables = f"{quality.table(report)}\n\n{interpretation_table(interpretation, rows=8)}\n"
  write_whole_text(workdir / "tokenizer.txt", tables)
  write_whole_text(workdir / "meanings.txt", interpretation_text(interpretation))


def read_ids(tokenized: Generation, fitted: Fitted | None = None) -> SemanticIDManager:
  """The map of a finished stage; older runs have it as JSON alone.

  Raises:
    ValueError: if the file is damaged.
  """
  name = COMPACT_IDS if COMPACT_IDS in tokenized.record.outputs else IDS
  return SemanticIDManager.load_from_file(tokenized.file(name), fitted)


def id_files(config: TokenizerConfig) -> list[str]:
  """The file of IDs, where they come from one."""
  return [config.file.path] if config.name == "file" and config.file.path else []


def load_fitted(config: TokenizerConfig, seed: int, folder: epath.Path) -> Fitted | None:
  """The tokenizer of a finished run; None where IDs came from a file."""
  if config.name == "file":
    return None
  path = folder / "params"
  return Fitted(_tokenizer(config, seed, folder.parent), load_params(path) if path.exists() else ())


def category_labels(config: TokenizerConfig, folder: epath.Path) -> Labels | None:
  """What the codes of a finished run's categories are called; None without such codes."""
  if config.name != "category":
    return None
  path = folder / "paths.json"
  try:
    return check_labels(parse_json(path.read_bytes()))
  except ValueError as error:
    raise ValueError(f"{path} is {error}; run --mode=tokenize again") from None


def new_item_inputs(labels: Labels | None, new_items: Items, vectors_MxF: np.ndarray) -> np.ndarray:
  """What `SemanticIDManager.add_items` takes: the vectors, after paths where the tokenizer wants.

  A category that the catalogue does not have counts as unknown.
  """
  return vectors_MxF if labels is None else with_paths(paths_with(labels, new_items), vectors_MxF)


def _tokenizer(
  config: TokenizerConfig, seed: int, workdir: epath.Path, mesh: Mesh | None = None
) -> Tokenizer:
  train = functools.partial(train_rqvae, seed=seed, workdir=workdir, mesh=mesh)
  return make_tokenizer(config, train, mesh)


def _from_file(config: FileSettings, items: Items, vectors_NxF: np.ndarray) -> Encoded:
  """The codes that another program made."""
  if not config.path:
    raise ValueError(
      "tokenizer.file.path is empty; name a semantic_ids.json or an index file, or choose "
      "another tokenizer.name"
    )
  index = read_index(config.path)
  codes_NxL = align_index(index, items.ids_N, config.offset)
  return Encoded(codes_NxL, index.codebook_size, None, vectors_NxF, {})


def _by_tokenizer(
  config: TokenizerConfig,
  items: Items,
  vectors_NxF: np.ndarray,
  seed: int,
  workdir: epath.Path,
  mesh: Mesh | None,
) -> Encoded:
  """The codes of a tokenizer that is fitted to the catalogue."""
  tokenizer = _tokenizer(config, seed, workdir, mesh)
  inputs_NxF, notes = vectors_NxF, ()
  if config.name == "category":
    path_NxP, labels = category_paths(items, config.category.path, config.codebook_size)
    notes = overflow_notes(labels, path_NxP)
    text = json.dumps(labels, indent=2) + "\n"
    from_primary(lambda: write_whole_text(workdir / "tokenizer" / "paths.json", text))
    inputs_NxF = with_paths(path_NxP, vectors_NxF)
  start = time.perf_counter()
  params = jax.block_until_ready(tokenizer.fit(jax.random.key(seed), inputs_NxF))
  fitted = time.perf_counter()
  made_NxL = np.asarray(tokenizer.encode(params, inputs_NxF))
  encoded = time.perf_counter()
  codes_NxL = check_codes(made_NxL, tokenizer.codebook_size, tokenizer.num_levels)
  if jax.tree.leaves(params):  # Orbax refuses a tree without arrays
    save_params(workdir / "tokenizer" / "params", params)
  return Encoded(
    codes_NxL,
    tokenizer.codebook_size,
    Fitted(tokenizer, params),
    inputs_NxF,
    {"fit": fitted - start, "encode": encoded - fitted},
    notes,
  )


def _decoded(
  fitted: Fitted | None,
  codes_NxL: np.ndarray,
  vectors_NxF: np.ndarray,
  without_codeword: list[int],
) -> np.ndarray | None:
  """The vectors that codes stand for, the mean for those without; None if nothing decodes."""
  if fitted is None or fitted.tokenizer.decode is None:
    return None
  known_R = np.delete(np.arange(len(codes_NxL)), without_codeword)
  decoded = np.asarray(fitted.tokenizer.decode(fitted.params, codes_NxL[known_R]))
  decoded_NxF = np.broadcast_to(vectors_NxF.mean(axis=0), vectors_NxF.shape).copy()
  decoded_NxF[known_R] = decoded[:, -vectors_NxF.shape[1] :]
  return decoded_NxF


def _make_unique(rule: str, encoded: Encoded) -> Unique:
  """Codes without a collision stay as they are."""
  codes_NxL = encoded.codes_NxL
  collided = collision_rate(codes_NxL)
  if collided == 0:
    return Unique(codes_NxL, {"rule": "none needed"}, [])
  if rule == "extra_digit":
    unique_NxX = add_extra_digit(codes_NxL, encoded.codebook_size)
    added = unique_NxX[:, codes_NxL.shape[1] :]
    resolved = {
      "rule": rule,
      "digits added": added.shape[1],
      "items with a digit above 0": int(added.any(axis=1).sum()),
    }
    return Unique(unique_NxX, resolved, [])
  costs = None
  if encoded.fitted is not None and encoded.fitted.tokenizer.costs is not None:
    costs = functools.partial(encoded.fitted.tokenizer.costs, encoded.fitted.params)
  made = reassign(codes_NxL, encoded.inputs_NxF, costs, encoded.codebook_size)
  taken: dict[str, Any] = {
    "rule": rule,
    "items that shared codes": round(collided * len(codes_NxL)),
    "items moved": made.report["moved"],
  }
  for level in made.report["levels"]:
    if level["moved"]:
      name = f"moved at level {level['level']}"
      taken[name] = level["moved"]
      taken[f"{name}: mean cost before"] = level["own_cost_mean"]
      taken[f"{name}: mean extra cost"] = level["extra_cost_mean"]
  taken["moved to a code without codeword"] = made.report["without_codeword"]
  return Unique(made.codes_NxL, taken, made.without_codeword)
