"""launch/*.yaml against the definitions of their resources, in the folder that SIDREC_CRDS names.

  SIDREC_CRDS=folder pytest tests/test_launch_schemas.py

Wants jsonschema, and the files under the names that kubernetes-sigs/jobset (in config/components/
crd/bases) and kserve/kserve (in config/crd/full) give them.
"""

import os
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[1] / "launch"


def strict(schema):
  """The schema, but what it does not name is refused, as `kubectl apply` does."""
  if isinstance(schema, list):
    return [strict(part) for part in schema]
  if not isinstance(schema, dict):
    return schema
  made = {key: strict(part) for key, part in schema.items()}
  open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema)
  if schema.get("type") == "object" and "properties" in schema and not open_ended:
    made["additionalProperties"] = False
  return made


@pytest.mark.parametrize(
  ("name", "definition"),
  [
    ("gke_jobset.yaml", "jobset.x-k8s.io_jobsets.yaml"),
    ("kserve.yaml", "serving.kserve.io_inferenceservices.yaml"),
  ],
)
def test_kubernetes_takes_it(name, definition):
  path = Path(os.environ.get("SIDREC_CRDS", "/nowhere")) / definition
  if not path.is_file():
    pytest.skip(f"SIDREC_CRDS names no folder with {definition}")
  jsonschema = pytest.importorskip("jsonschema")
  spec = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
  document = yaml.safe_load((LAUNCH / name).read_text())
  group, _, version = document["apiVersion"].partition("/")
  assert [group, document["kind"]] == [spec["group"], spec["names"]["kind"]]
  (served,) = (v for v in spec["versions"] if v["name"] == version and v["served"])
  check = jsonschema.Draft202012Validator(strict(served["schema"]["openAPIV3Schema"]))
  assert [f"{error.json_path}: {error.message}" for error in check.iter_errors(document)] == []
  assert not check.is_valid({**document, "spec": {**document["spec"], "unknown": 1}})
