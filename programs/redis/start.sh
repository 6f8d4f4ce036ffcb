#!/bin/sh
# Start step of a Redis pod: completes the configuration and becomes redis-server.
#
#   start.sh cluster FILE       FILE is cluster.conf
#   start.sh standalone FILE    FILE is pubsub.conf
#
# Environment, all of it needed (the last two by `cluster` only):
#   POD_IP               the pod's address: the only one that the server listens on
#   REDIS_PORT           of clients; the cluster bus has this one + 10000
#   REDIS_DATA_DIR       working folder; of a cluster node the mounted volume
#   REDIS_MAXMEMORY      bytes of data; leave as much again to the container for rewriting the append-only file
#   REDIS_PASSWORD_FILE  one line of letters, digits and -._~ (it is also part of redis:// addresses)
#   POD_NAME             the pod's name
#   REDIS_PEER_DOMAIN    <headless Service>.<namespace>.svc: <pod>.<domain> is a peer's host name
#
# Redis Cluster remembers its peers by address only, and all addresses may have changed since nodes.conf was written.
# So each known host name is resolved once, for at most 2 s, and the new addresses are put into nodes.conf. A peer that
# does not resolve yet keeps its old address; membership.mjs introduces it when it is there.
#
# Before a cluster node starts, mend.sh mends what a power cut or a bad disk left of its files.
#
# The values are in the environment, and not in flags, because the probes (probe.sh) and the preStop step (stop.sh) of
# the same container need them too, and Kubernetes expands no variables in the commands of those.
set -eu
umask 077
# shellcheck source=mend.sh
. "${0%/*}/mend.sh"

fail() {
  echo "redis-start: $*" >&2
  exit 2
}

# ---- addresses ------------------------------------------------------------------------------------------------------

# Standard input: host names. Output: "<host name> <address>" for those that resolve to another address than this pod's.
resolve() {
  while read -r name; do
    timeout 2 getent ahosts "$name" | awk -v name="$name" -v own="$POD_IP" 'NR == 1 && $1 != own { print name, $1 }' &
  done
  wait
}

# Standard input: "<host name> <address>" lines. Output: the file $1 (nodes.conf) with these addresses, and without
# what it tells about failures, which were those before this start.
#   <id> <address>:<port>@<bus port>[,<host name>[,<key>=<value>]...] <flag>[,<flag>]... ...
readdress() {
  awk -v own="$POD_IP" -v port="$REDIS_PORT" '
    NR == FNR { if (NF == 2) address[$1] = $2; next }
    NF < 8 || $1 == "vars" { print; next }
    {
      split($2, part, ",")
      names = substr($2, length(part[1]) + 1)
      myself = $3 ~ /(^|,)myself(,|$)/
      now = myself ? own : address[part[2]]
      if (now != "") {
        ports = part[1]
        sub(/.*:/, ":", ports)
        if (ports == ":0@0") ports = ":" port "@" (port + 10000)
        $2 = now ports names
      }
      count = split($3, flag, ",")
      kept = ""
      for (i = 1; i <= count; i++) {
        if (flag[i] == "fail" || flag[i] == "fail?" || (flag[i] == "noaddr" && now != "")) continue
        kept = kept (kept == "" ? "" : ",") flag[i]
      }
      $3 = kept == "" ? "noflags" : kept
      print
    }' - "$1"
}

heal_addresses() {
  [ -s nodes.conf ] || return 0
  known=$(awk 'NF >= 8 { split($2, part, ","); if (part[2] != "") print part[2] }' nodes.conf | sort -u | resolve)
  echo "$known" | readdress nodes.conf >nodes.conf.new
  sync nodes.conf.new # an empty nodes.conf after a power cut would be a new identity
  mv nodes.conf.new nodes.conf
  echo "redis-start: $(echo "$known" | grep -c .) peers resolved"
}

[ $# -eq 2 ] || fail "usage: start.sh cluster|standalone FILE"
mode=$1
base=$2
: "${POD_IP:?}" "${REDIS_PORT:?}" "${REDIS_DATA_DIR:?}" "${REDIS_MAXMEMORY:?}" "${REDIS_PASSWORD_FILE:?}"
[ -f "$base" ] || fail "no configuration file $base"
[ -f "$REDIS_PASSWORD_FILE" ] || fail "no password file $REDIS_PASSWORD_FILE"
password=$(cat "$REDIS_PASSWORD_FILE")
case $password in
  '' | *[!A-Za-z0-9._~-]*) fail "the password in $REDIS_PASSWORD_FILE must be letters, digits and -._~" ;;
esac
cd "$REDIS_DATA_DIR" || fail "no folder $REDIS_DATA_DIR"

case $mode in
  cluster)
    : "${POD_NAME:?}" "${REDIS_PEER_DOMAIN:?}"
    mend
    heal_addresses
    # A new identity may not be replicated until membership.mjs has looked: replicas of the old one find it by the
    # host name, and would copy what little it has.
    [ -e nodes.conf ] || closed="user default on >$password ~* &* +@all -psync -sync"
    node="${closed:-}
cluster-announce-ip $POD_IP
cluster-announce-hostname $POD_NAME.$REDIS_PEER_DOMAIN"
    ;;
  standalone) node='' ;;
  *) fail "no such mode: $mode" ;;
esac

# By standard input, so that the password is in no file, argument or environment of the server.
exec redis-server - <<CONFIGURATION
include $base
bind $POD_IP
port $REDIS_PORT
dir $REDIS_DATA_DIR
maxmemory $REDIS_MAXMEMORY
requirepass $password
masterauth $password
$node
CONFIGURATION
