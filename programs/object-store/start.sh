#!/bin/sh
# Start step of the object store's pod: makes the buckets that are missing, gives each its owner, becomes versitygw.
#
#   start.sh --port PORT --data-dir DIR --root-secret-file FILE --accounts-file FILE BUCKET=OWNER...
#
#   --port              of S3; the next one is taken on 127.0.0.1
#   --data-dir          the folder on the volume that holds the buckets
#   --root-secret-file  one line: the secret access key of the account that may do everything, flatline-root
#   --accounts-file     versitygw's users.json: all other accounts
#   BUCKET=OWNER        a bucket, and the access key id of the account that alone may use it
#
# An owner is given by the server's admin interface, which needs the server. So versitygw runs twice: first where only
# this pod reaches it, until each bucket has its owner, then for everybody. Nothing is ever removed.
set -eu
umask 077

ATTEMPTS=100

fail() {
  echo "object-store-start: $*" >&2
  exit 1
}

port='' data='' root_secret_file='' accounts=''
while [ $# -ge 2 ]; do
  case $1 in
    --port) port=$2 ;;
    --data-dir) data=$2 ;;
    --root-secret-file) root_secret_file=$2 ;;
    --accounts-file) accounts=$2 ;;
    *) break ;;
  esac
  shift 2
done
[ -n "$port" ] && [ -n "$data" ] && [ $# -ge 1 ] || fail "usage: object-store/start.sh --port PORT --data-dir DIR" \
  "--root-secret-file FILE --accounts-file FILE BUCKET=OWNER..."
admin=127.0.0.1:$((port + 1))
[ -f "$root_secret_file" ] || fail "there is no file $root_secret_file"
[ -f "$accounts" ] || fail "there is no file $accounts"
# In the environment of these processes alone: not in the pod's manifest, and not among their arguments.
export ROOT_ACCESS_KEY_ID=flatline-root
ROOT_SECRET_ACCESS_KEY=$(cat "$root_secret_file")
export ROOT_SECRET_ACCESS_KEY

# The admin interface has an address of its own in both runs, so the published port offers S3 and nothing else.
serve() {
  exec versitygw --port "$1:$port" --admin-port "$admin" --health /health --quiet --keep-alive \
    --iam-dir "$(dirname "$accounts")" posix "$data"
}

# own BUCKET OWNER: says what is wrong, and fails, while it cannot be done.
own() {
  ADMIN_ACCESS_KEY_ID=$ROOT_ACCESS_KEY_ID ADMIN_SECRET_ACCESS_KEY=$ROOT_SECRET_ACCESS_KEY \
    ADMIN_ENDPOINT_URL="http://$admin" versitygw admin change-bucket-owner --bucket "$1" --owner "$2" 2>&1
}

for pair; do
  mkdir -p "$data/${pair%%=*}"
done
serve 127.0.0.1 &
server=$!
for pair; do
  attempt=0
  until problem=$(own "${pair%%=*}" "${pair#*=}"); do
    kill -0 "$server" 2>/dev/null || fail "versitygw has ended"
    attempt=$((attempt + 1))
    [ "$attempt" -lt "$ATTEMPTS" ] || fail "bucket ${pair%%=*} gets no owner: $problem"
    sleep 0.1
  done
done
kill "$server"
wait "$server" || fail "versitygw has ended with status $?"
echo "object-store-start: the buckets have their owners"
serve ""
