#!/usr/bin/env bash
# Puts an image of the platform into the apps of a stack, or takes the last one back.
#
#   infra/release.sh deploy NAME ENVIRONMENT IMAGE [REGION]
#   infra/release.sh rollback NAME ENVIRONMENT [REGION]
#
# NAME and ENVIRONMENT are those of the stack (acme, prod), IMAGE is a tag in its registry (lightning:1.2.0), where
# the chat's has the same (chat:1.2.0), REGION is 2 for the second region. `az` must be signed in.
#
# A release starts in the slot `next` of each app, and is swapped in once it answers; App Service warms it up
# before. What ran before stays in the slot, stopped, for `rollback`. Old and new work side by side for a while:
# they read each other's events and messages (docs/operations.md). dev has no slots, and no rollback.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

[ $# -ge 3 ] || usage
action=$1 name=$2 environment=$3
shift 3
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

public() { # those of the processes that people reach
  for process in $processes; do case $process in web | chat) echo "$process" ;; esac; done
}

find_processes() { # those of the Procfile that the stack has: one may be without the chat
  local apps
  apps=$(az webapp list --resource-group "$group" --query '[].name' --output tsv)
  processes=
  for process in $(sed -n 's/^\([a-z]*\):.*/\1/p' "$(dirname "$0")/../Procfile"); do
    if grep --quiet --line-regexp --fixed-strings "$(app "$process")" <<< "$apps"; then
      processes="$processes $process"
    elif [ "$process" != chat ]; then
      echo "there is no app $(app "$process") in $group" >&2
      return 1
    fi
  done
}

swap() {
  for process in $processes; do
    az webapp start --resource-group "$group" --name "$(app "$process")" --slot next
  done
  for process in $(public); do wait_until_up "$(app "$process")-next.azurewebsites.net"; done
  for process in $processes; do
    az webapp deployment slot swap --resource-group "$group" --name "$(app "$process")" --slot next --target-slot production
  done
  for process in $processes; do
    az webapp stop --resource-group "$group" --name "$(app "$process")" --slot next
  done
}

set_image() { # PROCESS [--slot next]
  local process=$1 of=$image
  shift
  if [ "$process" = chat ]; then of=chat:${image##*:}; fi
  az webapp config set --resource-group "$group" --name "$(app "$process")" "$@" \
    --linux-fx-version "DOCKER|$registry/$of" --output none
}

case $action in
  deploy)
    [ $# -ge 1 ] || usage
    image=$1 region=${2:-}
    group="$name-$environment-group$region"
    find_processes
    case $image$processes in *@*chat*) echo "name the image by its tag: the chat's has the same" >&2; exit 2 ;; esac
    if [ "$environment" = dev ]; then
      for process in $processes; do set_image "$process"; done
      for process in $processes; do az webapp restart --resource-group "$group" --name "$(app "$process")"; done
    else
      for process in $processes; do set_image "$process" --slot next; done
      swap
    fi
    for process in $(public); do wait_until_up "$(app "$process").azurewebsites.net"; done
    ;;
  rollback)
    region=${1:-}
    group="$name-$environment-group$region"
    [ "$environment" != dev ] || { echo 'dev has no slots: deploy the image before' >&2; exit 2; }
    find_processes
    swap
    for process in $(public); do wait_until_up "$(app "$process").azurewebsites.net"; done
    ;;
  *) usage ;;
esac
