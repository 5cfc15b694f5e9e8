#!/usr/bin/env bash
# Prints the settings of an app of a stack, for the commands of an operator on a laptop:
#
#   settings=$(infra/environment.sh NAME ENVIRONMENT [PROCESS] [REGION]) && set -a && eval "$settings" && set +a
#
# NAME and ENVIRONMENT are those of the stack (acme, dev), PROCESS is web, worker (the usual one) or clock, REGION
# is 2 for the second region. `az` must be signed in, by whoever may read the app's settings and the vault's
# secrets (docs/deploy.md). The commands then ask Azure as who is signed in, not as the app.
set -euo pipefail

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

[ $# -ge 2 ] && [ $# -le 4 ] || usage
name=$1 environment=$2 process=${3:-worker} region=${4:-}

looked_up() { # VALUE: what stands in the vault where the value is a reference to it
  case $1 in
    @Microsoft.KeyVault*)
      vault=${1#*VaultName=} secret=${1#*SecretName=}
      az keyvault secret show --vault-name "${vault%%;*}" --name "${secret%%)*}" --query value --output tsv ;;
    *) printf '%s' "$1" ;;
  esac
}

settings=$(az webapp config appsettings list --resource-group "$name-$environment-group$region" \
  --name "$name-$environment-$process$region" --query '[].[name,value]' --output tsv)
while IFS=$'\t' read -r key value; do
  case $key in
    LIGHTNING_DATA | LIGHTNING_HOST | PORT | WEBSITES_*) ;; # of the app's machine
    AZURE_CLIENT_ID) ;; # the app's identity
    *)
      value=$(looked_up "$value")
      printf '%s=%q\n' "$key" "$value" ;;
  esac
done <<< "$settings"
echo 'LIGHTNING_IDENTITY=az'
