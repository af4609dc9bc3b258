#!/usr/bin/env bash
# sidrec on all hosts of a TPU slice, by a queued resource of Google Cloud.
#
#   launch/tpu_pod.sh create                                     # asks for the slice, waits for it
#   launch/tpu_pod.sh setup                                      # mounts, copies, installs
#   launch/tpu_pod.sh run --config=configs/ml1m.py --workdir=/mnt/runs/ml1m
#   launch/tpu_pod.sh stop                                       # saves the step and ends
#   launch/tpu_pod.sh delete
#
# Settings, as environment variables:
#   NAME     of the slice                      (sidrec)
#   ZONE     where it stands                   (us-west4-a)
#   TYPE     accelerator type                  (v5litepod-16)
#   VERSION  runtime version of that type      (v2-alpha-tpuv5-lite)
#   SHARE    NFS export for the runs, host:/path, mounted on /mnt/runs; needed by setup
#   SPOT     1 for a slice that may be taken away at any time   (1)
set -euo pipefail

name=${NAME:-sidrec}
zone=${ZONE:-us-west4-a}

on_all_hosts() {
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

create() {
  local spot=()
  if [[ ${SPOT:-1} == 1 ]]; then
    spot=(--spot)
  fi
  gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
    --accelerator-type="${TYPE:-v5litepod-16}" --runtime-version="${VERSION:-v2-alpha-tpuv5-lite}" \
    "${spot[@]}"
  local state=""
  while [[ $state != ACTIVE ]]; do
    state=$(gcloud compute tpus queued-resources describe "$name" --zone="$zone" \
      --format="value(state.state)")
    echo "$name is $state"
    case $state in
      ACTIVE) ;;
      FAILED | SUSPENDED) exit 1 ;;
      *) sleep 30 ;;
    esac
  done
}

setup() {
  local share=${SHARE:?set SHARE to the NFS export that takes the runs, such as 10.0.0.2:/runs}
  gcloud compute tpus tpu-vm scp --recurse --zone="$zone" --worker=all \
    pyproject.toml README.md LICENSE sidrec configs "$name":
  on_all_hosts "set -e
    sudo apt-get -qq update && sudo apt-get -qq install -y nfs-common
    sudo mkdir -p /mnt/runs
    mountpoint -q /mnt/runs || sudo mount -o lookupcache=positive '$share' /mnt/runs
    curl -LsSf https://astral.sh/uv/install.sh | sh
    ~/.local/bin/uv venv --allow-existing --python 3.12 ~/sidrec-env
    ~/.local/bin/uv pip install --python ~/sidrec-env/bin/python 'jax[tpu]' ~"
}

run() {
  local arguments
  printf -v arguments "%q " "$@"
  on_all_hosts "cd ~ && exec ~/sidrec-env/bin/python -m sidrec.main $arguments"
}

stop() {
  # The brackets keep the pattern from finding the shell that it stands in.
  on_all_hosts "pkill -TERM -f '[s]idrec\.main' || true"
}

delete() {
  gcloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
}

command=${1:-}
case $command in
  create | setup | run | stop | delete)
    shift
    "$command" "$@"
    ;;
  *)
    echo "usage: launch/tpu_pod.sh create | setup | run FLAGS… | stop | delete" >&2
    exit 2
    ;;
esac
