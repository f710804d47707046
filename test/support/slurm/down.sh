#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# down.sh DIR: ends what up.sh started, by the pids that it noted.
set -eu
D=$1; case $D in /?*) ;; *) exit 2;; esac
export SLURM_CONF=$D/slurm.conf
timeout 10 scancel --user=root 2>/dev/null || true
for f in slurmd.node1.pid slurmd.node2.pid slurmctld.pid munge/pid; do
  [ -s "$D/$f" ] || continue
  p=$(cat "$D/$f"); c=$(cat /proc/$p/comm 2>/dev/null || true)
  case $c in slurmd|slurmctld|munged) kill "$p";; *) echo "$f: $p is $c, left alone";; esac
done
[ ! -e "$D/address-added" ] || ip address delete 192.0.2.1/32 dev lo
