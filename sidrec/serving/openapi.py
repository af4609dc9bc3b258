"""The OpenAPI document of the server."""

from typing import Any

from sidrec.serving.settings import Limits

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
  503: "Too much to do, or not ready; ask again after Retry-After seconds.",
  504: "No answer in time.",
}
_EVERY = (401, 408, 413, 421)


def document(limits: Limits, beams: int) -> dict[str, Any]:
  """The document, with the limits of a server and the most results that its run finds."""
  return {
    "openapi": "3.1.0",
    "info": {"title": "sidrec", "version": "1", "description": "Items that users take next."},
    "paths": {
      "/v1/recommend": {
        "post": _operation(
          "Recommends items, best first, for one or many.",
          "Answers",
          (400, 404, 415, 422, 503, 504),
          body="Requests",
        )
      },
      "/v1/events": {
        "post": _operation(
          "Adds events to users' histories; they are on the disk when the answer comes.",
          "Appended",
          (400, 415, 422),
          body="Events",
        )
      },
      "/v1/items": {
        "get": _operation(
          "Finds items by title, or by id.", "Items", (422,), parameters=_query(limits)
        )
      },
      "/v1/items/{id}": {
        "parameters": [_parameter("id", "path", {"type": "string", "minLength": 1})],
        "get": _operation("An item.", "Item", (404,)),
        "delete": _operation("Takes an item out of all answers.", "Item", (404, 409)),
        "put": _operation("Puts an item back into answers.", "Item", (404,)),
      },
      **_catalogue(),
      "/healthz": {"get": _operation("Whether the process is alive.", "Status", ())},
      "/readyz": {"get": _operation("Whether requests are welcome.", "Status", (503,))},
      "/metrics": {"get": _text("Counters for Prometheus.")},
      "/openapi.json": {"get": _operation("This document.", None, ())},
      **_inference_protocol(),
    },
    "components": {
      "schemas": _schemas(limits, beams),
      "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
    "security": [{}, {"token": []}],
  }


def _catalogue() -> dict[str, Any]:
  errors = (400, 409, 415, 422, 503)
  return {
    "/v1/catalogue": {
      "get": _operation("The version that answers, and those before.", "Catalogue", ()),
      "post": _operation(
        "Adds and removes items; answers that begin later are of the new version.",
        "Changed",
        errors,
        body="Change",
      ),
    },
    "/v1/catalogue/rollback": {
      "post": _operation("Goes back to the version before.", "Changed", errors, body="Rollback")
    },
  }


def _inference_protocol() -> dict[str, Any]:
  """Routes of the Open Inference Protocol, whose schemas stand in its own document."""
  infer = _operation(
    "As /v1/recommend, in tensors.", "Inferred", (400, 404, 415, 422, 503, 504), body="Inference"
  )
  return {
    "/v2": {"get": _operation("The server.", None, ())},
    "/v2/health/live": {"get": _operation("Whether the process is alive.", "Live", ())},
    "/v2/health/ready": {"get": _operation("Whether requests are welcome.", "Ready", (503,))},
    "/v2/models/sidrec": {"get": _operation("The tensors of the model.", None, ())},
    "/v2/models/sidrec/ready": {
      "get": _operation("Whether requests are welcome.", "ModelReady", (503,))
    },
    "/v2/models/sidrec/infer": {"post": infer},
  }


def _operation(
  summary: str,
  answer: str | None,
  errors: tuple[int, ...],
  *,
  body: str | None = None,
  parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
  schema = {"type": "object"} if answer is None else _ref(answer)
  responses = {
    str(status): {"description": _ERRORS[status], "content": _json(_ref("Error"))}
    for status in sorted({*errors, *_EVERY})
  }
  return {
    "summary": summary,
    **({"parameters": parameters} if parameters else {}),
    **({"requestBody": {"required": True, "content": _json(_ref(body))}} if body else {}),
    "responses": {"200": {"description": "Done.", "content": _json(schema)}, **responses},
  }


def _text(summary: str) -> dict[str, Any]:
  operation = _operation(summary, None, ())
  operation["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
  return operation


def _json(schema: dict[str, Any]) -> dict[str, Any]:
  return {"application/json": {"schema": schema}}


def _ref(name: str) -> dict[str, Any]:
  return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, place: str, schema: dict[str, Any], required: bool = True) -> dict:
  return {"name": name, "in": place, "required": required, "schema": schema}


def _query(limits: Limits) -> list[dict[str, Any]]:
  limit = {"type": "integer", "minimum": 1, "maximum": limits.shown, "default": 10}
  text = {"type": "string", "minLength": 1, "maxLength": limits.text}
  return [_parameter("query", "query", text), _parameter("limit", "query", limit, required=False)]


_TEXT = {"type": "string"}
_ID = {"type": ["string", "integer"]}  # as answers give it


def _schemas(limits: Limits, beams: int) -> dict[str, Any]:
  return {**_bodies(limits, beams), **_answers(limits), **_tensors()}


def _tensors() -> dict[str, Any]:
  ready = {"ready": {"type": "boolean"}}
  shape = _many({"type": "integer", "minimum": 0})
  given = _object(
    ("name", "datatype", "shape", "data"),
    name={"enum": ["user", "items", "titles", "forbidden", "allowed"]},
    datatype={"enum": ["BYTES", "INT64"]},
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
  found = _whole(name=_TEXT, datatype=_TEXT, shape=shape, data={"type": "array"})
  return {
    "Live": _whole(live={"type": "boolean"}),
    "Ready": _whole(**ready),
    "ModelReady": _whole(name=_TEXT, **ready),
    "Inference": _object(
      ("inputs",), id=_TEXT, parameters=options, inputs=_many(given, 5), outputs=_many(wanted)
    ),
    "Inferred": _object(
      ("model_name", "model_version", "parameters", "outputs"),
      model_name=_TEXT,
      model_version=_TEXT,
      id=_TEXT,
      parameters=_whole(catalogue=_TEXT),
      outputs=_many(found),
    ),
  }


def _many(schema: dict[str, Any], most: int | None = None) -> dict[str, Any]:
  return {"type": "array", "items": schema, **({} if most is None else {"maxItems": most})}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
  return {
    "type": "object",
    "properties": properties,
    "required": list(required),
    "additionalProperties": False,
  }


def _whole(**properties: Any) -> dict[str, Any]:
  return _object(tuple(properties), **properties)


def _bodies(limits: Limits, beams: int) -> dict[str, Any]:
  text = {"type": "string", "minLength": 1, "maxLength": limits.text}
  identity = {"anyOf": [text, {"type": "integer", "minimum": 1 - 2**63, "maximum": 2**63 - 1}]}
  temperature = {"type": "number", "minimum": 0.01, "maximum": 100}
  request = _object(
    (),
    user=identity,
    items=_many(identity, limits.history),
    titles=_many(text, limits.history),
    k={"type": "integer", "minimum": 1, "maximum": beams, "default": min(10, beams)},
    exclude_seen={"type": "boolean", "default": True},
    forbidden=_many(identity, limits.listed),
    allowed={"anyOf": [_many(identity, limits.listed), {"type": "null"}]},
    temperature={"anyOf": [temperature, {"type": "null"}]},
  )
  request["oneOf"] = [{"required": [whom]} for whom in ("user", "items", "titles")]
  time = {"type": "number", "minimum": 0, "exclusiveMaximum": 1e12}
  return {
    "Request": request,
    "Requests": _whole(requests=_many(_ref("Request"), limits.requests)),
    "Event": _object(("user", "item"), user=identity, item=identity, time=time),
    "Events": _whole(events=_many(_ref("Event"), limits.events)),
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
      "categories": _many(text, limits.categories),
    },
    "required": ["id"],
    "additionalProperties": {"type": "number"},
  }
  ids, base = _many(identity, limits.changed), {"base": text}
  return {
    "NewItem": item,
    "Change": _object(("base",), add=_many(_ref("NewItem"), limits.changed), remove=ids, **base),
    "Rollback": _whole(**base),
  }


def _answers(limits: Limits) -> dict[str, Any]:
  codes, probability = _many({"type": "integer"}), {"type": ["number", "null"]}
  about = {"id": _ID, "title": _TEXT, "semantic_id": codes}
  counts = ("items", "removed", "withdrawn", "room")
  catalogue = {"version": _TEXT, "previous": _many(_TEXT)}
  catalogue |= {name: {"type": "integer", "minimum": 0} for name in counts}
  return {
    "Error": _whole(error=_TEXT),
    "Status": _whole(status=_TEXT),
    "Recommended": _whole(**about, score={"type": "number"}, probability=probability),
    "Answer": _whole(
      items=_many(_ref("Recommended")),
      user={"type": ["string", "integer", "null"]},
      unknown=_many(_TEXT),
      ambiguous={"type": "object", "additionalProperties": _many(_ID)},
      taken_for={"type": "object", "additionalProperties": _ID},
      read={"type": "integer"},
    ),
    "Answers": _whole(catalogue=_TEXT, results=_many(_ref("Answer"))),
    "Appended": _whole(appended={"type": "integer"}, unknown=_many(_TEXT)),
    "Item": _whole(**about, in_stock={"type": "boolean"}),
    "Catalogue": _whole(**catalogue),
    "Changed": _whole(**catalogue, compiled={"type": "integer"}),
    "Items": _whole(items=_many(_ref("Item"), limits.shown)),
  }
