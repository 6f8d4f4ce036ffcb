#!/bin/sh
# Start step of a Redis pod: completes the configuration and becomes redis-server.
#
#   redis-start.sh cluster FILE       FILE is redis-cluster.conf
#   redis-start.sh standalone FILE    FILE is redis-pubsub.conf
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
# does not resolve yet keeps its old address; redis-membership.mjs introduces it when it is there.
#
# What a power cut or a bad disk leaves behind would keep redis-server from starting, at every start. So:
#
#   appendonlydir/*.incr.aof   is cut where redis-check-aof stops to understand it; what was cut off is kept
#   ...appendonly.aof.manifest is made anew of the files that are there, when it is not whole or names others
#   ...*.base.rdb              that is damaged is set aside; the files after it are served alone
#   nodes.conf                 that is not whole is set aside: the node joins again under a new identity. So does a master
#                              that lost its base file and has replicas, of which one may then take over.
#
# Nothing is deleted. Each start that finds damage makes a folder set-aside/<time>, with a file `report` that says what
# was found, what was done and what is left to do. "redis-probe.sh damage" shows these reports.
set -eu
umask 077

fail() {
  echo "redis-start: $*" >&2
  exit 2
}

# ---- damage ---------------------------------------------------------------------------------------------------------

# Makes the folder $aside of this start.
set_aside() {
  [ -z "$aside" ] || return 0
  aside=set-aside/$(date -u +%Y%m%dT%H%M%SZ)
  [ ! -e "$aside" ] || { sleep 1 && aside=set-aside/$(date -u +%Y%m%dT%H%M%SZ); }
  mkdir -p "$aside" || fail "cannot write to $REDIS_DATA_DIR: see whether the volume is full or read-only"
}

# Arguments: what was found and done.
report() {
  set_aside
  echo "redis-start: $*"
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*" >>"$aside/report"
}

whole_text() {
  [ -s "$1" ] && tr -d '\000' <"$1" | cmp -s - "$1" && [ -z "$(tail -c 1 "$1")" ]
}

# Whether nodes.conf is as Redis writes it: a line for each node, one of them this one, and the epochs at the end.
whole_nodes_conf() {
  whole_text nodes.conf && awk '
    function number(text) { return text ~ /^[0-9]+$/ }
    function identity(text) { return length(text) == 40 && text !~ /[^0-9a-f]/ }
    ended { bad = 1 }
    $1 == "vars" {
      if (NF != 5 || $2 != "currentEpoch" || !number($3) || $4 != "lastVoteEpoch" || !number($5)) bad = 1
      ended = 1
      next
    }
    {
      if (NF < 8 || !identity($1) || known[$1]++ || $2 !~ /:[0-9]+@[0-9]+(,|$)/ || $3 !~ /^[a-z?,]+$/) bad = 1
      if (($4 != "-" && !identity($4)) || !number($5) || !number($6) || !number($7)) bad = 1
      if ($8 != "connected" && $8 != "disconnected") bad = 1
      for (i = 9; i <= NF; i++) {
        if ($i !~ /^[0-9]+(-[0-9]+)?$/ && $i !~ /^\[[0-9]+-[<>]-[0-9a-f]+\]$/) bad = 1
        if (split($i, slot, "-") == 2 && slot[1] + 0 > slot[2] + 0 || slot[1] + 0 > 16383 || slot[2] + 0 > 16383) bad = 1
      }
      if ($3 ~ /(^|,)myself(,|$)/) own++
    }
    END { exit !(ended && own == 1 && !bad) }' nodes.conf
}

# Whether this node was a master with replicas, as far as it knew.
has_replicas() {
  awk '$3 ~ /(^|,)myself(,|$)/ { own = $1 } $4 != "-" { masters[$4] = 1 } END { exit !(own in masters) }' nodes.conf
}

has_data() {
  [ -n "$(numbers base.rdb)$(numbers incr.aof)" ]
}

# Gives up this node's identity; $*: why. The data stays where it is, and is linked into $aside as it is now: what comes
# next is appended to a new file, so that not even a command to drop all keys reaches what was linked.
become_stranger() {
  set_aside
  [ ! -e nodes.conf ] || mv nodes.conf "$aside/nodes.conf"
  report "$*: this node joins again under a new identity, with the keys that it has."
  [ -f "appendonlydir/$manifest" ] || return 0
  cp -al appendonlydir "$aside/appendonlydir" || fail "cannot link $REDIS_DATA_DIR/appendonlydir into $aside"
  next=$(($(numbers incr.aof | tail -n 1 | grep . || echo 0) + 1))
  write_manifest "$(cat "appendonlydir/$manifest")
file appendonly.aof.$next.incr.aof seq $next type i"
}

# Output: the numbers of the files appendonly.aof.<number>.$1 that are there, in order.
numbers() {
  for file in appendonlydir/appendonly.aof.*."$1"; do
    [ ! -f "$file" ] || echo "$file"
  done | sed 's/.*appendonly\.aof\.\([0-9]*\)\..*/\1/' | sort -n
}

# $1: the manifest's text. Files of commands that are not there are made.
write_manifest() {
  echo "$1" | grep . >"appendonlydir/$manifest.new"
  for file in $(awk '$6 == "i" { print $2 }' "appendonlydir/$manifest.new"); do
    touch "appendonlydir/$file"
  done
  sync "appendonlydir/$manifest.new"
  mv "appendonlydir/$manifest.new" "appendonlydir/$manifest"
}

# Whether the manifest is whole, and names what is there. An empty file of commands that it does not name, and a base
# file beside the one that it names, are left of a rewrite that was interrupted.
whole_manifest() {
  whole_text "appendonlydir/$manifest" && awk '
    $1 != "file" || $3 != "seq" || $4 !~ /^[0-9]+$/ || $5 != "type" || $6 !~ /^[bhi]$/ || NF % 2 { bad = 1 }
    $6 == "b" { bases++ }
    END { exit bad || bases > 1 }' "appendonlydir/$manifest" || return 1
  for file in $(awk '$6 != "h" { print $2 }' "appendonlydir/$manifest"); do
    [ -f "appendonlydir/$file" ] || return 1
  done
  for file in appendonlydir/*.incr.aof; do
    [ ! -s "$file" ] || grep -q "^file ${file##*/} " "appendonlydir/$manifest" || return 1
  done
  [ -z "$(numbers base.rdb)" ] || grep -q ' type b' "appendonlydir/$manifest"
}

# Runs one of Redis' own checks, whose output goes to $said: 0 if the file is whole, 1 if not. One that could not be run
# says nothing about the file.
check() {
  said=$("$@" 2>&1) && return 0
  status=$?
  [ "$status" -eq 1 ] || fail "$1 ended with status $status: $said"
  return 1
}

# $1: a base file that cannot be loaded.
lose_base() {
  set_aside
  mv "appendonlydir/$1" "$aside/$1"
  base_lost=$1
  report "appendonlydir/$1 is damaged and set aside: of the keys in it, those are served that a replica or an older file has."
}

# A base file has what was written until its `ctime`; the files of commands that were written to later come after it.
mend_manifest() {
  whole_manifest && return 0
  lines= since=0
  for number in $(numbers base.rdb | sort -rn); do
    file=appendonly.aof.$number.base.rdb
    if check redis-check-rdb "appendonlydir/$file"; then
      since=$(echo "$said" | sed -n "s/.*AUX FIELD ctime = '\([0-9]*\)'.*/\1/p")
      lines="file $file seq $number type b"
      base_lost=
      break
    fi
    lose_base "$file"
  done
  [ -n "$lines" ] || base_lost=${base_lost:-base.rdb} # the first start makes one
  last=$(numbers incr.aof | tail -n 1)
  for number in $(numbers incr.aof); do
    file=appendonly.aof.$number.incr.aof
    if [ "$number" = "$last" ] || [ "$(stat -c %Y "appendonlydir/$file")" -gt "${since:-0}" ]; then
      lines="$lines
file $file seq $number type i"
    fi
  done
  set_aside
  [ ! -e "appendonlydir/$manifest" ] || mv "appendonlydir/$manifest" "$aside/$manifest"
  report "appendonlydir/$manifest was not whole, and is made of the files that are there:" $(echo "$lines" | awk '{ print $2 }')
  [ -n "$last" ] || lines="$lines
file appendonly.aof.1.incr.aof seq 1 type i"
  write_manifest "$lines"
}

# $1: a file of commands. Cuts off the end that Redis would not load, and keeps it.
mend_commands() {
  ! check redis-check-aof "appendonlydir/$1" || return 0
  good=$(echo "$said" | sed -n 's/.*, ok_up_to=\([0-9]*\),.*/\1/p')
  size=$(wc -c <"appendonlydir/$1")
  [ -n "$good" ] && [ "$good" -lt "$size" ] || return 0
  set_aside
  rest=$aside/$1.from-$good
  tail -c +$((good + 1)) "appendonlydir/$1" >"$rest" || fail "no room to set $((size - good)) bytes aside: make the volume larger"
  nul=$((size - good - $(tr -d '\000' <"$rest" | wc -c)))
  truncate -s "$good" "appendonlydir/$1"
  sync "appendonlydir/$1"
  report "$((size - good)) bytes at the end of appendonlydir/$1 were cut off and set aside; $good are left. They are no whole commands, and $nul of them are NUL."
}

mend_data() {
  has_data || return 0
  mend_manifest
  base_file=$(awk '$6 == "b" { print $2 }' "appendonlydir/$manifest")
  if [ -s "appendonlydir/$base_file" ] && check redis-check-aof "appendonlydir/$manifest"; then
    return 0
  fi
  if [ -n "$base_file" ] && ! check redis-check-rdb "appendonlydir/$base_file"; then
    lose_base "$base_file"
    mend_manifest
  fi
  for file in $(awk '$6 != "h" { print $2 }' "appendonlydir/$manifest"); do
    mend_commands "$file"
  done
}

mend() {
  aside= base_lost= manifest=appendonly.aof.manifest
  touch .starting # redis-probe.sh takes it for a sign of life
  mend_data
  if [ ! -e nodes.conf ]; then
    ! has_data || become_stranger "nodes.conf is missing"
  elif ! whole_nodes_conf; then
    become_stranger "nodes.conf is not whole, and set aside"
  elif [ -n "$base_lost" ] && has_replicas; then
    become_stranger "a replica may have the keys of the base file, so nodes.conf is set aside"
  fi
  if [ -n "$aside" ]; then
    namespace=${REDIS_PEER_DOMAIN#*.}
    [ -z "$base_lost" ] || report "No base file is left. To do, if no replica had its keys and they are missed: restore this node's volume from a copy of yours."
    report "To do, when this is read: kubectl -n ${namespace%.svc} exec $POD_NAME -- rm -r $REDIS_DATA_DIR/$aside"
  fi
  for folder in set-aside/*; do
    [ ! -e "$folder" ] || [ "$folder" = "$aside" ] || echo "redis-start: reported before: $folder/report"
  done
  rm .starting
}

# ---- addresses ------------------------------------------------------------------------------------------------------

# Standard input: host names. Output: "<host name> <address>" for those that resolve, to another address than this pod's.
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

[ $# -eq 2 ] || fail "usage: redis-start.sh cluster|standalone FILE"
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
    # A new identity may not be replicated until redis-membership.mjs has looked: replicas of the old one find it by the
    # host name, and would copy what little it has.
    [ -e nodes.conf ] || closed="user default on >$password ~* &* +@all -psync -sync"
    node="${closed:-}
cluster-announce-ip $POD_IP
cluster-announce-hostname $POD_NAME.$REDIS_PEER_DOMAIN"
    ;;
  standalone) node= ;;
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
