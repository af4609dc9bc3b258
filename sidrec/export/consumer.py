"""Recommends from a bundle of sidrec: `python run.py "ID OR TITLE" …`, oldest item first.

In a program, with jax, numpy and flatbuffers: `Bundle("folder").recommend([["ID", "ID"]], k=10)`.
"""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import jax.export
import numpy as np


class Bundle:
  """A model and its catalogue; every file is compared with the manifest when it is opened."""

  def __init__(self, folder=Path(__file__).parent):
    """Takes the folder; raises ValueError for one that is damaged or put together wrongly."""
    self.folder, self._compiled = Path(folder), {}
    self.manifest = m = json.loads((self.folder / "MANIFEST.json").read_bytes())
    if m["format"] != "sidrec bundle 1":
      raise ValueError(f"{folder} has the format {m['format']!r}, of another version of sidrec")
    for name, (_, sha256) in m["files"].items():
      if hashlib.sha256((self.folder / name).read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{self.folder / name} is not as it was written; copy the bundle again")
    self._statics = hashlib.sha256(json.dumps(m["statics"], sort_keys=True).encode()).hexdigest()
    with np.load(self.folder / "arrays.npz", allow_pickle=False) as arrays:
      if arrays["statics"].tobytes().hex() != self._statics:
        raise ValueError(f"{self.folder}: the arrays are of another catalogue than the manifest")
      self._arrays = [jax.device_put(arrays[name]) for name in m["arrays"]]
    self.batches = m["batches"]["cpu" if jax.default_backend() == "cpu" else "other"]
    self._events = runpy.run_path(str(self.folder / "events.py"))
    self.items = json.loads((self.folder / "items.json").read_bytes())
    self._named = {}
    for row, item in enumerate(self.items):
      self._named.setdefault(item["title"] or None, []).append(row)
    self._named |= {str(item["id"]): [row] for row, item in enumerate(self.items)}

  def rows(self, names):
    """The rows of items, each named by its id, or by a title that no other item has."""
    for name in names:
      if len(found := self._named.get(str(name), [])) != 1:
        raise ValueError(f"{len(found)} items are called {name!r}; give ids of the catalogue")
      yield found[0]

  def recommend(self, histories, k=10, exclude_seen=True, forbidden=(), allowed=None, **events):
    """The k best items for each history, best first: dicts of id, title, semantic_id and score."""
    never, rows = {*self.rows(forbidden)}, [[*self.rows(names)] for names in histories]
    if not 1 <= k <= self.manifest["beams"]:
      raise ValueError(f"k is {k}; give 1 to {self.manifest['beams']}")
    lists = [never.union(row if exclude_seen else ()) for row in rows]
    lists = lists if allowed is None else [{*self.rows(allowed)} - items for items in lists]
    answers, most = [], self.batches[-1]
    for part, more in self._events["parts"](len(rows), most, events):
      for item_K, score_K in self.find(rows[part], lists[part], allowed is not None, **more):
        best = zip(item_K[:k], score_K[:k], strict=True)
        answers.append([self.items[row] | {"score": score} for row, score in best])
    return answers

  def find(self, whole, lists, allows, **events):
    """Item rows and scores for each of a batch of requests: rows of histories, and of lists."""
    m, batch = self.manifest, next(size for size in self.batches if size >= len(whole))
    rows = [row[-m["history_length"] :] for row in whole]  # the latest
    longest, most = max(map(len, rows)), max(map(len, lists))
    fit = [p for p in m["programs"] if p["history"] >= longest and p["listed"] >= most]
    if not (fit := [p for p in fit if p["allows"] == allows]):
      raise ValueError(f"a request lists {most} items, more than any program takes")
    history, listed = (np.full((batch, fit[0][w]), -1, np.int32) for w in ("history", "listed"))
    for b, (row, items) in enumerate(zip(rows, lists, strict=True)):
      if not all(0 <= item < len(self.items) for item in (*row, *items)):
        raise ValueError(f"request {b} names an item row that is not 0 to {len(self.items) - 1}")
      history[b, : len(row)], listed[b, : len(items)] = row, sorted(items)
    columns = self._events["columns"](m, whole, history.shape, **events)
    history = np.hstack([np.tile(np.int32(m["user_tokens"]), (batch, 1)), history])
    inputs = history, listed, np.full(batch, m["temperature"], np.float32), *columns
    found = [np.asarray(x)[: len(rows)] for x in self._call(fit[0]["file"], inputs)]
    return [(i[real].tolist(), s[real].tolist()) for i, s, real in zip(*found, strict=True)]

  def _call(self, file, inputs):
    """What a program finds, after a check that it was made for these arrays."""
    m, arguments, key = self.manifest, (self._arrays, *inputs), (file, len(inputs[-1]))
    try:
      if key not in self._compiled:
        exported = jax.export.deserialize(bytearray((self.folder / file).read_bytes()))
        if exported.fun_name != f"{Path(file).stem}_{self._statics}":
          raise ValueError(f"it was made as {exported.fun_name}")
        self._compiled[key] = jax.jit(exported.call).lower(*arguments).compile()
    except Exception as error:
      raise ValueError(
        f"{file}, made on {m['date']} by jax {m['jax']} for {m['platforms']}, does not run on jax "
        f"{jax.__version__} here: {error}\nexport the run again: {m['export']}"
      ) from error
    return self._compiled[key](*arguments)


if __name__ == "__main__":
  for place, item in enumerate(Bundle().recommend([sys.argv[1:]])[0], 1):
    print(place, item["id"], item["title"], item["semantic_id"], f"{item['score']:.3f}", sep="\t")
