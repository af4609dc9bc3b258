"""Item vectors from a sentence encoder that reads what the catalogue says about each item."""

import hashlib
import json
import os
import re
import string
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sidrec.core.atomic import PathLike, load_array, save_array
from sidrec.core.paths import as_path, is_local
from sidrec.data.dataset import Items
from sidrec.features.columns import known_categories, number_text
from sidrec.features.settings import TextConfig

Encode = Callable[[list[str]], np.ndarray]  # texts → vectors [number of texts, F]

# Part of a cache file's name; raise it if the same model and texts give other vectors.
_FORMAT = 1

# A clause ends with its mark and the white space after it.
_CLAUSE_END = re.compile(r"(?<=[.,;|])\s+|\n+")
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]")
_SPACE_BEFORE_MARK = re.compile(r"\s+(?=[.,;])")

# Fields of a template that are text already, for all items.
_TEXT_FIELDS: dict[str, Callable[[Items], Iterable[str]]] = {
  "title": lambda items: items.titles_N.tolist(),
  "text": lambda items: items.text_N.tolist(),
  "categories": lambda items: map(", ".join, known_categories(items)),
  "id": lambda items: map(str, items.ids_N.tolist()),
}


def text_vectors(
  items: Items, config: TextConfig, cache: PathLike, encode: Encode | None = None
) -> np.ndarray:
  """Sentence embeddings of the items' texts (Reimers & Gurevych 2019), computed once.

  A file of `cache` keeps them. Its name is a hash of the model and the texts, so another model,
  template or catalogue never gets them. Equal texts are encoded once.

  Args:
    items: the catalogue, or new items.
    config: the model, and the template of `item_texts`.
    cache: folder of the cache, perhaps in a bucket; made if it is not there.
    encode: encodes instead of sentence-transformers; the model still names it in the cache.

  Returns:
    vectors_NxF float32, as the model gives them: neither centred nor scaled.

  Raises:
    ImportError: where sentence-transformers is needed and not installed.
    ValueError: for a template with unknown fields, a model that cannot be loaded, or an encoder
      whose result is not one finite vector per text.
  """
  model = os.path.expanduser(config.model)
  if not is_local(model):
    raise ValueError(f"text model {model}: a model comes from the hub or a local folder; copy it")
  texts = item_texts(items, config.template)
  distinct = list(dict.fromkeys(texts))  # X of them
  path = as_path(cache) / f"text-{_key(model, distinct)}.npy"
  if path.is_file():
    vectors_XxF = load_array(path, in_memory=True)
  else:
    vectors_XxF = np.asarray((encode or _sentence_encoder(model))(distinct), np.float32)
    if vectors_XxF.ndim != 2 or len(vectors_XxF) != len(distinct):
      raise ValueError(
        f"text model {model!r} gave shape {vectors_XxF.shape} for {len(distinct):,} texts; it must "
        "give one vector per text"
      )
    bad_X = ~np.isfinite(vectors_XxF).all(axis=1)
    if bad_X.any():
      text = distinct[int(bad_X.argmax())]
      raise ValueError(f"text model {model!r} gave NaN or infinity for {text!r}")
    save_array(path, vectors_XxF)
  row_of = {text: row for row, text in enumerate(distinct)}
  return vectors_XxF[[row_of[text] for text in texts]]


def item_texts(items: Items, template: str) -> list[str]:
  """One text per item, such as 'Heat (1995). Genres: Action, Crime.'.

  Fields of the template: {title}, {text}, {categories} (joined with commas), {id}, and each
  numeric column by its name, such as {year}. Whole numbers are written without decimals.

  A missing value is empty. A clause whose fields are all empty is left out with its words; a
  clause ends at a '.', ',', ';' or '|' followed by white space, or at a line break. Empty brackets
  are removed, and so is a ',', ';' or '|' at the end.

  Args:
    items: the catalogue.
    template: for instance "{title}. Genres: {categories}. {text}".

  Returns:
    N texts; '' for an item without any of the values.

  Raises:
    ValueError: for a template without fields, or with one that is unknown or malformed.
  """
  clauses = [_parse(clause, template) for clause in _CLAUSE_END.split(template)]
  names = sorted({name for clause in clauses for _, name in clause if name is not None})
  known = [*_TEXT_FIELDS, *sorted(set(items.numeric) - set(_TEXT_FIELDS))]
  unknown = [name for name in names if name not in known]
  if unknown or not names:
    what = f"an unknown field {{{unknown[0]}}}" if unknown else "no field"
    raise ValueError(
      f"the text template {template!r} has {what}; fields are "
      f"{', '.join(f'{{{name}}}' for name in known)}"
    )
  values = {
    name: _TEXT_FIELDS[name](items)
    if name in _TEXT_FIELDS
    else map(number_text, items.numeric[name])
    for name in names
  }
  columns = [[value.strip() for value in values[name]] for name in names]
  rows = zip(*columns, strict=True)
  return [_fill(clauses, dict(zip(names, row, strict=True))) for row in rows]


def _parse(clause: str, template: str) -> list[tuple[str, str | None]]:
  """A clause as (words, field after them or None)."""
  try:
    pieces = list(string.Formatter().parse(clause))
  except ValueError as error:
    raise ValueError(f"the text template {template!r} is malformed: {error}") from error
  if any(form or conversion for _, _, form, conversion in pieces):
    raise ValueError(
      f"the text template {template!r} may hold plain fields only, such as {{title}}"
    )
  return [(words, name) for words, name, _, _ in pieces]


def _fill(clauses: list[list[tuple[str, str | None]]], value_of: dict[str, str]) -> str:
  if not any(value_of.values()):
    return ""
  parts = []
  for clause in clauses:
    values = [value_of[name] for _, name in clause if name is not None]
    if values and not any(values):
      continue
    part = "".join(words + (value_of[name] if name else "") for words, name in clause)
    if not all(values):
      part = _SPACE_BEFORE_MARK.sub("", _EMPTY_BRACKETS.sub("", part))
    parts.append(part)
  text = " ".join(" ".join(parts).split())
  return text if all(value_of.values()) else text.rstrip(",;| ")


def _key(model: str, texts: list[str]) -> str:
  """A hash of the encoder and the texts; files of a local model count by size and time."""
  folder = Path(model)
  files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
  stats = [(str(x.relative_to(folder)), x.stat().st_size, x.stat().st_mtime_ns) for x in files]
  return hashlib.sha256(json.dumps([_FORMAT, model, stats, texts]).encode()).hexdigest()[:32]


def _sentence_encoder(model: str) -> Encode:
  try:
    from sentence_transformers import SentenceTransformer  # pyrefly: ignore
  except ImportError as error:
    raise ImportError(
      "text embeddings need sentence-transformers; run pip install 'sidrec[text]'"
    ) from error
  try:
    encoder = SentenceTransformer(model)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"text model {model!r} cannot be loaded; give the folder of a sentence-transformers model "
      f"or a name on its hub: {error}"
    ) from error
  return lambda texts: encoder.encode(texts, batch_size=128, show_progress_bar=True)
