#!/usr/bin/env bash
# Two processes on one machine, as two hosts would be.
#
#   launch/two_processes.sh --config=configs/demo.py:tiny --workdir=runs/two
#
# Arguments go to sidrec.main. Lines are marked with the process they come from. SIGTERM and
# Ctrl-C go to both processes. If one fails, the other one is given some time to end by itself;
# the exit status is that of the first one that failed.
set -euo pipefail

python=${PYTHON:-python}
read -r port half < <("$python" -c '
import os, socket
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
with socket.socket() as s:
  s.bind(("localhost", 0))
  print(s.getsockname()[1], max(1, cores // 2))')
# Threads of XLA's pool: processes that each take all cores get in each other's way.
export NPROC=${NPROC:-$half}

pids=()
readers=()
signal=
to_all() {
  signal=$1
  kill "-$1" "${pids[@]}" 2>/dev/null || true
}
# Before the first process starts: a signal in between would end this script and leave it alone.
trap 'to_all TERM' TERM
trap 'to_all INT' INT

for id in 0 1; do
  # Signals to the whole group are for the processes: what they say then has to be read.
  exec {marked}> >(trap "" TERM INT && exec sed -u "s/^/[$id] /")
  readers+=($!)
  "$python" -m sidrec.main "$@" --coordinator="localhost:$port" --num_processes=2 \
    --process_id="$id" >&"$marked" 2>&1 &
  pids+=($!)
  exec {marked}>&-
done
if [[ -n $signal ]]; then
  to_all "$signal" # the last process may have started after it
fi

status=0
left=${GRACE_SECONDS:-30}
ended=()
while ((${#ended[@]} < ${#pids[@]})); do
  sleep 0.2 &
  wait $! || true # unlike sleep itself, this lets a signal through at once
  for pid in "${pids[@]}"; do
    if [[ " ${ended[*]} " == *" $pid "* ]] || kill -0 "$pid" 2>/dev/null; then
      continue
    fi
    ended+=("$pid")
    code=0
    wait "$pid" || code=$?
    if ((status == 0 && code != 0)); then
      status=$code
      SECONDS=0
    fi
  done
  if ((status != 0 && SECONDS >= left)); then
    to_all KILL
  fi
done
wait "${readers[@]}" || true
exit "$status"
