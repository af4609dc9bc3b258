"""The Open Inference Protocol, version 2: tensors in, tensors out, for gateways that speak it.

A call to `infer` is a call of POST /v1/recommend in other words; this module has only the words.
Tensors of ids are BYTES or INT64 [requests, ids]; shorter lists are filled up with '' or -1. What
the model reads of users has a tensor for each attribute, BYTES or FP32 [requests], where '' and the
lowest float32 are unknown.
"""

import math
from collections.abc import Sequence
from typing import Any

from sidrec.data.user_attributes import Attribute
from sidrec.serving.bodies import RequestError
from sidrec.serving.settings import Limits

MODEL = "sidrec"
# The lowest float32: score of a place behind the last item, and a user's number that is unknown.
MISSING = -3.4028234663852886e38
_FILL = {"BYTES": "", "INT64": -1}
_WHOM = {"user": 1, "items": 2, "titles": 2}  # name → dimensions
CATEGORIES = ("categories", "forbidden_categories")  # an empty row names none, and filters nothing
_LISTS = ("forbidden", "allowed", *CATEGORIES)
ATTRIBUTES = "attributes."  # what the name of a user's attribute follows
_OPTIONS = ("k", "exclude_seen", "temperature")
_OUTPUTS = {"ids": "BYTES", "titles": "BYTES", "scores": "FP32", "count": "INT64"}


def server() -> dict[str, Any]:
  """GET /v2."""
  return {"name": MODEL, "version": "1", "extensions": []}


def model(beams: int, known: Sequence[Attribute] = ()) -> dict[str, Any]:
  """GET /v2/models/sidrec; `known` are the users' attributes that the model reads."""
  lists = [*_WHOM, *_LISTS]
  return {
    "name": MODEL,
    "versions": ["1"],
    "platform": "sidrec",
    "inputs": [
      {"name": name, "datatype": "BYTES", "shape": [-1] * _WHOM.get(name, 2)} for name in lists
    ]
    + [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in datatypes(known).items()],
    "outputs": [
      {"name": name, "datatype": kind, "shape": [-1] if name == "count" else [-1, -1]}
      for name, kind in _OUTPUTS.items()
    ],
    "parameters": {"most_results": beams},
  }


def datatypes(known: Sequence[Attribute]) -> dict[str, str]:
  """The tensors of users' attributes: name → datatype."""
  kinds = {one.name: "BYTES" if one.values is not None else "FP32" for one in known}
  return {f"{ATTRIBUTES}{name}": kind for name, kind in kinds.items()}


def to_requests(
  body: dict[str, Any], limits: Limits, known: Sequence[Attribute] = ()
) -> dict[str, Any]:
  """The body of POST /v1/recommend for that of `infer`.

  Args:
    body: that of `infer`.
    limits: of the server.
    known: the users' attributes that the model reads.

  Raises:
    RequestError: 422 for what `infer` may not be; what the requests may not be, others say.
  """
  for name in body:
    if name not in ("id", "parameters", "inputs", "outputs"):
      raise RequestError(
        422, f"the body has {name[:60]!r}; there are id, parameters, inputs, outputs"
      )
  if not isinstance(body.get("id", ""), str):
    raise RequestError(422, "id is no text")
  options = _object(body.get("parameters", {}), "parameters")
  for name in options:
    if name not in _OPTIONS:
      raise RequestError(422, f"parameters has {name[:60]!r}; there are {', '.join(_OPTIONS)}")
  _wanted(body)
  tensors = _tensors(body.get("inputs"), limits, datatypes(known))
  whom = [name for name in _WHOM if name in tensors]
  if len(whom) != 1:
    raise RequestError(422, f"inputs need exactly one of {', '.join(_WHOM)}")
  counts = {len(rows) for rows in tensors.values()}
  if len(counts) > 1:
    raise RequestError(422, "inputs differ in their first dimension, the number of requests")
  return {"requests": [{**options, **_request(tensors, at)} for at in range(counts.pop())]}


def _request(tensors: dict[str, list[Any]], at: int) -> dict[str, Any]:
  """What the tensors say of one request."""
  said: dict[str, Any] = {}
  attributes: dict[str, Any] = {}
  for name, rows in tensors.items():
    if name.startswith(ATTRIBUTES):
      if _is_known(rows[at]):
        attributes[name.removeprefix(ATTRIBUTES)] = rows[at]
    elif rows[at] or name not in CATEGORIES:
      said[name] = rows[at]
  # Without any: a user of the run, who has their own, may stand among others.
  return {**said, "attributes": attributes} if attributes else said


def _is_known(value: str | float) -> bool:
  return value != "" if isinstance(value, str) else value > MISSING


def of_answers(body: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
  """The answer of `infer` for that of POST /v1/recommend."""
  lists = [answer["items"] for answer in answers["results"]]
  most = max(map(len, lists), default=0)

  def column(name: str, fill: Any, of: Any) -> list[Any]:
    return [
      of(items[at][name]) if at < len(items) else fill for items in lists for at in range(most)
    ]

  data = {
    "ids": column("id", "", str),
    "titles": column("title", "", str),
    "scores": column("score", MISSING, float),
    "count": [len(items) for items in lists],
  }
  outputs = [
    {
      "name": name,
      "datatype": _OUTPUTS[name],
      "shape": [len(lists)] if name == "count" else [len(lists), most],
      "data": data[name],
    }
    for name in _wanted(body)
  ]
  return {
    "model_name": MODEL,
    "model_version": "1",
    **({"id": body["id"]} if "id" in body else {}),
    "parameters": {"catalogue": answers["catalogue"]},
    "outputs": outputs,
  }


def _wanted(body: dict[str, Any]) -> list[str]:
  """The names of the outputs that are asked for."""
  if "outputs" not in body:
    return list(_OUTPUTS)
  outputs = body["outputs"]
  if not isinstance(outputs, list) or not outputs:
    raise RequestError(422, "outputs is no list of tensors; leave it out for all")
  names = []
  for at, output in enumerate(outputs):
    output = _object(output, f"outputs[{at}]", ("name", "parameters"))
    if output.get("parameters"):
      raise RequestError(422, f"outputs[{at}].parameters: no extension is known here")
    name = output.get("name")
    if not isinstance(name, str) or name not in _OUTPUTS or name in names:
      raise RequestError(422, f"outputs[{at}].name is none of {', '.join(_OUTPUTS)}, once each")
    names.append(name)
  return names


def _tensors(inputs: Any, limits: Limits, attributes: dict[str, str]) -> dict[str, list[Any]]:
  """For each input, what it holds for each request."""
  names = (*_WHOM, *_LISTS, *attributes)
  if not isinstance(inputs, list) or len(inputs) > len(names):
    raise RequestError(422, "inputs is no list of a few tensors; give […]")
  tensors: dict[str, list[Any]] = {}
  for at, tensor in enumerate(inputs):
    where = f"inputs[{at}]"
    tensor = _object(tensor, where, ("name", "datatype", "shape", "data", "parameters"))
    name = tensor.get("name")
    if not isinstance(name, str) or name not in names or name in tensors:
      raise RequestError(422, f"{where}.name is none of {', '.join(names)}, each given once")
    if tensor.get("parameters"):
      raise RequestError(422, f"{where}.parameters: no extension is known here; give data as JSON")
    if name in attributes and tensor.get("datatype") != attributes[name]:
      raise RequestError(422, f"{where}.datatype is not {attributes[name]}, as {name} is")
    if name not in attributes:
      _check_ids(tensor, where)
    tensors[name] = _rows(tensor, where, 1 if name in attributes else _WHOM.get(name, 2), limits)
  return tensors


def _check_ids(tensor: dict[str, Any], where: str) -> None:
  kind = tensor.get("datatype")
  if (
    not isinstance(kind, str)
    or kind not in _FILL
    or (tensor["name"] in ("titles", *CATEGORIES) and kind != "BYTES")
  ):
    raise RequestError(422, f"{where}.datatype is neither BYTES nor, for ids, INT64")


def _rows(tensor: dict[str, Any], where: str, dimensions: int, limits: Limits) -> list[Any]:
  """The rows of a tensor: a value each where it has one dimension, else a list without fillers."""
  kind, shape = tensor["datatype"], tensor.get("shape")
  if not isinstance(shape, list) or not all(type(x) is int and x >= 0 for x in shape):
    raise RequestError(422, f"{where}.shape is no list of whole numbers")
  if dimensions == 1 and len(shape) == 2 and shape[1] == 1:
    shape = shape[:1]
  if len(shape) != dimensions:
    raise RequestError(422, f"{where}.shape has {len(shape)} dimensions and not {dimensions}")
  if shape[0] > limits.requests:
    raise RequestError(422, f"{where} is of {shape[0]} requests; give at most {limits.requests}")
  values = _flat(tensor.get("data"), where)
  if len(values) != math.prod(shape):
    raise RequestError(
      422, f"{where}.data holds {len(values)} values, and its shape {math.prod(shape)}"
    )
  if not all(_is_of(kind, value) for value in values):
    raise RequestError(422, f"{where}.data holds other values than {kind}")
  if dimensions == 1:
    return values
  width, fill = shape[1], _FILL[kind]
  rows = [values[at * width : (at + 1) * width] for at in range(shape[0])]
  return [[value for value in row if value != fill] for row in rows]


def _is_of(kind: str, value: Any) -> bool:
  """Whether a value of JSON is of a datatype; whole numbers are floats, too."""
  if kind == "FP32":
    return type(value) is int or (type(value) is float and math.isfinite(value))
  return type(value) is (str if kind == "BYTES" else int)


def _flat(data: Any, where: str) -> list[Any]:
  """The values of nested lists, in their order."""
  if not isinstance(data, list):
    raise RequestError(422, f"{where}.data is no list")
  if not any(isinstance(value, list) for value in data):
    return data
  if not all(isinstance(value, list) for value in data):
    raise RequestError(422, f"{where}.data mixes values and lists")
  flat = [value for row in data for value in row]
  if any(isinstance(value, (list, dict)) for value in flat):
    raise RequestError(422, f"{where}.data is nested too deeply")
  return flat


def _object(value: Any, where: str, names: tuple[str, ...] | None = None) -> dict[str, Any]:
  if not isinstance(value, dict):
    raise RequestError(422, f"{where} is no object; give {{…}}")
  for name in value:
    if names is not None and name not in names:
      raise RequestError(422, f"{where} has {name[:60]!r}; there are {', '.join(names)}")
  return value
