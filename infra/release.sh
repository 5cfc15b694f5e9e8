#!/usr/bin/env bash
# Puts an image of the platform into the apps of a stack, or takes the last one back.
#
#   infra/release.sh deploy NAME ENVIRONMENT IMAGE [REGION]
#   infra/release.sh rollback NAME ENVIRONMENT [REGION]
#
# NAME and ENVIRONMENT are those of the stack (acme, prod), IMAGE is a tag or digest in its registry
# (lightning:1.2.0), REGION is 2 for the second region. `az` must be signed in.
#
# A release starts in the slot `next` of each app, and is swapped in once it answers; App Service warms it up
# before. What ran before stays in the slot, stopped, for `rollback`. Old and new work side by side for a while:
# they read each other's events and messages (docs/operations.md). dev has no slots, and no rollback.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

[ $# -ge 3 ] || usage
action=$1 name=$2 environment=$3
shift 3
processes=$(sed -n '/^chat:/d; s/^\([a-z]*\):.*/\1/p' "$(dirname "$0")/../Procfile")
registry="$name${environment}acr.azurecr.io"

app() { echo "$name-$environment-$1$region"; }

wait_until_up() { # HOST
  for _ in $(seq "${RELEASE_TRIES:-60}"); do
    if curl --fail --silent --show-error --max-time 10 "https://$1/api/health"; then echo; return; fi
    sleep "${RELEASE_PAUSE:-5}"
  done
  echo "https://$1/api/health does not answer; see: az webapp log tail" >&2
  return 1
}

swap() {
  for process in $processes; do
    az webapp start --resource-group "$group" --name "$(app "$process")" --slot next
  done
  wait_until_up "$(app web)-next.azurewebsites.net"
  for process in $processes; do
    az webapp deployment slot swap --resource-group "$group" --name "$(app "$process")" --slot next --target-slot production
  done
  for process in $processes; do
    az webapp stop --resource-group "$group" --name "$(app "$process")" --slot next
  done
}

set_image() { # PROCESS [--slot next]
  local process=$1
  shift
  az webapp config set --resource-group "$group" --name "$(app "$process")" "$@" \
    --linux-fx-version "DOCKER|$registry/$image" --output none
}

case $action in
  deploy)
    [ $# -ge 1 ] || usage
    image=$1 region=${2:-}
    group="$name-$environment-group$region"
    if [ "$environment" = dev ]; then
      for process in $processes; do set_image "$process"; done
      for process in $processes; do az webapp restart --resource-group "$group" --name "$(app "$process")"; done
    else
      for process in $processes; do set_image "$process" --slot next; done
      swap
    fi
    wait_until_up "$(app web).azurewebsites.net"
    ;;
  rollback)
    region=${1:-}
    group="$name-$environment-group$region"
    [ "$environment" != dev ] || { echo 'dev has no slots: deploy the image before' >&2; exit 2; }
    swap
    wait_until_up "$(app web).azurewebsites.net"
    ;;
  *) usage ;;
esac
