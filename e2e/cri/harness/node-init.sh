#!/bin/bash
# Process 1 of a test node: it has net, mount and pid namespaces of its own, made by node.ts.
# Usage: node-init.sh CGROUP
# It builds what a machine has before a runtime starts, prints one line "ready SNAPSHOTTER", and lives until its stdin is
# closed: by node.ts, or by the kernel when the test was killed. Then it kills every process of the node and removes the
# cgroups named CGROUP. bash, not sh: process 1 must reap orphaned shims.
set -euo pipefail
cgroup=$1

# The machine's own /run and /var/lib stay as they are: sockets, network namespaces, CNI caches and leases of the node go here.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/.var-lib/upper /run/.var-lib/work /run/lock
if mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/.var-lib/upper,workdir=/run/.var-lib/work /var/lib; then
  snapshotter=overlayfs
else
  mount -t tmpfs -o mode=755 tmpfs /var/lib
  snapshotter=native
fi

# An uplink with an MTU that no default has. Both ends are here: that is enough for carrier and a default route.
ip link set lo up
ip link add uplink0 mtu 1450 type veth peer name uplink1 mtu 1450
for end in uplink0 uplink1; do
  # No link-local addresses: duplicate address detection would change the route tables a second later.
  ip link set "$end" addrgenmode none
  ip link set "$end" up
done
ip address add 192.0.2.10/24 dev uplink0
ip address add 2001:db8::10/64 dev uplink0 nodad
ip route add default via 192.0.2.1 dev uplink0
ip -6 route add default via 2001:db8::1 dev uplink0

echo "ready $snapshotter"
while read -r _; do :; done

# -1 is every process of this pid namespace and those below it, except this one.
kill -KILL -1 || true
for _ in {1..100}; do
  left=$(find /sys/fs/cgroup -maxdepth 2 -name "$cgroup")
  [ -n "$left" ] || exit 0
  # A cgroup is busy until its last process has ended: the next round removes it.
  find $left -depth -type d -delete || sleep 0.05
done
echo "still there: $left" >&2
exit 1
