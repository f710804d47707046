#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# down.sh DIR: ends what up.sh started and all that those started (steps, jobs), and waits until it is gone, 25 s at most.
# DIR is to be a directory of this run alone: a process belongs to it that names DIR in its words, environment, working
# directory or open files, or that is below such a process. Pid files alone miss slurmstepd, and whatever was half started.
set -u
D=${1:-}; case $D in /*/?*) ;; *) echo "DIR must be absolute" >&2; exit 2;; esac
cd / || exit 2

# Never this script, nor those that wait for it: they name DIR too.
declare -A above=()
for ((p = $$; p > 1; )); do
  above[$p]=1; p=$(sed -n 's/^PPid:\t//p' "/proc/$p/status" 2>/dev/null); p=${p:-0}
done

ours() {
  local at p found=" "
  for at in /proc/[0-9]*; do
    p=${at#/proc/}
    [ -z "${above[$p]:-}" ] || continue
    if { cat "$at/cmdline" "$at/environ"; readlink "$at/cwd" "$at"/fd/*; } 2>/dev/null | grep -qaF -- "$D/"; then found+="$p "; fi
  done
  # Below them; a new child may have a lower pid than its parent, so until nothing is added.
  local more=1 parent
  while [ $more = 1 ]; do
    more=0
    while read -r p parent; do
      case $found in *" $p "*) continue;; esac
      [ -z "${above[$p]:-}" ] || continue
      case $found in *" $parent "*) found+="$p "; more=1;; esac
    done < <(ps -e -o pid= -o ppid=)
  done
  for p in $found; do
    case $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$p/status" 2>/dev/null) in ''|Z|X) ;; *) echo "$p";; esac
  done
}

SLURM_CONF=$D/slurm.conf timeout 5 scancel --user=root 2>/dev/null
p=$(ours); [ -z "$p" ] || kill $p 2>/dev/null
for i in $(seq 20); do
  p=$(ours); [ -n "$p" ] || break
  # Daemons that were asked have some seconds to end by themselves.
  [ "$i" -le 5 ] || kill -9 $p 2>/dev/null
  sleep 0.5
done
[ ! -e "$D/address-added" ] || ip address delete 192.0.2.1/32 dev lo
p=$(ours); [ -z "$p" ] || { echo "still there: $p" >&2; exit 1; }
