#!/bin/bash
# Process 1 of the machine that holds a cluster: it has net, mount and pid namespaces of its own, made by machine.ts.
# Usage: machine-init.sh CGROUP STATE
# It lives until its stdin is closed: by machine.ts, or by the kernel when that process was killed. Then every process of the
# cluster ends with it, whatever it was doing, and it removes what is left: the cgroups named CGROUP and the folder STATE.
set -euo pipefail
cgroup=$1 state=$2

# Nodes and tools keep sockets and namespaces here; the machine's own /run is not theirs.
mount -t tmpfs -o mode=755 tmpfs /run
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding

echo ready
while read -r _; do :; done

# -1 is every process of this pid namespace and those below it, except this one.
kill -KILL -1 || true
for _ in {1..200}; do
  left=$(find /sys/fs/cgroup -maxdepth 2 -name "$cgroup")
  [ -n "$left" ] || break
  # A cgroup is busy until its last process has ended: the next round removes it.
  find $left -depth -type d -delete 2>/dev/null || sleep 0.05
done
rm -rf --one-file-system "$state"
[ -z "$left" ] || { echo "still there: $left" >&2; exit 1; }
