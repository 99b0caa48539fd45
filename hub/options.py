"""The demo's options, and the environment that they stand for before Django reads its settings; stdlib only."""

from __future__ import annotations

import argparse
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hub import env, machine

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK: Final = "127.0.0.1"
# In the data folder while a demo runs: where its parts are, for other commands.
RUNNING: Final = "running.json"
ANY: Final = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not bound


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--http-port", type=int, default=8000, help="where the dashboard is (another if it is busy)")
    parser.add_argument("--mqtt-port", type=int, default=1883, help="where devices connect (another if it is busy)")
    parser.add_argument(
        "--bind", default=LOOPBACK, help="0.0.0.0 lets devices and browsers of the network in; needs --plain"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="passwords and readings may cross the network readable (there is no TLS here)",
    )
    parser.add_argument("--devices", type=int, default=5, help="how many simulated devices")
    parser.add_argument("--data", type=Path, help="where data is kept between runs (default: .data)")
    parser.add_argument("--no-simulators", action="store_true", help="start without simulated devices")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--for", dest="seconds", type=float, help="stop after so many seconds")


def environment(argv: Sequence[str]) -> dict[str, str]:
    """Return the environment that the demo's options stand for; empty if they cannot be read (the command says why)."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    add(parser)
    try:
        options, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return {}
    made = {"ALLOWED_HOSTS": ",".join(hosts(options.bind))}
    if options.plain:
        made["HUB_PLAIN"] = ",".join(env.PLAIN)
    if options.data:
        made["HUB_DATA"] = str(options.data)
    return made


def refusal(bind: str, plain: Sequence[str]) -> str:
    """Return why this address may not be served, and how to have it served all the same; empty if it may."""
    if machine.loopback(bind) or set(plain) >= set(env.PLAIN):
        return ""
    return (
        f"--bind {bind} serves other machines, and the demo has no TLS: passwords, sessions and readings would travel "
        "readable. If you trust everybody in this network, add --plain; else set up TLS as docs/tls.md says."
    )


def hosts(bind: str) -> list[str]:
    """Return the names by which browsers may call us: this machine's, when others may come."""
    names = ["localhost", LOOPBACK, "[::1]"]
    if bind in ANY:
        name = socket.gethostname()
        names += [name, f"{name}.local", *network_addresses()]
    elif bind not in names:
        names.append(bind)
    return names


def network_addresses() -> list[str]:
    """Return this machine's addresses, the one that others most likely reach first."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a UDP socket sends nothing; it makes the kernel choose the address of the way out.
        probe.connect(("192.0.2.1", 9))
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    # Debian maps a machine's own name to 127.0.1.1, where nobody else can reach it.
    return [address for address in dict.fromkeys(map(str, found)) if not address.startswith("127.")]


def public_host(bind: str) -> str:
    """Return the address that devices and people are told."""
    return next(iter(network_addresses()), LOOPBACK) if bind in ANY else bind
