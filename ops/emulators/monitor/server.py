"""Runs the emulator as a process of its own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ops.emulators.http_emulator import run
from ops.emulators.http_faults import add_fault_option
from ops.emulators.monitor.emulator import MonitorEmulator
from ops.emulators.monitor.faults import Fault


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output, a connection string, says it is ready.

    Parameters:
      arguments: Those that ``--help`` shows; None: those of the process.

    Raises:
      SystemExit: The arguments cannot be used, or a port is taken.
    """
    run(_parser(), arguments, _emulator)


def _emulator(options: argparse.Namespace) -> MonitorEmulator:
    return MonitorEmulator(
        port=options.port,
        data=options.data,
        key=options.key,
        token=options.token,
        control_port=options.control_port,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning emulator monitor", description="Application Insights' ingestion on loopback, in part."
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="the port; 0, the default, takes a free one")
    add("--data", type=Path, help="a folder that keeps what is taken; none: in memory only")
    add("--key", help="the instrumentation key, a UUID; none: one is made, and kept in --data")
    add("--token", help="a bearer token to demand; none: the key alone lets in")
    add("--control-port", type=int, help="serve the control interface at this port")
    add_fault_option(parser, Fault)
    return parser
