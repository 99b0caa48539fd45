"""The command `telemetry-hub`: watch devices, give commands. What it is told goes to stderr, what it prints to stdout.

Exit codes: 0 done, or ended by Ctrl-C while watching · 1 the command was not carried out · 2 wrong usage · 3 no hub
there · 4 the hub refuses (token, device, argument, permission) · 5 it is not known whether the command was carried out.
"""

import argparse
import asyncio
import json
import os
import re
import select
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from telemetry_hub import live, show
from telemetry_hub.errors import HubError, NoAnswer, Unreachable, Unusable
from telemetry_hub.items import Connection

NOT_DONE, USAGE, NO_HUB, REFUSED, NOT_KNOWN, INTERRUPTED = 1, 2, 3, 4, 5, 130
MAYBE_DONE: Final = frozenset(("unknown", "timed_out"))
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
# How long a hub may take to be there at first.
WAIT_S: Final = 10.0
LOOK_S: Final = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    asked = parser().parse_args(argv)
    _complete(asked)
    try:
        code: int = asyncio.run(asked.act(asked))
    except KeyboardInterrupt:
        return 0 if asked.act is watch else INTERRUPTED
    except BrokenPipeError:
        # Who read it has enough. What Python still holds must not complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (HubError, ValueError) as error:
        tell(str(error))
        return code_of(error)
    return code


def code_of(error: Exception) -> int:
    """Return the exit code for what went wrong."""
    match error:
        case Unreachable() | Unusable():
            return NO_HUB
        case NoAnswer():
            return NOT_KNOWN
        case HubError():
            return REFUSED
    return USAGE


def tell(text: str) -> None:
    """Say something beside what is printed."""
    print(f"telemetry-hub: {show.visible(text)}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser("telemetry-hub", description="Watch devices of a Telemetry Hub, and command them.")
    commands = made.add_subparsers(required=True, metavar="watch | send")
    _watch_options(commands.add_parser("watch", help="print what devices send, one line each, until Ctrl-C"))
    _send_options(commands.add_parser("send", help="give a command, and tell what becomes of it"))
    return made


def _watch_options(made: argparse.ArgumentParser) -> None:
    made.set_defaults(act=watch, parser=made)
    made.add_argument("devices", nargs="*", metavar="DEVICE")
    made.add_argument("--fleet", help="watch a fleet's summaries instead of devices")
    made.add_argument("--since", type=duration, metavar="1h", help="begin so long ago: 90s, 15m, 1h, 2d")
    made.add_argument("--metrics", type=lambda text: text.split(","), metavar="A,B", help="only these")
    made.add_argument("--mode", choices=("all", "latest"), default="all", help="latest: merge what piled up")
    made.add_argument("--replay", type=instant, metavar="TIME", help="what came from then on, as if it were now")
    made.add_argument("--to", type=instant, metavar="TIME", help="where the replay ends; else it goes on live")
    made.add_argument("--speed", type=float, default=1.0, help="of the replay (0.1 to 1000)")
    form = made.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON object a line")
    form.add_argument("--csv", action="store_true", help="CSV, with a header")
    _hub_options(made)


def _send_options(made: argparse.ArgumentParser) -> None:
    made.set_defaults(act=send, parser=made)
    made.add_argument("device", metavar="DEVICE")
    made.add_argument("name", metavar="COMMAND")
    made.add_argument("args", nargs="?", metavar="ARGUMENT", help="JSON (21.5, true, …), or else a text")
    made.add_argument("--ttl", type=int, metavar="S", help="seconds after which it is not sent any more (60)")
    made.add_argument("--key", help="given again under the same key, it is the same command")
    made.add_argument("--reason", default="", help="why; it is kept with the command")
    made.add_argument("--confirm", action="store_true", help="give it although the device calls it dangerous")
    _hub_options(made)


def _hub_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--hub", metavar="URL", help="the hub's address; else HUB_URL")
    made.add_argument("--token", help="who asks; else HUB_TOKEN, which other users of this machine cannot read")
    made.add_argument("--wait", type=float, default=WAIT_S, metavar="S", help="how long the hub may take to be there")


def _complete(asked: argparse.Namespace) -> None:
    """Take from the environment what was not given; end with a hint where something is missing."""
    asked.hub = asked.hub or os.environ.get("HUB_URL")
    asked.token = asked.token or os.environ.get("HUB_TOKEN")
    if not asked.hub:
        asked.parser.error("which hub? Give --hub https://… or set HUB_URL")
    if not asked.token:
        asked.parser.error("who asks? Set HUB_TOKEN (or give --token); tokens are made with POST /api/v1/tokens/")
    if asked.act is watch:
        _check_watch(asked)


def _check_watch(asked: argparse.Namespace) -> None:
    if bool(asked.devices) == bool(asked.fleet):
        asked.parser.error("name devices, or --fleet")
    if asked.fleet and (asked.since or asked.metrics or asked.replay or asked.csv):
        asked.parser.error("--since, --metrics, --replay and --csv go with devices, not with --fleet")
    if asked.replay and (asked.since or asked.mode != "all"):
        asked.parser.error("--replay goes without --since and --mode")
    if asked.to and not asked.replay:
        asked.parser.error("--to goes with --replay")


def duration(text: str) -> timedelta:
    """Read how long: 90, 90s, 15m, 1h, 2d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 90s, 15m, 1h, 2d")
    return timedelta(seconds=float(found[1]) * UNITS[found[2]])


def instant(text: str) -> datetime:
    """Read a time: 2026-11-20T10:00Z; without a zone, this machine's."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 2026-11-20T10:00Z") from None


def argument(text: str | None) -> Any:  # noqa: ANN401  any JSON
    """Read a command's argument: JSON, or else the text itself."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _connect(asked: argparse.Namespace) -> live.Hub:
    return live.connect(asked.hub, token=asked.token, give_up_s=asked.wait)


# --- watch


async def watch(asked: argparse.Namespace) -> int:
    """Print what comes until it ends."""
    line: Callable[[Any], str] = show.as_json if asked.json else show.for_people
    if asked.csv:
        line = show.as_csv(asked.metrics)
        print(show.csv_header(asked.metrics), flush=True)
    async with _connect(asked) as hub:
        printing = asyncio.create_task(_print(_watched(hub, asked), line))
        beside = [asyncio.create_task(_notes(hub)), asyncio.create_task(_until_nobody_reads())]
        try:
            await asyncio.wait([printing, beside[1]], return_when=asyncio.FIRST_COMPLETED)
            if printing.done():
                await printing
        finally:
            for task in (printing, *beside):
                task.cancel()
            await asyncio.gather(printing, *beside, return_exceptions=True)
    return 0


async def _print(items: AsyncIterator[Any], line: Callable[[Any], str]) -> None:
    async for item in items:
        if (said := show.note(item)) is not None:
            tell(said)
        else:
            print(line(item), flush=True)


async def _until_nobody_reads() -> None:
    """Notice that a pipe's reader is gone, also while there is nothing to print."""
    poll = select.poll() if hasattr(select, "poll") else None
    if poll is not None:
        poll.register(sys.stdout.fileno(), 0)
    while poll is None or not poll.poll(0):  # noqa: ASYNC110  the system tells of it to who asks
        await asyncio.sleep(LOOK_S)


def _watched(hub: live.Hub, asked: argparse.Namespace) -> AsyncIterator[Any]:
    if asked.fleet:
        return hub.fleet(asked.fleet)
    if asked.replay:
        how: dict[str, Any] = {"start": asked.replay, "end": asked.to, "speed": asked.speed, "metrics": asked.metrics}
        return hub.replay(*asked.devices, **how)
    return hub.watch(*asked.devices, metrics=asked.metrics, mode=asked.mode, since=asked.since)


async def _notes(hub: live.Hub) -> None:
    """Tell of cuts, and of a hub that does not store."""
    cut = False
    async for event in hub.events():
        if (said := show.note(event)) is not None:
            tell(said)
        if isinstance(event, Connection):
            if event.up and cut:
                tell("connected again")
            cut = not event.up


# --- send


async def send(asked: argparse.Namespace) -> int:
    """Give a command, print each state with its proof, and end with the last."""
    async with _connect(asked) as hub:
        how = {"ttl_s": asked.ttl, "key": asked.key, "reason": asked.reason, "confirm": asked.confirm}
        command = await hub.command(asked.device, asked.name, argument(asked.args), **how)
        print(f"command {command.id}{'' if command.new else ' (known by its key already)'}", flush=True)
        async for state in command:
            print(show.state_line(state), flush=True)
    if command.state == "succeeded":
        return 0
    return NOT_KNOWN if command.state in MAYBE_DONE else NOT_DONE
