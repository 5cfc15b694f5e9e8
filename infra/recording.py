"""Runs a program without Azure and without Pulumi's command, and writes down what it declares.

As a program: ``python -m infra.recording STACK...`` prints the resources of these stacks as JSON, with the
settings of `Pulumi.STACK.yaml` and secrets that are none.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml
from pulumi import ResourceTransformationArgs, ResourceTransformationResult
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks, set_all_config, set_mocks
from pulumi.runtime.stack import register_stack_transformation, run_pulumi_func

from infra.parameters import SECRETS

SUBSCRIPTION: Final = "00000000-0000-0000-0000-0000000000aa"
TENANT: Final = "00000000-0000-0000-0000-0000000000bb"
CLIENT: Final = "00000000-0000-0000-0000-0000000000cc"

#: What Azure would say of a resource, besides what was asked for.
_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "azure-native:managedidentity:UserAssignedIdentity": {"clientId": CLIENT, "principalId": CLIENT},
    "azure-native:applicationinsights:Component": {
        "connectionString": f"InstrumentationKey={CLIENT};IngestionEndpoint=https://westeurope.in.example/"
    },
    # a list that Azure gives back as a mapping: what was asked for is no answer
    "azure-native:web:WebApp": {"identity": {}},
    "azure-native:web:WebAppSlot": {"identity": {}},
}

#: Where the name of a resource stands among what is asked for.
_NAMES: Final = (
    "name",
    "resourceName",
    "accountName",
    "subnetName",
    "virtualNetworkName",
    "resourceGroupName",
)

_FOLDER: Final = Path(__file__).parent


class Recorder(Mocks):
    """Stands for Azure: says yes to everything, and remembers it."""

    def __init__(self) -> None:
        self.resources: list[dict[str, Any]] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Take a resource."""
        if not args.typ.startswith("azure-native:"):
            return args.name, {}
        inputs = cast("dict[str, Any]", args.inputs)
        name = _name(args.typ, inputs, args.name)
        own_id = _id(args.typ, inputs, name)
        self.resources.append({"type": args.typ, "name": args.name, "id": own_id, "inputs": inputs})
        return own_id, {"name": name, **_ANSWERS.get(args.typ, {})}

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Tell who deploys."""
        del args
        asked = {"subscriptionId": SUBSCRIPTION, "tenantId": TENANT, "clientId": CLIENT, "objectId": CLIENT}
        return asked, []


def record(program: Callable[[], None], stack: str, config: Mapping[str, str]) -> list[dict[str, Any]]:
    """Run a program, and give the resources that it declares: ``type``, ``name`` and ``inputs`` of each.

    Parameters:
      program: The program.
      stack: The name of the stack.
      config: Its settings.
    """

    def run() -> None:
        register_stack_transformation(_without_aliases)
        program()

    recorder = Recorder()
    asyncio.set_event_loop(asyncio.new_event_loop())
    set_mocks(recorder, project="lightning", stack=stack)
    set_all_config(dict(config))
    asyncio.get_event_loop().run_until_complete(run_pulumi_func(run))
    return recorder.resources


def config_of(stack: str) -> dict[str, str]:
    """Read the settings of a stack, with secrets that are none, and what else its maker has to set."""
    read = yaml.safe_load((_FOLDER / f"Pulumi.{stack}.yaml").read_text())
    config = {key: str(value) for key, value in read["config"].items() if not isinstance(value, dict)}
    secrets = {f"lightning:{key}": f"not-the-{key}-of-anybody-0123456789" for _, key, _ in SECRETS}
    own = {"lightning:image": "lightning:0.0.0", "lightning:budgetStart": "2026-12-01"}
    return {**secrets, **own, **config}


def _without_aliases(args: ResourceTransformationArgs) -> ResourceTransformationResult:
    """Forget the names of a resource in older versions of Azure's API: dozens, and they cost the most."""
    args.opts.aliases = None
    return ResourceTransformationResult(args.props, args.opts)


def _name(kind: str, inputs: Mapping[str, Any], logical: str) -> str:
    own = kind.rpartition(":")[2]
    names = (f"{own[0].lower()}{own[1:]}Name", *_NAMES)
    return str(next((inputs[name] for name in names if name in inputs), logical))


def _id(kind: str, inputs: Mapping[str, Any], name: str) -> str:
    _, area, own = kind.split(":")
    group = inputs.get("resourceGroupName", name)
    root = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
    if own == "ResourceGroup":
        return root
    if own == "Subnet":
        parent = inputs["virtualNetworkName"]
        return f"{root}/providers/Microsoft.Network/virtualNetworks/{parent}/subnets/{inputs['subnetName']}"
    return f"{root}/providers/Microsoft.{area}/{own}/{name}"


def main() -> None:
    """Print the resources of the stacks that are named."""
    from infra.stack import deploy  # noqa: PLC0415 -- a program of Pulumi, which only runs

    found = {stack: record(deploy, stack, config_of(stack)) for stack in sys.argv[1:]}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
