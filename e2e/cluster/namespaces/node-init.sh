#!/bin/bash
# Process 1 of a node: net, mount, uts, ipc, pid and cgroup namespaces are its own, made by node.ts.
# Usage: node-init.sh NAME STATE IMAGES   (STATE: the node's disk, kept over a reboot; IMAGES: a folder of archives)
set -euo pipefail
name=$1 state=$2 images=$3
here=$(dirname "$(realpath "$0")")

hostname "$name"
# Not only hidden but gone: a mount of another node's namespace would keep that alive when the node is not.
umount --recursive /run
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock

# The node writes to a disk of its own, and sees of the machine what it does not change.
for top in etc opt var/lib var/log; do
  mkdir -p "$state/root/$top" "$state/work/$top"
  mount -t overlay overlay -o "lowerdir=/$top,upperdir=$state/root/$top,workdir=$state/work/$top" "/$top"
done
# Not on that overlay: overlays of containers cannot lie on it.
for dir in containerd kubelet; do
  mkdir -p "$state/$dir" "/var/lib/$dir"
  mount --bind "$state/$dir" "/var/lib/$dir"
done
mkdir -p /etc/cni/net.d /opt/cni/bin /var/log/pods /var/log/containers
# No server, and no domain that pods would search: the cluster's DNS knows its own names alone.
rm -f /etc/resolv.conf
touch /etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts

# sysfs shows the network namespace in which it is mounted; cgroups show only those of this node.
hierarchies=$(awk '$3 == "cgroup" && $2 ~ "^/sys/fs/cgroup/" { print $2, $4 }' /proc/mounts)
umount --lazy /sys/fs/cgroup
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
while read -r path options; do
  mkdir -p "$path"
  controllers=$(tr , '\n' <<<"$options" | grep -vxE 'rw|ro|nosuid|nodev|noexec|relatime|xattr' | paste -sd,)
  case $controllers in name=*) controllers=none,$controllers ;; esac
  mount -t cgroup -o "$controllers" cgroup "$path"
done <<<"$hierarchies"
mkdir /sys/fs/cgroup/unified
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mount -t bpf bpf /sys/fs/bpf

# kubelet sets these, and they belong to the machine: what it writes stays in the node.
for key in kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes vm/overcommit_memory vm/panic_on_oom; do
  mkdir -p "/run/sysctl/${key%/*}"
  cat "/proc/sys/$key" >"/run/sysctl/$key"
  mount --bind "/run/sysctl/$key" "/proc/sys/$key"
done
# Volumes that kubelet mounts have to reach containers.
mount --make-rshared /

# Opening it for reading waits for node.ts, which has plugged the cable in when it writes.
read -r _ <"$state/cable"

bash "$here/supervise.sh" containerd "$state" containerd --config "$state/containerd.toml" &
for _ in {1..300}; do
  if ctr version >/dev/null 2>&1; then break; fi
  sleep 0.1
done
for image in "$images"/*.tar; do
  done=$state/imported/$(basename "$image")
  if [ -e "$done" ]; then continue; fi
  ctr --namespace k8s.io images import "$image" >>"$state/logs/import.log" 2>&1
  mkdir -p "$state/imported"
  touch "$done"
done
readarray -t kubelet_flags <"$state/kubelet.flags"
bash "$here/supervise.sh" kubelet "$state" kubelet "${kubelet_flags[@]}" &
bash "$here/supervise.sh" kube-proxy "$state" kube-proxy --config "$state/kube-proxy.json" --hostname-override "$name" --v=2 &
# bash reaps what containerd leaves to process 1 when it is restarted.
wait
