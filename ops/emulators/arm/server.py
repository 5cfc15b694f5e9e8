"""Runs the emulator as a process of its own."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from ops.emulators.arm.emulator import RESOURCE_GROUP, SUBSCRIPTION, ArmEmulator
from ops.emulators.arm.faults import Fault
from ops.emulators.arm.quotas import Limits
from ops.emulators.http_emulator import run
from ops.emulators.http_faults import add_fault_option


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output, for ``ACI_EMULATOR``, says it is ready.

    Parameters:
      arguments: Those that ``--help`` shows; None: those of the process.

    Raises:
      SystemExit: The arguments cannot be used, a port is taken, or nothing can run here.
    """
    run(_parser(), arguments, _emulator)


def _emulator(options: argparse.Namespace) -> ArmEmulator:
    return ArmEmulator(
        port=options.port,
        data=options.data,
        token=options.token,
        subscription=options.subscription,
        resource_groups=options.resource_group or [RESOURCE_GROUP],
        images=dict(options.image),
        image_variables=dict(options.image_variable),
        unpacked_images=options.unpacked_images,
        mounts=dict(options.mount),
        registries=dict(options.registry),
        isolated_subnets=options.isolated_subnet,
        offline=options.offline,
        api_socket=options.api_socket,
        pending_seconds=options.pending_seconds,
        restart_seconds=options.restart_seconds,
        limits=Limits(
            groups=options.max_groups,
            cores=options.max_cores,
            per_five_minutes=options.max_per_five_minutes,
            per_hour=options.max_per_hour,
        ),
        control_port=options.control_port,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning emulator arm", description="Azure's container groups on loopback, in part; they run."
    )
    add = parser.add_argument
    usual = Limits()
    add("--port", type=int, default=0, help="the port; 0, the default, takes a free one")
    add("--data", type=Path, help="a folder for what runs, and for the token; none: a temporary one")
    add("--token", help="the bearer token that is demanded; none: one is made, and kept in --data")
    add("--subscription", default=SUBSCRIPTION, help="the id of the subscription")
    add("--resource-group", action="append", help="a resource group that there is; may be repeated")
    add(
        "--image",
        type=_image,
        action="append",
        default=[],
        metavar="IMAGE[=COMMAND]",
        help="an image that stands for this machine's own system, and its own command; may be repeated",
    )
    add(
        "--image-variable",
        type=_variable,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what those images set in the environment; may be repeated",
    )
    add("--unpacked-images", type=Path, help="a folder with the file system of each other image")
    add(
        "--mount",
        type=_mount,
        action="append",
        default=[],
        metavar="THERE=FOLDER",
        help="seen by every container",
    )
    add(
        "--registry",
        type=_registry,
        action="append",
        default=[],
        metavar="SERVER:USER:PASSWORD",
        help="a registry that wants credentials; may be repeated",
    )
    add("--isolated-subnet", action="append", default=[], metavar="ID", help="a subnet that lets nothing out")
    add("--offline", action="store_true", help="give no container a network, whatever its subnet")
    add("--api-socket", type=Path, help="the unix socket of the run API, which containers reach")
    add("--pending-seconds", type=_seconds, default=0.0, help="how long a new group waits to be placed")
    add("--restart-seconds", type=_seconds, default=1.0, help="how long a container waits before a restart")
    add("--max-groups", type=int, default=usual.groups, help="container groups in a region")
    add("--max-cores", type=float, default=usual.cores, help="cores of all groups in a region")
    add("--max-per-five-minutes", type=int, default=usual.per_five_minutes, help="creations, and deletions")
    add("--max-per-hour", type=int, default=usual.per_hour, help="creations, and deletions")
    add("--control-port", type=int, help="serve the control interface at this port")
    add_fault_option(parser, Fault)
    return parser


def _image(text: str) -> tuple[str, list[str]]:
    """Read an image with its command, for argparse."""
    name, _, command = text.partition("=")
    return name, shlex.split(command)


def _variable(text: str) -> tuple[str, str]:
    """Read a variable, for argparse."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("must be a name, = and a value")
    return name, value


def _mount(text: str) -> tuple[str, Path]:
    """Read a folder that containers see, for argparse."""
    seen, _, folder = text.partition("=")
    if not seen.startswith("/") or not folder:
        raise argparse.ArgumentTypeError("must be an absolute path, = and a folder")
    return seen, Path(folder)


def _registry(text: str) -> tuple[str, tuple[str, str]]:
    """Read a registry's credentials, for argparse."""
    try:
        server, user, password = text.rsplit(":", 2)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a server, a user and a password") from None
    return server, (user, password)


def _seconds(text: str) -> float:
    """Read a duration, for argparse."""
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("must be seconds, from 0 on")
    return seconds
