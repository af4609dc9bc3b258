#!/usr/bin/env bash
# One machine with GPUs, or each of several without a scheduler.
#
# One machine, all its GPUs in one process:
#   launch/gpu_node.sh --config=configs/ml1m.py --workdir=runs/ml1m
#
# Two machines, the first of which is called node-a; the same command on both but for its number:
#   COORDINATOR=node-a:12321 NODES=2 NODE=0 launch/gpu_node.sh --config=… --workdir=/shared/runs/…
#   COORDINATOR=node-a:12321 NODES=2 NODE=1 launch/gpu_node.sh --config=… --workdir=/shared/runs/…
set -euo pipefail

# With this, JAX ends with an error where it finds no GPU, instead of training on the CPU.
export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu}
# Memory is taken as it is needed: several runs, or a desktop, may share a GPU.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}

cluster=()
if [[ -n ${NODES:-} ]]; then
  cluster=(
    --coordinator="${COORDINATOR:?set COORDINATOR to host:port of the first node}"
    --num_processes="$NODES"
    --process_id="${NODE:?set NODE to the number of this machine, from 0}"
  )
fi
exec "${PYTHON:-python}" -m sidrec.main "$@" "${cluster[@]}"
