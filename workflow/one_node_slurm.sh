#!/usr/bin/env bash
# A SLURM of one node on this machine, from Debian's packages, on the loopback interface, to try the grid on:
#
#     sudo workflow/one_node_slurm.sh up FOLDER     # keeps its state in FOLDER
#     sudo workflow/one_node_slurm.sh down FOLDER   # ends it and puts /etc/slurm/slurm.conf back
#
# For trying only: every job runs as root, without accounting and authentication.
set -euo pipefail

action=${1:-} folder=${2:-}
[[ $action =~ ^(up|down)$ && -n $folder ]] || { sed -n '4,7p' "$0" >&2; exit 2; }
configuration=/etc/slurm/slurm.conf

up() {
    [[ $EUID == 0 ]] || { echo "one_node_slurm: must be run as root" >&2; exit 1; }
    command -v slurmctld slurmd squeue > /dev/null || {
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client
    } > /dev/null || { echo "one_node_slurm: its packages cannot be installed" >&2; exit 3; }
    [[ ! -e $folder/slurmctld.pid ]] || { echo "one_node_slurm: $folder is in use; take it down first" >&2; exit 1; }
    mkdir -p "$folder"/{state,spool} /etc/slurm
    folder=$(realpath "$folder")
    [[ ! -e $configuration || -e $folder/before.conf ]] || cp "$configuration" "$folder/before.conf"
    cat > "$configuration" << END
ClusterName=trial
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=300
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer_batch
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
PartitionName=trial Nodes=$(hostname -s) Default=YES MaxTime=INFINITE State=UP
END
    slurmctld
    slurmd
    for _ in $(seq 60); do
        [[ $(sinfo --noheader --format=%T 2> /dev/null) == idle* ]] && { echo "SLURM is up: sinfo, squeue"; return; }
        sleep 0.5
    done
    echo "one_node_slurm: the node did not come up; see $folder/slurmctld.log and $folder/slurmd.log" >&2
    down
    exit 1
}

down() {
    grep -qx ClusterName=trial "$configuration" 2> /dev/null || { echo "one_node_slurm: $configuration is not of a trial: left as it is" >&2; exit 1; }
    scancel --user=root 2> /dev/null || true
    for daemon in slurmd slurmctld; do
        [[ -e $folder/$daemon.pid ]] && kill "$(cat "$folder/$daemon.pid")" 2> /dev/null || true
        rm -f "$folder/$daemon.pid"
    done
    if [[ -e $folder/before.conf ]]; then mv "$folder/before.conf" "$configuration"; else rm -f "$configuration"; fi
}

"$action"
