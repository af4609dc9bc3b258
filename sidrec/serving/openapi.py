"""The OpenAPI document of the server."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidrec.serving.settings import Limits
from sidrec.serving.v2 import CATEGORIES

_ERRORS = {
  400: "The body is no JSON.",
  401: "The token is missing or wrong.",
  404: "No such user or item.",
  408: "The request came too slowly.",
  409: "Not possible now.",
  413: "The body is too large.",
  415: "The body is not application/json.",
  421: "Another host was asked for.",
  422: "The request makes no sense; the sentence says why.",
  503: "Too much to do, not ready, or no store; ask again after Retry-After seconds.",
  504: "No answer in time.",
}
_EVERY = (401, 408, 413, 421)
_NONE: Mapping[str, str] = MappingProxyType({})


def document(limits: Limits, beams: int, attributes: Mapping[str, str] = _NONE) -> dict[str, Any]:
  """The document, with the limits of a server and what its run offers.

  Args:
    limits: of the server.
    beams: the most results that the run finds.
    attributes: tensors of what its model reads of users, as `v2.datatypes` has them.
  """
  return {
    "openapi": "3.1.0",
    "info": {"title": "sidrec", "version": "1", "description": "Items that users take next."},
    "paths": {
      "/v1/recommend": {
        "post": operation(
          "Recommends items, best first, for one or many.",
          "Answers",
          (400, 404, 415, 422, 503, 504),
          body="Requests",
        )
      },
      "/v1/events": {
        "post": operation(
          "Adds events to users' histories; they are on the disk when the answer comes.",
          "Appended",
          (400, 415, 422, 503),
          body="Events",
        )
      },
      "/v1/items": {
        "get": operation(
          "Finds items by title, or by id.", "Items", (422,), parameters=_query(limits)
        )
      },
      "/v1/items/{id}": {
        "parameters": [parameter("id", "path", {"type": "string", "minLength": 1})],
        "get": operation("An item.", "Item", (404,)),
        "delete": operation("Takes an item out of all answers.", "Item", (404, 409, 503)),
        "put": operation("Puts an item back into answers.", "Item", (404, 503)),
      },
      **_catalogue(),
      "/healthz": {"get": operation("Whether the process is alive.", "Status", ())},
      "/readyz": {"get": operation("Whether requests are welcome.", "Status", (503,))},
      "/metrics": {"get": _text("Counters for Prometheus.")},
      "/openapi.json": {"get": operation("This document.", None, ())},
      **_inference_protocol(),
    },
    "components": {
      "schemas": _schemas(limits, beams, attributes),
      "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
    "security": [{}, {"token": []}],
  }


def _catalogue() -> dict[str, Any]:
  errors = (400, 409, 415, 422, 503)
  return {
    "/v1/catalogue": {
      "get": operation("The version that answers, and those before.", "Catalogue", ()),
      "post": operation(
        "Adds and removes items; answers that begin later are of the new version.",
        "Changed",
        errors,
        body="Change",
      ),
    },
    "/v1/catalogue/rollback": {
      "post": operation("Goes back to the version before.", "Changed", errors, body="Rollback")
    },
  }


def _inference_protocol() -> dict[str, Any]:
  """Routes of the Open Inference Protocol, whose schemas stand in its own document."""
  infer = operation(
    "As /v1/recommend, in tensors.", "Inferred", (400, 404, 415, 422, 503, 504), body="Inference"
  )
  return {
    "/v2": {"get": operation("The server.", None, ())},
    "/v2/health/live": {"get": operation("Whether the process is alive.", "Live", ())},
    "/v2/health/ready": {"get": operation("Whether requests are welcome.", "Ready", (503,))},
    "/v2/models/sidrec": {"get": operation("The tensors of the model.", None, ())},
    "/v2/models/sidrec/ready": {
      "get": operation("Whether requests are welcome.", "ModelReady", (503,))
    },
    "/v2/models/sidrec/infer": {"post": infer},
  }


def operation(
  summary: str,
  answer: str | None,
  errors: tuple[int, ...],
  *,
  body: str | None = None,
  parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
  """An operation, whose answer and body are names of schemas."""
  schema = {"type": "object"} if answer is None else ref(answer)
  responses = {
    str(status): {"description": _ERRORS[status], "content": _json(ref("Error"))}
    for status in sorted({*errors, *_EVERY})
  }
  return {
    "summary": summary,
    **({"parameters": parameters} if parameters else {}),
    **({"requestBody": {"required": True, "content": _json(ref(body))}} if body else {}),
    "responses": {"200": {"description": "Done.", "content": _json(schema)}, **responses},
  }


def _text(summary: str) -> dict[str, Any]:
  said = operation(summary, None, ())
  said["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
  return said


def _json(schema: dict[str, Any]) -> dict[str, Any]:
  return {"application/json": {"schema": schema}}


def ref(name: str) -> dict[str, Any]:
  """The schema of a name."""
  return {"$ref": f"#/components/schemas/{name}"}


def parameter(name: str, place: str, schema: dict[str, Any], required: bool = True) -> dict:
  """A parameter of a path or a query."""
  return {"name": name, "in": place, "required": required, "schema": schema}


def _query(limits: Limits) -> list[dict[str, Any]]:
  limit = {"type": "integer", "minimum": 1, "maximum": limits.shown, "default": 10}
  text = {"type": "string", "minLength": 1, "maxLength": limits.text}
  return [parameter("query", "query", text), parameter("limit", "query", limit, required=False)]


TEXT = {"type": "string"}
ID = {"type": ["string", "integer"]}  # as answers give it


def _schemas(limits: Limits, beams: int, attributes: Mapping[str, str]) -> dict[str, Any]:
  return {**_bodies(limits, beams), **_answers(limits), **_tensors(attributes)}


def _tensors(attributes: Mapping[str, str]) -> dict[str, Any]:
  ready = {"ready": {"type": "boolean"}}
  shape = many({"type": "integer", "minimum": 0})
  given = _object(
    ("name", "datatype", "shape", "data"),
    name={"enum": ["user", "items", "titles", "forbidden", "allowed", *CATEGORIES, *attributes]},
    datatype={"enum": list(dict.fromkeys(["BYTES", "INT64", *attributes.values()]))},
    shape=shape,
    data={"type": "array"},
    parameters={"type": "object", "maxProperties": 0},
  )
  options = _object(
    (), k={"type": "integer"}, exclude_seen={"type": "boolean"}, temperature={"type": "number"}
  )
  wanted = _object(
    ("name",),
    name={"enum": ["ids", "titles", "scores", "count"]},
    parameters={"type": "object", "maxProperties": 0},
  )
  found = whole(name=TEXT, datatype=TEXT, shape=shape, data={"type": "array"})
  return {
    "Live": whole(live={"type": "boolean"}),
    "Ready": whole(**ready),
    "ModelReady": whole(name=TEXT, **ready),
    "Inference": _object(
      ("inputs",),
      id=TEXT,
      parameters=options,
      inputs=many(given, 5 + len(attributes)),
      outputs=many(wanted),
    ),
    "Inferred": _object(
      ("model_name", "model_version", "parameters", "outputs"),
      model_name=TEXT,
      model_version=TEXT,
      id=TEXT,
      parameters=whole(catalogue=TEXT),
      outputs=many(found),
    ),
  }


def many(schema: dict[str, Any], most: int | None = None) -> dict[str, Any]:
  """A list, of at most so many."""
  return {"type": "array", "items": schema, **({} if most is None else {"maxItems": most})}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
  return {
    "type": "object",
    "properties": properties,
    "required": list(required),
    "additionalProperties": False,
  }


def whole(**properties: Any) -> dict[str, Any]:
  """An object with all of these properties and no others."""
  return _object(tuple(properties), **properties)


def _bodies(limits: Limits, beams: int) -> dict[str, Any]:
  text = {"type": "string", "minLength": 1, "maxLength": limits.text}
  identity = {"anyOf": [text, {"type": "integer", "minimum": 1 - 2**63, "maximum": 2**63 - 1}]}
  temperature = {"type": "number", "minimum": 0.01, "maximum": 100}
  time = {"type": "number", "minimum": 0, "exclusiveMaximum": 1e12}
  request = _object(
    (),
    user=identity,
    items=many(identity, limits.history),
    titles=many(text, limits.history),
    k={"type": "integer", "minimum": 1, "maximum": beams, "default": min(10, beams)},
    exclude_seen={"type": "boolean", "default": True},
    forbidden=many(identity, limits.listed),
    allowed={"anyOf": [many(identity, limits.listed), {"type": "null"}]},
    categories={"anyOf": [{**many(text, limits.categories), "minItems": 1}, {"type": "null"}]},
    forbidden_categories=many(text, limits.categories),
    temperature={"anyOf": [temperature, {"type": "null"}]},
    times=many(time, limits.history),
    ratings=many({"type": ["number", "null"]}, limits.history),
    actions=many({"anyOf": [text, {"type": "null"}]}, limits.history),
    attributes={
      "type": "object",
      "description": "What is known of a user who is none of the run's, by the names it reads.",
      "maxProperties": limits.categories,
      "additionalProperties": {"anyOf": [text, {"type": ["number", "null"]}]},
    },
    request_time={"type": "integer", "minimum": 0, "maximum": 10**12 - 1},
  )
  request["oneOf"] = [{"required": [whom]} for whom in ("user", "items", "titles")]
  return {
    "Request": request,
    "Requests": whole(requests=many(ref("Request"), limits.requests)),
    "Event": _object(
      ("user", "item"),
      user=identity,
      item=identity,
      time=time,
      rating={"type": ["number", "null"]},
      action={"anyOf": [text, {"type": "null"}]},
    ),
    "Events": whole(events=many(ref("Event"), limits.events)),
    **_changes(identity, text, limits),
  }


def _changes(identity: dict[str, Any], text: dict[str, Any], limits: Limits) -> dict[str, Any]:
  described = {"type": "string", "maxLength": limits.described}
  item = {
    "type": "object",
    "description": "Other names are the numbers that the run knows of its items, such as year.",
    "properties": {
      "id": identity,
      "title": described,
      "text": described,
      "categories": many(text, limits.categories),
    },
    "required": ["id"],
    "additionalProperties": {"type": "number"},
  }
  ids, base = many(identity, limits.changed), {"base": text}
  return {
    "NewItem": item,
    "Change": _object(("base",), add=many(ref("NewItem"), limits.changed), remove=ids, **base),
    "Rollback": whole(**base),
  }


def _answers(limits: Limits) -> dict[str, Any]:
  codes, probability = many({"type": "integer"}), {"type": ["number", "null"]}
  about = {"id": ID, "title": TEXT, "semantic_id": codes}
  counts = ("items", "new", "removed", "withdrawn", "room")
  catalogue = {"version": TEXT, "previous": many(TEXT)}
  catalogue["new_items"] = {"type": "string", "enum": ["similarity", "model"]}
  catalogue |= {name: {"type": "integer", "minimum": 0} for name in counts}
  return {
    "Error": whole(error=TEXT),
    "Status": whole(status=TEXT),
    "Recommended": whole(**about, score={"type": "number"}, probability=probability),
    "Answer": whole(
      items=many(ref("Recommended")),
      user={"type": ["string", "integer", "null"]},
      unknown=many(TEXT),
      ambiguous={"type": "object", "additionalProperties": many(ID)},
      taken_for={"type": "object", "additionalProperties": ID},
      read={"type": "integer"},
      asked_at={"type": ["integer", "null"]},
    ),
    "Answers": whole(catalogue=TEXT, results=many(ref("Answer"))),
    "Appended": _object(
      ("appended", "unknown"),
      appended={"type": "integer"},
      unknown=many(TEXT),
      unknown_actions=many(TEXT),
    ),
    "Item": whole(**about, categories=many(TEXT), in_stock={"type": "boolean"}),
    "Catalogue": whole(**catalogue),
    "Changed": whole(**catalogue, compiled={"type": "integer"}),
    "Items": whole(items=many(ref("Item"), limits.shown)),
  }
