#!/bin/sh
# Credentials of EKS Pod Identity in the form of `credential_process` (AWS SDKs and Tools, "Process credential
# provider"): the answer of the agent on the node with a version, and with its token under another name.
#
#   AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE   as EKS sets them for the pod
set -eu

answer=$(printf 'Authorization: %s\n' "$(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")" |
  curl --fail --silent --show-error --max-time 10 --header @- "$AWS_CONTAINER_CREDENTIALS_FULL_URI")
printf '%s\n' "$answer" | sed -e 's/"Token"/"SessionToken"/' -e '1s/{/{"Version": 1, /'
