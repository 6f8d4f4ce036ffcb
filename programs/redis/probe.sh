#!/bin/sh
# Probe of a Redis pod.
#
#   probe.sh ready    0 if the server answers PING with PONG
#   probe.sh alive    0 if it answers at all: an error reply, as while it loads its data, is a sign of life; so is
#                           a start step that looks at the files
#   probe.sh damage   0 if nothing is set aside; else 1, and the reports of start.sh on what was damaged
#
# Environment: POD_IP, REDIS_PORT, REDIS_PASSWORD_FILE, REDIS_DATA_DIR, as for start.sh.
set -eu
if [ "$1" = damage ]; then
  set -- "$REDIS_DATA_DIR"/set-aside/*/report
  [ -e "$1" ] || exit 0
  cat "$@"
  exit 1
fi
REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE")
export REDISCLI_AUTH
reply=$(timeout 4 redis-cli -h "$POD_IP" -p "$REDIS_PORT" ping 2>/dev/null || true)
case $1 in
  ready) [ "$reply" = PONG ] ;;
  alive) [ -n "$reply" ] || [ -e "$REDIS_DATA_DIR/.starting" ] ;;
  *) echo "usage: probe.sh ready|alive|damage" >&2 && exit 2 ;;
esac
