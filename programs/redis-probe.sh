#!/bin/sh
# Probe of a Redis pod.
#
#   redis-probe.sh ready    0 if the server answers PING with PONG
#   redis-probe.sh alive    0 if it answers at all: an error reply, as while it loads its data, is a sign of life
#
# Environment: POD_IP, REDIS_PORT, REDIS_PASSWORD_FILE, as for redis-start.sh.
set -eu
REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE")
export REDISCLI_AUTH
reply=$(timeout 4 redis-cli -h "$POD_IP" -p "$REDIS_PORT" ping 2>/dev/null)
case $1 in
  ready) [ "$reply" = PONG ] ;;
  alive) [ -n "$reply" ] ;;
  *) echo "usage: redis-probe.sh ready|alive" >&2 && exit 2 ;;
esac
