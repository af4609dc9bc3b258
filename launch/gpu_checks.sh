#!/usr/bin/env bash
# All that is to be measured on an accelerator, into one file: FOLDER/gpu_checks.json.
#
#   pip install -e '.[cuda,bench]'
#   export SIDREC_DATA_DIR=…                               # holds ml-1m
#   launch/gpu_checks.sh                                   # all steps, into runs/gpu_checks
#   launch/gpu_checks.sh --steps=ml1m --limit=540          # in pieces of nine minutes; the same
#   launch/gpu_checks.sh --steps=wide,throughput           # command goes on where one stopped
#   CHECKS_ALLOW_CPU=1 launch/gpu_checks.sh                # do the commands run? tiny, on a CPU
#
# It refuses to run where JAX sees no GPU. Steps, flags and what is written: sidrec.bench.gpu_checks.
set -euo pipefail

# Memory is taken as it is needed: steps are processes of their own.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
# With this, JAX ends with an error where it finds no GPU, instead of computing on the CPU.
if [[ ${CHECKS_ALLOW_CPU:-} != 1 ]]; then
  export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu}
fi
cd "$(dirname "$0")/.." # commands name files of configs/
exec "${PYTHON:-python}" -m sidrec.bench.gpu_checks "$@"
