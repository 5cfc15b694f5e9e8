"""Runs the emulator as a process of its own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ops.emulators.cosmos.emulator import DEFAULT_LAG_SECONDS, CosmosEmulator
from ops.emulators.cosmos.faults import Fault
from ops.emulators.http_emulator import run
from ops.emulators.http_faults import add_fault_option


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output, a connection string, says it is ready.

    Parameters:
      arguments: Those that ``--help`` shows; None: those of the process.

    Raises:
      SystemExit: The arguments cannot be used, or a port is taken.
    """
    run(_parser(), arguments, _emulator)


def _emulator(options: argparse.Namespace) -> CosmosEmulator:
    emulator = CosmosEmulator(
        port=options.port,
        data=options.data,
        key=options.key,
        https=options.certificate is not None,
        accept_tokens=options.accept_tokens,
        ranges=options.ranges,
        lag_seconds=options.lag_seconds,
        lag_writes=options.lag_writes,
        control_port=options.control_port,
    )
    if options.certificate is not None:
        options.certificate.write_bytes(emulator.certificate)
    return emulator


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning emulator cosmos", description="Azure Cosmos DB for NoSQL on loopback, in part."
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="the port; 0, the default, takes a free one")
    add("--data", type=Path, help="a folder that keeps the account; none: in memory only")
    add("--key", help="the account's key in base64; none: one is made, and kept in --data")
    add("--certificate", type=Path, help="serve HTTPS, and write the certificate to trust to this file")
    add("--accept-tokens", action="store_true", help="accept tokens of Entra ID, without their signature")
    add("--ranges", type=_positive, default=1, help="partition key ranges of a new container")
    add(
        "--lag-seconds",
        type=float,
        default=DEFAULT_LAG_SECONDS,
        help="reads without a session token may miss writes younger than this",
    )
    add("--lag-writes", type=int, help="but at most this many of the newest writes")
    add("--control-port", type=int, help="serve the control interface at this port")
    add_fault_option(parser, Fault)
    return parser


def _positive(text: str) -> int:
    """Read a number above zero, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)
