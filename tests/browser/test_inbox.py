"""The inbox as people use it: what came too early is replayed by a click, and open dashboards show it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Dialog, Page, expect

from tests import hub
from tests.system.clients import Paho

Look = Callable[..., Page]


def send(demo: hub.Demo, key: str, suffix: str, *payloads: bytes) -> None:
    """Register a device that says this, and wait until all of it was refused."""
    with Paho(demo, demo.add_device(key)) as device:
        for payload in payloads:
            device.said(suffix, payload)

    def refused() -> bool:
        rows = demo.ask("GET", "rejects/")["results"]
        return sum(row["count"] for row in rows if row["topic"].startswith(f"hub/{key}/")) == len(payloads)

    hub.eventually(refused)


def test_readings_of_a_device_that_was_not_registered_yet_are_replayed_onto_its_open_page(
    look: Look, demo: hub.Demo
) -> None:
    send(demo, "gateway-1", "sub/leaf-1/telemetry", b'{"level": 7}', b'{"level": 8', b'{"level": 9}')
    inbox = look("/rejects/")
    group = inbox.locator(".reject-group", has_text="leaf-1").filter(has_text="device_unknown")
    expect(group).to_contain_text("is not registered")
    demo.ask("POST", "devices/", json={"key": "leaf-1", "fleet": "main", "gateway": "gateway-1"})

    device = look("/devices/leaf-1/")
    expect(device.locator("#rail")).to_have_attribute("data-state", "live")
    expect(device.locator("#no-readings")).to_be_visible()
    device.locator(".reject", has_text="not_json").locator("summary").click()
    expect(device.locator(".reject mark").first).to_be_visible()

    inbox.reload()
    group.get_by_role("button", name="Replay all of these").click()
    expect(inbox.locator("main [role=status]:visible")).to_contain_text("Replayed 2: 2 frames stored")
    expect(inbox.locator(".reject-group", has_text="leaf-1").filter(has_text="device_unknown")).to_have_count(0)
    expect(device.locator("#tiles .tile[data-metric=level] .value")).to_contain_text("9")
    assert [row[2] for row in demo.frames("leaf-1")] == [{"level": 7}, {"level": 9}]
    expect(device.locator("#presence")).to_contain_text("never seen")


def test_discarding_asks_first(look: Look, demo: hub.Demo) -> None:
    send(demo, "gateway-2", "telemetry", b"{")
    page = look("/rejects/?device=gateway-2")
    questions: list[str] = []

    def answer(dialog: Dialog) -> None:
        questions.append(dialog.message)
        (dialog.dismiss if len(questions) == 1 else dialog.accept)()

    page.on("dialog", answer)
    discard = page.locator(".reject").get_by_role("button", name="Discard")
    discard.click()
    expect(discard).to_be_visible()
    discard.click()
    expect(page.locator("main [role=status]:visible")).to_contain_text("Discarded 1.")
    assert len(questions) == 2


def test_on_a_phone_nothing_stands_out_of_the_page(look: Look, demo: hub.Demo) -> None:
    send(demo, "gateway-3", "telemetry", b"x" * 3000, bytes(range(256)))
    page = look("/rejects/?device=gateway-3", width=390)
    for summary in page.locator(".payload summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
