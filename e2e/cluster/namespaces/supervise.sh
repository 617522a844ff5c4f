#!/bin/bash
# Runs a daemon for ever, as an init system does. Usage: supervise.sh NAME STATE COMMAND [ARGUMENT...]
# STATE/pids/NAME holds its process number; while STATE/down/NAME exists it is not started again; STATE/logs/NAME.log has its words.
set -uo pipefail
name=$1 state=$2
shift 2
mkdir -p "$state/pids" "$state/down" "$state/logs"
while :; do
  while [ -e "$state/down/$name" ]; do sleep 0.1; done
  "$@" >>"$state/logs/$name.log" 2>&1 </dev/null &
  # A rename: nobody reads half a number.
  echo $! >"$state/pids/.$name" && mv "$state/pids/.$name" "$state/pids/$name"
  wait $!
  echo "supervise: $name ended with $?" >>"$state/logs/$name.log"
  rm -f "$state/pids/$name"
  sleep 0.3
done
