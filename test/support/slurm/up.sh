#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# up.sh DIR: munged, slurmctld and two slurmd (node1, node2) on loopback, as root, without systemd and cgroups.
# Everything is under DIR (absolute); nothing of /etc or /var is touched. DIR/env is to be sourced by users.
# SLURM_UP_PORTS="CTLD NODE1 NODE2": ports that are free here; others may run a Slurm of their own.
set -eu
D=$1; case $D in /?*) ;; *) echo "DIR must be absolute" >&2; exit 2;; esac
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 2; }
for c in munged slurmctld slurmd sinfo; do command -v $c >/dev/null || {
    echo "$c is missing: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge" >&2
    exit 2
}; done
read -r P0 P1 P2 <<< "${SLURM_UP_PORTS:-16817 16818 16819}"
# Slurm must be able to resolve its own host name: a UTS namespace whose name is localhost, whatever the machine says.
if [ "${SLURM_UP_UTS:-}" != 1 ]; then
  exec env SLURM_UP_UTS=1 unshare --uts sh -c 'hostname localhost; exec "$0" "$@"' "$0" "$@"
fi
# Without any address but 127.0.0.1 (a network namespace of its own) the resolver does not find localhost (AI_ADDRCONFIG).
mkdir -p "$D"
if ! ip -4 -o address show scope global | grep -q .; then ip address add 192.0.2.1/32 dev lo && touch "$D/address-added"; fi
mkdir -p "$D/log" "$D/state" "$D/spool.node1" "$D/spool.node2" "$D/munge"
chmod 755 "$D" "$D/munge"
H=$(hostname -s)
K=$D/munge/key
[ -s "$K" ] || (umask 077; dd if=/dev/urandom of="$K" bs=128 count=1 status=none)
cat > "$D/slurm.conf" <<C
ClusterName=crimg
SlurmctldHost=$H(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it may start again (default 120 s)
AuthInfo=socket=$D/munge/socket,cred_expire=5
SlurmctldPort=$P0
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd.%n.log
SlurmdSpoolDir=$D/spool.%n
StateSaveLocation=$D/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=10
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
MinJobAge=300
RebootProgram=/bin/false
NodeName=node1 NodeHostname=$H NodeAddr=127.0.0.1 Port=$P1 CPUs=1 RealMemory=1000
NodeName=node2 NodeHostname=$H NodeAddr=127.0.0.1 Port=$P2 CPUs=1 RealMemory=1000
PartitionName=low  Nodes=node1,node2 Default=YES MaxTime=60 State=UP PriorityTier=1  PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=node1,node2 MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
C
echo "export SLURM_CONF=$D/slurm.conf" > "$D/env"
export SLURM_CONF=$D/slurm.conf
munged --key-file="$K" --socket="$D/munge/socket" --pid-file="$D/munge/pid" --log-file="$D/munge/log" \
    --seed-file="$D/munge/seed" --num-threads=2
munge -n -S "$D/munge/socket" | unmunge -S "$D/munge/socket" | head -1
slurmctld -f "$SLURM_CONF"
for n in node1 node2; do slurmd -f "$SLURM_CONF" -N $n; done
for i in $(seq 15); do
  [ "$(timeout 2 sinfo -h -o '%n %T' -N -p low 2>/dev/null | grep -c ' idle$')" = 2 ] && { timeout 3 sinfo; exit 0; }
  sleep 0.5
done
timeout 3 sinfo || true; tail -n 5 "$D"/log/*; exit 1
