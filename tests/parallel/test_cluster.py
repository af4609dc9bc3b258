"""Clusters by arguments, by environment variables, and as JAX detects them."""

import pytest

from sidrec.parallel import cluster
from sidrec.parallel.cluster import Cluster, configured_cluster, detected_cluster

SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "node[1-2]",
  "SLURM_PROCID": "1",
  "SLURM_LOCALID": "0",
}


def test_flags_come_before_variables():
  environ = {
    "SIDREC_COORDINATOR": "a:1",
    "JAX_COORDINATOR_ADDRESS": "b:2",
    "SIDREC_NUM_PROCESSES": "4",
    "SIDREC_PROCESS_ID": "3",
  }
  assert configured_cluster(None, None, None, {}) is None
  assert configured_cluster(None, None, None, environ) == Cluster("a:1", 4, 3)
  assert configured_cluster("c:3", 2, 0, environ) == Cluster("c:3", 2, 0)
  del environ["SIDREC_COORDINATOR"]
  assert configured_cluster(None, None, None, environ) == Cluster("b:2", 4, 3)


@pytest.mark.parametrize(
  ("arguments", "environ", "sentence"),
  [
    (("a:1", 2, None), {}, "--coordinator, --num_processes without --process_id"),
    ((None, 2, 0), {}, "--num_processes, --process_id without --coordinator"),
    ((None, None, 0), {}, "without --coordinator and --num_processes"),
    ((None, None, None), {"JAX_COORDINATOR_ADDRESS": "a:1"}, "a cluster needs all three"),
    (("a:1", 2, 2), {}, "--process_id must be 0 to 1 with --num_processes=2, not 2"),
    (("a:1", 2, -1), {}, "--process_id must be 0 to 1"),
    (("a:1", 0, 0), {}, "--num_processes must be 1 or more, not 0"),
    (("a", 2, 0), {}, "--coordinator must be host:port, not 'a'"),
    (("a:99999", 2, 0), {}, "--coordinator must be host:port"),
    (("a:1", 2, None), {"SIDREC_PROCESS_ID": "one"}, "SIDREC_PROCESS_ID must be a whole number"),
  ],
)
def test_half_a_cluster_is_refused(arguments, environ, sentence):
  with pytest.raises(ValueError, match=sentence):
    configured_cluster(*arguments, environ)


def test_clusters_that_jax_finds():
  assert detected_cluster({}) == ""
  assert detected_cluster({**SLURM, "SLURM_NTASKS": "2"}) == "SLURM's 2 tasks"
  assert detected_cluster({**SLURM, "SLURM_NTASKS": "1"}) == ""
  assert detected_cluster({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}) == ""  # not started by srun
  assert detected_cluster({"OMPI_COMM_WORLD_SIZE": "4"}) == "Open MPI's 4 ranks"
  # With a cluster to be found, JAX reads this variable itself.
  found = {**SLURM, "SLURM_NTASKS": "2", "JAX_COORDINATOR_ADDRESS": "a:1"}
  assert configured_cluster(None, None, None, found) is None


def test_kubernetes_is_not_taken_for_single_machines(monkeypatch):
  job = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
  monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match="pip install kubernetes"):
    detected_cluster(job)
  monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: name != "libtpu")
  assert detected_cluster(job) == "a job of Kubernetes"
