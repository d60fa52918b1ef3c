#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests: slurm_node.sh up FOLDER | down FOLDER
# Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge. As root.
# Job steps read /etc/slurm alone, so its files are made, and removed at the end.
# The node claims 16 processors, 120 GB and a GPU, so that profiles/slurm fits as it is shipped.
set -euo pipefail
action=$1 folder=$(realpath -m "$2")
conf=/etc/slurm/slurm.conf

up() {
  [ ! -e "$conf" ] || { echo "there is a $conf: this machine is in a cluster" >&2; exit 1; }
  mkdir -p "$folder"/{state,spool,munge} /etc/slurm
  host=$(hostname -s)
  dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
  chmod 600 "$folder/munge.key"
  munged --force --key-file "$folder/munge.key" --socket "$folder/munge/socket" \
    --pid-file "$folder/munged.pid" --log-file "$folder/munged.log" --seed-file "$folder/munge.seed"
  cat > "$conf" <<CONF
ClusterName=umtfss
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 RealMemory=120000 Gres=gpu:1
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
CONF
  echo "NodeName=$host Name=gpu File=/dev/null" > /etc/slurm/gres.conf
  slurmctld
  slurmd
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --partition cpu --format %t 2>/dev/null)" = idle ] && return
    sleep 1
  done
  echo "the node did not come up; see $folder/slurmctld.log and slurmd.log" >&2
  down
  exit 1
}

down() {
  for name in slurmd slurmctld munged; do
    [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
  rm -f "$conf" /etc/slurm/gres.conf
}

"$action"
