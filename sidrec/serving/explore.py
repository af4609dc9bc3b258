"""What the explorer's page asks for: the codes and their meanings, neighbours, the map, others."""

import asyncio
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sidrec.api import TrainedRun
from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path, is_local
from sidrec.data.user_attributes import Attribute
from sidrec.run.explanations import Named
from sidrec.run.load import item_vectors_of
from sidrec.run.sasrec import SASREC, make_sasrec
from sidrec.run.stage import find
from sidrec.search import evidence
from sidrec.serving.answers import as_plain, described
from sidrec.serving.bodies import RequestError
from sidrec.serving.catalogue import Now
from sidrec.serving.item_map import ItemMap
from sidrec.serving.others import Others, Trained
from sidrec.serving.service import Service, row_of
from sidrec.tokenizers.report.prefixes import PrefixIndex
from sidrec.training.checkpoint import load_params

CHILDREN = 256  # of a prefix that are shown, those with the most items
MEMBERS = 50  # items of a prefix that are shown, the most popular
NEIGHBOURS = 12  # of an item
DRAWN = 20_000  # items on the map, the most popular


class Extras(NamedTuple):
  """What the explorer shows of a run, and a service does without."""

  vectors_NxF: np.ndarray | None  # of the items of the data set
  sasrec: Trained | str  # or why there is none
  map_file: Path | None  # where the map of the items is kept


def extras_of(run: TrainedRun, workdir: PathLike) -> Extras:
  """What lies in a run's folder.

  Raises:
    FileNotFoundError, ValueError: for files that are missing or damaged.
  """
  folder = as_path(workdir)
  assert run.chain is not None
  vectors_NxF = item_vectors_of(run.chain)
  map_file = Path(folder / "serving" / "map.npz") if is_local(folder) else None
  sasrec: Trained | str = "this run trained no SASRec (config.sasrec.enabled)"
  if run.config.sasrec.enabled:
    try:
      chain = find(SASREC, run.config, folder)
      params = load_params(chain["sasrec"].file("sasrec/params"))
      sasrec = Trained(make_sasrec(run.config, run.dataset.items.num_items), params)
    except FileNotFoundError:
      sasrec = "this run's SASRec is not trained yet"
  return Extras(vectors_NxF, sasrec, map_file)


class Explorer:
  """Answers the page. The catalogue is read from the service at each request."""

  def __init__(self, service: Service, extras: Extras, *, read_only: bool = False):
    """Takes the service and what it does without; `read_only` says so to the page."""
    self._service, self._vectors_NxF, self.read_only = service, extras.vectors_NxF, read_only
    self._others = Others(service.dataset, extras.sasrec, service.asker.model.config.inputs)
    self._map_file = extras.map_file
    service.before_ready.append(self._others.start)

  def about(self) -> dict[str, Any]:
    """What the page says at its top, and what it offers."""
    service, now = self._service, self._service.catalogue.now
    asker = now.snapshot.asker
    return {
      "name": asker.dataset.name,
      "items": now.snapshot.num_items,
      "users": asker.dataset.histories.num_users,
      "levels": asker.ids.id_length,
      "codes": asker.ids.codebook_size,
      "beams": asker.search.beams,
      "temperature": asker.search.temperature,
      "history_length": asker.model.config.history_length,
      "most_history": service.limits.history,
      "joined": evidence.names(asker.model.config, asker.search),
      "vectors": self._vectors_NxF is not None,
      "read_only": self.read_only,
      "inputs": self._inputs,
      "example": self._example(now),
    }

  @functools.cached_property
  def _inputs(self) -> dict[str, Any]:
    """What a request has to give of each event and of itself, and what it may give of its user.

    Ratings are those of the log.
    """
    inputs = self._service.asker.model.config.inputs
    rating_T = self._service.dataset.histories.rating_T[:0]
    if inputs.rating:
      rating_T = self._service.dataset.histories.rating_T
    steps = np.rint(rating_T[np.isfinite(rating_T)] / inputs.rating_step).astype(np.int64)
    ratings = np.flatnonzero(np.bincount(steps)) * inputs.rating_step
    return {
      "times": inputs.times,
      "request_time": inputs.asks,
      "ratings": ratings.tolist(),
      "actions": list(inputs.actions),
      **({"attributes": _named_values(known)} if (known := self._service.attributes) else {}),
    }

  def _example(self, now: Now) -> list[Any]:
    """Three popular items that have a title, for who comes without a history."""
    rows, described_as = self._prefixes(now).rows(()), now.snapshot.asker.described
    titled = (row for row in rows[:100].tolist() if described_as(row)[1])
    return [described_as(row)[0] for row, _ in zip(titled, range(3), strict=False)]

  def _prefixes(self, now: Now) -> PrefixIndex:
    return self._service.explaining.explainer(now.snapshot).prefixes

  def codes(self, path: str) -> dict[str, Any]:
    """A prefix, what it means, what follows it, and its most popular items.

    Raises:
      RequestError: 422 for what is no prefix, 404 for one that no item has.
    """
    now = self._service.catalogue.now
    prefix, prefixes = _prefix_of(path, now.snapshot.asker.ids.id_length), self._prefixes(now)
    rows = prefixes.rows(prefix)
    if not len(rows):
      raise RequestError(404, "no item's ID begins with these codes")
    children = prefixes.children(prefix)
    shown = [(*prefix, code) for code, _ in children[:CHILDREN]]
    return {
      **self._meant(now, [prefix])[0],
      "children": self._meant(now, shown),
      "children_in_all": len(children),
      "members": [described(now, row) for row in rows[:MEMBERS].tolist()],
    }

  def _meant(self, now: Now, prefixes: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    meanings = self._prefixes(now).meanings(prefixes)
    return [
      {
        "codes": list(prefix),
        **as_plain(meaning),
        "examples": _named(now, meaning.examples),
      }
      for prefix, meaning in zip(prefixes, meanings, strict=True)
    ]

  def neighbours(self, name: str) -> dict[str, Any]:
    """An item, what each of its codes means, and its neighbours by prefix and by vector.

    Raises:
      RequestError: 404 for an id that no item has.
    """
    now = self._service.catalogue.now
    row = row_of(now, name)
    codes = tuple(now.snapshot.asker.ids.get_semantic_id(row))
    return {
      "item": described(now, row),
      "interactions": int(self._prefixes(now).popularity_N[row]),
      "codes": self._meant(now, [codes[: depth + 1] for depth in range(len(codes))]),
      "by_prefix": [
        {**described(now, other), "shared": shared}
        for other, shared in self._near_by_prefix(now, row, codes)
      ],
      "by_vector": self._near_by_vector(now, row),
    }

  def _near_by_prefix(self, now: Now, row: int, codes: tuple[int, ...]) -> list[tuple[int, int]]:
    found: dict[int, int] = {}
    for shared in range(len(codes) - 1, 0, -1):
      for other in self._prefixes(now).rows(codes[:shared])[: NEIGHBOURS + 1 + len(found)].tolist():
        if other != row and len(found) < NEIGHBOURS:
          found.setdefault(other, shared)
    return list(found.items())

  def _near_by_vector(self, now: Now, row: int) -> list[dict[str, Any]] | None:
    """The items of the most similar vectors, by cosine; None where there are no vectors."""
    vectors_NxF = self._vectors_NxF
    if vectors_NxF is None or row >= len(vectors_NxF):
      return None
    cosine_N = vectors_NxF @ vectors_NxF[row] / (self._norms_N * self._norms_N[row])
    cosine_N[row] = -np.inf
    cosine_N[~now.snapshot.state.among_N[: len(cosine_N)]] = -np.inf
    count = min(NEIGHBOURS, int((cosine_N > -np.inf).sum()))
    best = np.argsort(-cosine_N, kind="stable")[:count]
    return [
      {**described(now, other), "cosine": round(float(cosine_N[other]), 4)}
      for other in best.tolist()
    ]

  @functools.cached_property
  def _norms_N(self) -> np.ndarray:
    assert self._vectors_NxF is not None
    return np.maximum(np.linalg.norm(self._vectors_NxF, axis=1), 1e-12)

  @functools.cached_property
  def _map(self) -> ItemMap | None:
    if self._vectors_NxF is None:
      return None
    prefixes = self._prefixes(self._service.catalogue.now)
    popularity_N = prefixes.popularity_N[: len(self._vectors_NxF)]
    return ItemMap(self._vectors_NxF, popularity_N, self._map_file)

  def map(self) -> dict[str, Any]:
    """The places of the items, or how far they are: 'making', 'ready', 'failed' or 'none'."""
    if self._map is None:
      return {"state": "none"}
    state, place_Nx2 = self._map.get()
    if place_Nx2 is None:
      return {"state": state}
    now = self._service.catalogue.now
    asker = now.snapshot.asker
    rows = [row for row in self._prefixes(now).rows(()).tolist() if row < len(place_Nx2)][:DRAWN]
    names = [asker.described(row) for row in rows]
    return {
      "state": state,
      "items": [original for original, _ in names],
      "titles": [title for _, title in names],
      "places": place_Nx2[rows].tolist(),
      "codes": [list(map(int, asker.ids.get_semantic_id(row))) for row in rows],
    }

  async def baselines(self, body: dict[str, Any]) -> dict[str, Any]:
    """What item-kNN, SASRec and popularity recommend to the request in a body.

    Raises:
      RequestError: for a request that is not understood.
    """
    now = self._service.catalogue.now
    asked, reading, question = await self._service.explaining.read(now, body)
    try:
      heard = self._others.heard(reading, question.request_time)
    except ValueError as error:
      raise RequestError(422, f"request: {error}") from None
    gone_R = np.flatnonzero(~now.snapshot.state.among_N)
    lists = await asyncio.to_thread(self._others.lists, heard, question, asked.wanted.k, gone_R)
    return {
      "systems": [
        {
          "name": one.name,
          "missing": one.missing,
          "items": _named(now, one.rows),
        }
        for one in lists
      ]
    }


def _named_values(known: Sequence[Attribute]) -> list[dict[str, Any]]:
  """Users' attributes with the values that training met; None for numbers, which may be any."""
  return [
    {"name": one.name, "values": None if one.values is None else list(one.values)} for one in known
  ]


def _prefix_of(path: str, levels: int) -> tuple[int, ...]:
  """The codes of '11/79'."""
  parts = path.split("/") if path else []
  if len(parts) > levels:
    raise RequestError(422, f"IDs have {levels} codes; give that many or fewer")
  if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
    raise RequestError(422, "codes are whole numbers with / between them")
  return tuple(map(int, parts))


def _named(now: Now, rows: Sequence[int]) -> list[dict[str, Any]]:
  return [as_plain(Named(*now.snapshot.asker.described(row))) for row in rows]
