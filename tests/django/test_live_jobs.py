"""Jobs, live: told to who sees all of the fleet, and to nobody else; found when no doorbell rang."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard.fanout import Fanout
from devices import jobs, members, tokens
from devices.models import Device, Fleet, Job
from tests.django.live import NOW, Live, run, signed_in

pytest_plugins = ("tests.django.live_fixtures",)
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hub")]


async def follow(live: Live) -> None:
    await live.say("sub", id="f", fleet="greenhouse")
    await live.until("fleet")


async def start(user: User, fleet: Fleet) -> Job:
    job, _ = await run(jobs.start, jobs.Asked(fleet=fleet, name="relay", args="on"), user, NOW)
    found: Job = job
    return found


async def told(live: Live) -> list[dict[str, Any]]:
    """Return what was said of jobs, up to now."""
    await live.words()
    return [message for message in live.heard if message["type"] == "job"]


async def test_who_follows_a_fleet_is_told_of_its_jobs_as_they_go_on(
    alice: User, vera: User, greenhouse: Fleet, pump: Device
) -> None:
    async with signed_in(vera) as live:
        await follow(live)
        job = await start(alice, greenhouse)
        first = await live.until("job")
        assert first == {
            "type": "job",
            "job": job.pk,
            "fleet": "greenhouse",
            "name": "relay",
            "state": "running",
            "because": "",
            "total": 1,
            "issued": 0,
            "counts": {"waiting": 1},
            "at": NOW,
        }
        await run(jobs.step, NOW + 1000)
        issued = await live.until("job")
        assert (issued["issued"], issued["counts"], issued["at"]) == (1, {"queued": 1}, NOW + 1000)
        await run(jobs.stop, job, alice, NOW + 1001)
        stopped = await live.until("job")
        assert (stopped["state"], stopped["because"]) == ("stopped", "alice stopped it")


async def test_who_comes_later_is_told_of_what_goes_on(alice: User, greenhouse: Fleet, pump: Device) -> None:
    job = await start(alice, greenhouse)
    async with signed_in(alice) as live:
        await follow(live)
        assert [one["job"] for one in await told(live)] == [job.pk]


async def test_a_lost_doorbell_is_found_by_the_check_and_nothing_is_told_twice(
    hub: Fanout, alice: User, greenhouse: Fleet, pump: Device
) -> None:
    job = await start(alice, greenhouse)
    async with signed_in(alice) as live:
        await follow(live)
        await run(Job.objects.filter(pk=job.pk).update, because="of a shell", changed_at=NOW + 5)
        await hub.check_once()
        await hub.check_once()
        assert [one["because"] for one in await told(live)] == ["", "of a shell"]


async def test_who_may_see_a_part_of_the_fleet_is_told_of_no_job(
    hub: Fanout, alice: User, vera: User, charlie: User, greenhouse: Fleet, pump: Device
) -> None:
    await run(members.except_for, pump, "charlie", "viewer")
    _, secret = await run(tokens.make, alice, "narrowed", devices=[pump])
    await start(alice, greenhouse)
    by_token = Live([(b"authorization", f"Token {secret}".encode())])
    async with signed_in(charlie) as live, by_token as program, signed_in(vera) as whole:
        for one in (live, program, whole):
            await follow(one)
        await run(members.except_for, pump, "vera", "none")
        await hub.permits.look_once()
        await start(alice, greenhouse)
        await hub.check_once()
        assert await told(live) == []
        assert await told(program) == []
        assert len(await told(whole)) == 1
        await run(members.end_exception, pump, "vera")
        await hub.permits.look_once()
        assert len(await told(whole)) == 3, "both are told to who sees all of it again"


async def test_an_exception_that_hides_nothing_leaves_one_told_of_jobs(
    alice: User, vera: User, greenhouse: Fleet, pump: Device
) -> None:
    await run(members.except_for, pump, "vera", "operator")
    async with signed_in(vera) as live:
        await follow(live)
        job = await start(alice, greenhouse)
        assert (await live.until("job"))["job"] == job.pk
