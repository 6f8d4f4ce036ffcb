#!/bin/sh
# preStop step of a cluster pod: hands this node's slots to another node before the server gets SIGTERM.
#
# Environment: POD_IP, POD_NAME, REDIS_PORT, REDIS_PASSWORD_FILE as for start.sh, and
#   REDIS_STOP_SECONDS     the longest that this may take; the pod's grace period is longer by a minute
#   REDIS_STOP_PATIENCE    how long (s) to wait for a replica, or for the slots to become fewer, while neither is so
#   REDIS_FEWEST_MASTERS   the smallest cluster has so many masters: the pods 0, 1, ... below it never go for good
#
# - A replica, or a master without slots, may go.
# - A master with slots asks a replica that is in step, and not on its way out as well, to take over. The hand-over
#   (CLUSTER FAILOVER) pauses writes until the replica has them all, so no acknowledged write is lost.
# - A master without such a replica waits as long as its slots become fewer: membership.mjs is moving them
#   because the cluster shrinks. If nothing moves, the data stays on the volume and the slots wait for the pod's return.
#   Where it has no replica at all and comes back for sure, there is nothing to wait for.
#
# Pods that leave together must not hand over to each other: a leaving node shows it by the flag `nofailover`, which
# also keeps it from being elected. The flag ends with the process.
set -eu
REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE")
export REDISCLI_AUTH

ask() {
  address=$1
  shift
  timeout 3 redis-cli -h "$address" -p "$REDIS_PORT" "$@"
}

# Output: the number of slots that this node serves as a master. Fails when the node does not answer.
slots() {
  nodes=$(ask "$POD_IP" cluster nodes) || return 1
  echo "$nodes" | awk '
    $3 ~ /myself/ {
      for (i = 9; i <= NF && $3 ~ /master/; i++) {
        if ($i ~ /^\[/) continue
        n = split($i, range, "-")
        sum += range[n] - range[1] + 1
      }
      print sum + 0
      found = 1
    }
    END { exit !found }'
}

# Output: addresses of this node's replicas that are connected and stay.
replicas() {
  ask "$POD_IP" cluster nodes | awk '
    { line[$1] = $0; if ($3 ~ /myself/) own = $1 }
    END {
      for (id in line) {
        split(line[id], field, " ")
        if (field[4] == own && field[8] == "connected" && field[3] == "slave") {
          sub(/:[0-9]*@.*/, "", field[2])
          print field[2]
        }
      }
    }'
}

in_step() {
  ask "$1" info replication 2>/dev/null | grep -q '^master_link_status:up' &&
    [ "$(ask "$1" config get cluster-replica-no-failover | tail -n 1)" = no ]
}

hand_over() {
  for replica in $(replicas); do
    in_step "$replica" || continue
    echo "redis-stop: $(ask "$replica" cluster failover), $replica takes over"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
      sleep 0.5
      [ "$(slots)" != 0 ] || return 0
    done
  done
  return 1
}

# Whether some node, in step or not, replicates this one, or a slot of this one is being moved.
related() {
  ask "$POD_IP" cluster nodes | awk '
    $3 ~ /myself/ { own = $1; moves = /\[/ }
    { masters[$4] }
    END { exit !(moves || own in masters) }'
}

ask "$POD_IP" config set cluster-replica-no-failover yes >/dev/null || exit 0 # it does not answer: nothing to hand over
patience=$REDIS_STOP_PATIENCE
[ "${POD_NAME##*-}" -ge "$REDIS_FEWEST_MASTERS" ] || related || patience=0
began=$(date +%s)
moved=$began
last=none
while now=$(date +%s) && [ $((now - began)) -lt "$REDIS_STOP_SECONDS" ]; do
  left=$(slots) || exit 0
  if [ "$left" = 0 ]; then
    # A peer that had not seen the flag may just be handing over to this node: look again.
    sleep 1
    [ "$(slots)" != 0 ] || exit 0
    continue
  fi
  hand_over && continue
  [ "$left" = "$last" ] || moved=$now
  last=$left
  if [ $((now - moved)) -ge "$patience" ]; then
    echo "redis-stop: no node takes over $left slots; they wait for this pod's return"
    exit 0
  fi
  sleep 1
done
