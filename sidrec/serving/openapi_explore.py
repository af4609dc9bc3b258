"""What the OpenAPI document says of explanations and of the explorer."""

from typing import Any

from sidrec.serving import explore, item_map
from sidrec.serving.explore import Explorer
from sidrec.serving.openapi import ID, TEXT, many, operation, parameter, ref, whole

_WHOLE, _NUMBER = {"type": "integer"}, {"type": "number"}
_P = {"type": ["number", "null"]}
_CODES = many(_WHOLE)


def with_explain(document: dict[str, Any]) -> dict[str, Any]:
  """The document with POST /v1/explain."""
  paths = {
    "/v1/explain": {
      "post": operation(
        "How a request is searched: prefixes of each level, and what each history item adds.",
        "Explanation",
        (400, 404, 415, 422, 503, 504),
        body="Request",
      )
    }
  }
  named = whole(id=ID, title=TEXT)
  mark = whole(name=TEXT, share=_NUMBER, lift=_NUMBER)
  about = {"items": _WHOLE, "categories": many(ref("Mark")), "decades": many(ref("Mark"))}
  prefix = {"codes": _CODES, "score": _NUMBER, "probability": _P, **about}
  level = {"kept": many(ref("Prefix")), "removed": many(ref("Prefix")), "num_removed": _WHOLE}
  history = {"id": ID, "title": TEXT, "semantic_id": _CODES, "added": many(_NUMBER)}
  schemas = {
    "Named": named,
    "Mark": mark,
    "Prefix": whole(**prefix, examples=many(ref("Named"))),
    "Level": whole(**level, kept_probability=_P, removed_probability=_P),
    "HistoryItem": whole(**history),
    "Explanation": whole(
      catalogue=TEXT,
      answer=ref("Answer"),
      levels=many(ref("Level")),
      history=many(ref("HistoryItem")),
      again_probability=_P,
    ),
  }
  return _more(document, paths, schemas)


def with_explorer(document: dict[str, Any], explorer: Explorer) -> dict[str, Any]:
  """The document with what the explorer's page asks for; one that is read only changes nothing."""
  path = parameter("path", "path", {"type": "string", "pattern": "^[0-9]+(/[0-9]+)*$"})
  name = parameter("id", "path", {"type": "string", "minLength": 1})
  get_codes = operation(
    "A prefix of IDs: its meaning, what follows, its items.", "Codes", (404, 422)
  )
  paths = {
    "/v1/about": {"get": operation("The run, and what the explorer offers.", "About", ())},
    "/v1/codes": {"get": operation("The first codes of all IDs.", "Codes", ())},
    "/v1/codes/{path}": {"parameters": [path], "get": get_codes},
    "/v1/neighbours/{id}": {
      "parameters": [name],
      "get": operation("An item, and neighbours by prefix and by vector.", "Neighbours", (404,)),
    },
    "/v1/map": {"get": operation("Where items lie on a map of their vectors.", "Map", ())},
    "/v1/baselines": {
      "post": operation(
        "What item-kNN, SASRec and popularity recommend.",
        "Baselines",
        (400, 404, 415, 422, 503),
        body="Request",
      )
    },
  }
  more = _more(document, paths, _explorer_schemas())
  return _reading(more) if explorer.read_only else more


def _reading(document: dict[str, Any]) -> dict[str, Any]:
  """The document without what changes anything."""
  changing = ("/v1/events", "/v1/catalogue/rollback")
  paths = {path: said for path, said in document["paths"].items() if path not in changing}
  paths["/v1/catalogue"] = {"get": paths["/v1/catalogue"]["get"]}
  item = paths["/v1/items/{id}"]
  paths["/v1/items/{id}"] = {name: item[name] for name in item if name not in ("delete", "put")}
  components, unused = (
    document["components"],
    ("Event", "Events", "Appended", "NewItem", "Change", "Changed", "Rollback"),
  )
  schemas = {name: s for name, s in components["schemas"].items() if name not in unused}
  return {**document, "paths": paths, "components": {**components, "schemas": schemas}}


def _explorer_schemas() -> dict[str, Any]:
  about = {"items": _WHOLE, "categories": many(ref("Mark")), "decades": many(ref("Mark"))}
  boolean = {"type": "boolean"}
  item = {"id": ID, "title": TEXT, "semantic_id": _CODES}
  item |= {"categories": many(TEXT), "in_stock": boolean}
  side = {"type": "integer", "minimum": 0, "maximum": item_map.SIDE}
  system = {"name": TEXT, "missing": TEXT, "items": many(ref("Named"))}
  counts = ("items", "users", "levels", "codes", "beams", "history_length", "most_history")
  inputs = whole(times=boolean, request_time=boolean, ratings=many(_NUMBER), actions=many(TEXT))
  known = whole(name=TEXT, values={"anyOf": [many(TEXT), {"type": "null"}]})
  inputs["properties"]["attributes"] = many(known)  # where the model reads any
  return {
    "About": whole(
      name=TEXT,
      **dict.fromkeys(counts, _WHOLE),
      temperature=_NUMBER,
      joined=many(TEXT),
      vectors=boolean,
      read_only=boolean,
      inputs=inputs,
      example=many(ID),
    ),
    "Meaning": whole(codes=_CODES, **about, examples=many(ref("Named"))),
    "Codes": whole(
      codes=_CODES,
      **about,
      examples=many(ref("Named")),
      children=many(ref("Meaning"), explore.CHILDREN),
      children_in_all=_WHOLE,
      members=many(ref("Item"), explore.MEMBERS),
    ),
    "Neighbours": whole(
      item=ref("Item"),
      interactions=_WHOLE,
      codes=many(ref("Meaning")),
      by_prefix=many(whole(**item, shared=_WHOLE), explore.NEIGHBOURS),
      by_vector={
        "anyOf": [many(whole(**item, cosine=_NUMBER), explore.NEIGHBOURS), {"type": "null"}]
      },
    ),
    "Map": {
      "type": "object",
      "required": ["state"],
      "properties": {
        "state": {"enum": ["none", "making", "failed", "ready"]},
        "items": many(ID, explore.DRAWN),
        "titles": many(TEXT, explore.DRAWN),
        "places": many(many(side, 2), explore.DRAWN),
        "codes": many(_CODES, explore.DRAWN),
      },
      "additionalProperties": False,
    },
    "Baselines": whole(systems=many(whole(**system))),
  }


def _more(
  document: dict[str, Any], paths: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
  components = document["components"]
  return {
    **document,
    "paths": {**document["paths"], **paths},
    "components": {**components, "schemas": {**components["schemas"], **schemas}},
  }
