#!/usr/bin/env bash
# sidrec on TPU slices, or on nodes with GPUs, of a cluster that XPK has made.
#
#   launch/xpk.sh run --config=configs/ml1m.py                   # starts it, and returns
#   launch/xpk.sh status
#   launch/xpk.sh logs                                           # of process 0, until it ends
#   launch/xpk.sh delete                                         # saves the step and ends
#
# Settings, as environment variables:
#   CLUSTER     made by `xpk cluster create`; needed
#   WORKDIR     of the run: gs://bucket/folder, or a path on STORAGE; needed by run
#   NAME        of the workload                      (sidrec)
#   PROJECT     of the cluster                       (gcloud's)
#   ZONE        of the cluster                       (gcloud's)
#   TYPE        of a slice, or of a node with GPUs   (v5litepod-16)
#   SLICES      how many slices                      (1)
#   NODES       how many nodes with GPUs, of TYPE=h100-mega-80gb-8, say; left out for TPUs
#   STORAGE     a file system of the cluster, by its name for `xpk storage attach`
#   IMAGE       with bash, sidrec and its extras gcs and tpu (or cuda), run by root; without one,
#   BASE_IMAGE  gets a copy of this checkout, which every pod installs when it starts (python:3.12)
set -euo pipefail

name=${NAME:-sidrec}
platform=tpu container=jax-tpu  # the container's name is XPK's
[[ -z ${NODES:-} ]] || platform=cuda container=gpu-image

xpk_workload() {
  local where=(--cluster="${CLUSTER:?set CLUSTER to the name of a cluster of XPK}")
  [[ -z ${PROJECT:-} ]] || where+=(--project="$PROJECT")
  [[ -z ${ZONE:-} ]] || where+=(--zone="$ZONE")
  xpk workload "$@" "${where[@]}"
}

run() {
  local workdir=${WORKDIR:?set WORKDIR to gs://bucket/folder, or to a path on STORAGE}
  if [[ -z ${STORAGE:-} && $workdir != gs://?* ]]; then
    echo "WORKDIR=$workdir would be lost with its pod: name gs://bucket/folder, or set STORAGE" >&2
    exit 2
  fi
  local arguments=("$@" --workdir="$workdir") options=(--num-slices="${SLICES:-1}") cluster=""
  if [[ -n ${NODES:-} ]]; then
    options=(--num-nodes="$NODES")
    # XPK tells each pod what JAX would have to ask Kubernetes.
    cluster=" --coordinator=\$JAX_COORDINATOR_ADDRESS:\$JAX_COORDINATOR_PORT"
    cluster+=" --num_processes=\$NNODES --process_id=\$NODE_RANK"
  fi
  # The shell that XPK runs this in passes SIGTERM on to its child, which has to become Python.
  local command="exec python -m sidrec.main ${arguments[*]@Q}$cluster"
  if [[ -n ${IMAGE:-} ]]; then
    options+=(--docker-image="$IMAGE")
  else
    local root
    root=$(cd "$(dirname "$0")/.." && pwd)
    command="pip install -q '.[gcs,$platform]' && $command"
    options+=(--base-docker-image="${BASE_IMAGE:-python:3.12}" --script-dir="$root")
  fi
  [[ -z ${STORAGE:-} ]] || options+=(--storage="$STORAGE")
  # When a host is lost, the other processes end with status 1, which XPK would take for final.
  xpk_workload create --workload="$name" --device-type="${TYPE:-v5litepod-16}" "${options[@]}" \
    --env=JAX_PLATFORMS="$platform,cpu" --max-restarts=20 --restart-on-exit-codes=1 \
    --termination-grace-period-seconds=120 --command="$command"
}

status() {
  xpk_workload list --filter-by-job="$name"
}

logs() {
  status  # also makes this cluster the one that kubectl asks
  local labels="jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0"
  kubectl logs --follow --tail=-1 --container="$container" \
    --selector="$labels,batch.kubernetes.io/job-completion-index=0"
}

delete() {
  xpk_workload delete --workload="$name"  # without a name, XPK would delete all
}

command=${1:-}
case $command in
  run | status | logs | delete)
    shift
    "$command" "$@"
    ;;
  *)
    echo "usage: launch/xpk.sh run FLAGS… | status | logs | delete" >&2
    exit 2
    ;;
esac
