#!/bin/bash
# Enters a cgroup in every v1 hierarchy, making it first, and becomes COMMAND. Usage: node-launch.sh CGROUP COMMAND...
set -euo pipefail
cgroup=$1
shift
for hierarchy in /sys/fs/cgroup/*/; do
  path=$hierarchy
  for part in ${cgroup//\// }; do
    path+=$part/
    mkdir -p "$path"
    # A cpuset without CPUs and memory takes no process.
    for file in cpuset.cpus cpuset.mems; do
      if [ -e "$path$file" ] && [ -z "$(<"$path$file")" ]; then cat "$path../$file" >"$path$file"; fi
    done
  done
  echo 0 >"${path}cgroup.procs"
done
exec "$@"
