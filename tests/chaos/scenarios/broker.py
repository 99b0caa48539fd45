"""Mosquitto is killed, which forgets what it acknowledged since it last wrote its file; two kinds of devices are told.

`receipts`: devices number their frames, keep each until the hub's receipt says that it is stored, and send again what
they keep: nothing is lost. `gaps`: they do not, and each frame that the broker lost is told as missing.
"""

from tests.chaos import oracle
from tests.chaos.plan import Plan, Result, Scenario
from tests.chaos.stream import Stream, streaming
from tests.hub import running_production

MISSING = "SELECT coalesce(sum(missing), 0) FROM devices_head"


def with_receipts(plan: Plan) -> Result:
    return _run(plan, RECEIPTS.name, resend=True)


def without(plan: Plan) -> Result:
    return _run(plan, GAPS.name, resend=False)


def _run(plan: Plan, name: str, *, resend: bool) -> Result:
    with (
        running_production(plan.folder, durable=True) as hub,
        streaming(hub, oracle.postgres(hub.postgres.url), plan, ["numbered"], receipts=True, resend=resend) as stream,
    ):
        for _ in plan.rounds():
            stream.strike(hub.mosquitto.kill, hub.mosquitto.start)
        # What was lost last shows by what comes after it.
        stream.flows()
        result = stream.result(name, may_lose=not resend)
        _told(stream, result)
        return result


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
