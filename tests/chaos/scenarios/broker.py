"""Mosquitto is killed, which forgets what it acknowledged and had not passed on since it last wrote its file.

Every other time the bridge stands still for a while before, so that there is much to forget. Two kinds of devices:

`receipts`: devices number their frames, keep each until the hub's receipt says that it is stored, and send again what
they keep: nothing is lost. `gaps`: they do not, and each frame that the broker lost is told as missing.
"""

import os
import signal
import time
from functools import partial
from typing import Final

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import Stream, streaming
from tests.hub import Production, eventually, running_production

STILL_S: Final = 1.0
MISSING: Final = "SELECT coalesce(sum(missing), 0) FROM devices_head"


def with_receipts(plan: Plan) -> Result:
    return _run(plan, RECEIPTS.name, resend=True)


def without(plan: Plan) -> Result:
    return _run(plan, GAPS.name, resend=False)


def _run(plan: Plan, name: str, *, resend: bool) -> Result:
    with (
        running_production(plan.folder, durable=True) as hub,
        streaming(hub, oracle.postgres(hub.postgres.url), plan, ["numbered"], receipts=True, resend=resend) as stream,
    ):
        began = time.time()
        eventually(lambda: saved_since(hub, began), "Mosquitto writes its file")
        for index in plan.rounds():
            stream.strike(partial(kill, hub, still=index % 2 == 0), partial(start, hub))
        # What was lost last shows by what comes after it.
        stream.flows()
        result = stream.result(name, may_lose=not resend)
        _told(stream, result)
        return result


def saved_since(hub: Production, instant: float) -> bool:
    """Whether the broker has written its file, and with it the bridge's session. Before that, all is forgotten."""
    file = hub.folder / "mosquitto/mosquitto.db"
    return file.exists() and file.stat().st_mtime > instant


def kill(hub: Production, *, still: bool) -> None:
    """Kill the broker; `still`: while the bridge does not take what it has."""
    if still:
        os.kill(hub.bridges[0].pid, signal.SIGSTOP)
        time.sleep(STILL_S)
    hub.mosquitto.kill()


def start(hub: Production) -> None:
    hub.mosquitto.start()
    os.kill(hub.bridges[0].pid, signal.SIGCONT)


def _told(stream: Stream, result: Result) -> None:
    """Compare what is missing with what the hub says is missing, in its table and over REST."""
    ((told,),) = oracle.ask(stream.connect, MISSING)
    keys = [device.key for device in stream.made]
    shown = sum(stream.hub.ask("GET", f"devices/{key}/")["numbering"]["missing"] for key in keys)
    missing = result.published - (result.stored - result.twice)
    result.gaps = int(told)
    if not missing == told == shown:
        result.broken.append(f"{missing} frames are missing; the hub counts {told}, and tells {shown} over REST")


RECEIPTS = Scenario("receipts", "kill -9 of Mosquitto; devices send again what has no receipt", with_receipts, times=20)
GAPS = Scenario(
    "gaps", "kill -9 of Mosquitto; devices send nothing again, and every loss is reported", without, times=20
)
