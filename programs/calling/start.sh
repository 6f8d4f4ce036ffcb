#!/bin/sh
# Start step of both servers of the calling service: looks at the CPU, reads secrets from files, becomes the server.
#
#   start.sh [--cpu-info FILE] [--from-file NAME=FILE]... PROGRAM ARGUMENT...
#
#   --cpu-info   the flags of the CPU, /proc/cpuinfo without it
#   --from-file  the server gets the argument --NAME with what is in the file
#
# The servers take secrets as arguments alone, so they are among those of this process, and nowhere else.
#
# Without --storage-endpoint the frontend ends where AWS_WEB_IDENTITY_TOKEN_FILE is not set, and its SDK then wants a
# web identity. Other credentials come from a file, which the SDK reads before that: of access keys the one that
# AWS_SHARED_CREDENTIALS_FILE names, of EKS Pod Identity one that asks its agent by credentials.sh.
set -eu
umask 077

fail() {
  echo "calling-start: $*" >&2
  exit "${status:-1}"
}

cpu_info=/proc/cpuinfo secrets=''
while [ $# -ge 2 ]; do
  case $1 in
    --cpu-info) cpu_info=$2 ;;
    --from-file) secrets="$secrets $2" ;;
    *) break ;;
  esac
  shift 2
done
case ${1:---} in
  -*) status=2 && fail "usage: calling/start.sh [--cpu-info FILE] [--from-file NAME=FILE]... PROGRAM ARGUMENT..." ;;
esac
grep -qw avx2 "$cpu_info" || fail "the CPU of this node has no AVX2, and the calling service's image is built for" \
  "CPUs that have it: run it on another node (flatline:calls.groups.nodeLabels)," \
  "or let the virtual machine see the CPU as it is"
for secret in $secrets; do
  value=$(cat "${secret#*=}") || fail "there is no file ${secret#*=}"
  [ -n "$value" ] || fail "${secret#*=} is empty"
  set -- "$@" "--${secret%%=*}" "$value"
done
if [ -z "${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ]; then
  export AWS_WEB_IDENTITY_TOKEN_FILE=/dev/null
  if [ -n "${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}" ]; then
    export AWS_CONFIG_FILE="${TMPDIR:-/tmp}/aws-config"
    printf '[default]\ncredential_process = sh %s\n' "${0%/*}/credentials.sh" >"$AWS_CONFIG_FILE"
  fi
fi
exec "$@"
