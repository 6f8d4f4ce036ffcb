# shellcheck shell=sh
# Mends what a power cut or a bad disk left of the files of a Redis Cluster's node. start.sh reads this file, and calls
# `mend` in the node's data folder.
#
# Redis would refuse to start with such files, at every start. So:
#
#   appendonlydir/*.incr.aof   is cut where redis-check-aof stops to understand it; what was cut off is kept
#   ...appendonly.aof.manifest is made of the files that are there, when it is not whole or names others
#   ...*.base.rdb              that is damaged is set aside; the files after it are served alone
#   nodes.conf                 that is not whole is set aside: the node joins again under a new identity. So does a
#                              master that lost its base file and has replicas, of which one may then take over.
#
# Nothing is deleted. Each start that finds damage makes a folder set-aside/<time>, with a file `report` that says what
# was found, what was done and what is left to do. "probe.sh damage" shows these reports.

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
  [ -s "$1" ] && [ "$(tr -d '\000' <"$1" | wc -c)" -eq "$(wc -c <"$1")" ] && [ -z "$(tail -c 1 "$1")" ]
}

# True if nodes.conf is as Redis writes it: a line for each node, one of them this one, and the epochs at the end.
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
        if (split($i, slot, "-") == 2 && slot[1] + 0 > slot[2] + 0) bad = 1
        if (slot[1] + 0 > 16383 || slot[2] + 0 > 16383) bad = 1
      }
      if ($3 ~ /(^|,)myself(,|$)/) own++
    }
    END { exit !(ended && own == 1 && !bad) }' nodes.conf
}

# True if this node was a master with replicas, as far as it knew.
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

# True if the manifest is whole, and names what is there. An empty file of commands that it does not name, and a base
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
  report "appendonlydir/$1 is damaged and set aside:" \
    "of the keys in it, those are served that a replica or an older file has."
}

# A base file has what was written until its `ctime`; the files of commands that were written to later come after it.
mend_manifest() {
  whole_manifest && return 0
  lines='' since=0
  for number in $(numbers base.rdb | sort -rn); do
    file=appendonly.aof.$number.base.rdb
    if check redis-check-rdb "appendonlydir/$file"; then
      since=$(echo "$said" | sed -n "s/.*AUX FIELD ctime = '\([0-9]*\)'.*/\1/p")
      lines="file $file seq $number type b"
      base_lost=''
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
  report "appendonlydir/$manifest was not whole, and is made of the files that are there:" \
    "$(echo "$lines" | awk '{ printf "%s%s", (NR > 1 ? " " : ""), $2 }')"
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
  tail -c +$((good + 1)) "appendonlydir/$1" >"$rest" ||
    fail "no room to set $((size - good)) bytes aside: make the volume larger"
  nul=$((size - good - $(tr -d '\000' <"$rest" | wc -c)))
  truncate -s "$good" "appendonlydir/$1"
  sync "appendonlydir/$1"
  report "$((size - good)) bytes at the end of appendonlydir/$1 were cut off and set aside; $good are left." \
    "They are no whole commands, and $nul of them are NUL."
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
  aside='' base_lost='' manifest=appendonly.aof.manifest
  touch .starting # probe.sh takes it for a sign of life
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
    [ -z "$base_lost" ] || report "No base file is left. To do, if no replica had its keys and they are missed:" \
      "restore this node's volume from a copy of yours."
    report "To do, when this is read: kubectl -n ${namespace%.svc} exec $POD_NAME -- rm -r $REDIS_DATA_DIR/$aside"
  fi
  for folder in set-aside/*; do
    [ ! -e "$folder" ] || [ "$folder" = "$aside" ] || echo "redis-start: reported before: $folder/report"
  done
  rm .starting
}
