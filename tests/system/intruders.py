"""What an intruder may try at a broker, as tables that multiply: topics, filters, wills, client ids, logins.

The intruder is the device `pump-1`, with its own login. Around it live others, among them such as are called nearly so.
"""

from collections.abc import Iterator
from itertools import chain, product
from typing import Final, NamedTuple

OWN: Final = "pump-1"
VICTIM: Final = "pump-2"
GATEWAY: Final = "gate-1"
# Longer and shorter than the intruder's key, and with the victim's as a part.
OTHERS: Final = (VICTIM, GATEWAY, "pump-10", "pump", "pump-1-pump-2", "1")

LEAVES: Final = (
    "telemetry",
    "telemetry/flow",
    "status",
    "meta",
    "cmd/relay/1",
    "desired",
    "reported",
    "receipt",
    "error",
    "ack/1",
)
# What the hub says, and what only a device says.
TOLD: Final = ("cmd/relay/1", "desired", "receipt", "error")
SAID: Final = (
    *("telemetry", "telemetry/flow", "status", "meta", "meta/flow", "location", "ack/1", "reported"),
    "sub/valve/telemetry",
)


def _others() -> Iterator[str]:
    """Every topic of everybody else, a gateway's children among them."""
    for key, leaf in product((*OTHERS, "nobody"), LEAVES):
        yield f"hub/{key}/{leaf}"
    for key, leaf in product((GATEWAY, VICTIM), ("telemetry", "status", *TOLD)):
        yield f"hub/{key}/sub/{'valve' if key == GATEWAY else OWN}/{leaf}"


# Nearly the right topic: the letters, the slashes, the dots and wildcards of NATS, what looks alike, what ends a line.
LOOK_ALIKES: Final = (
    *("hub/PUMP-2/telemetry", "hub/Pump-2/telemetry", "HUB/pump-2/telemetry", "Hub/pump-2/cmd/relay/1"),
    *("hub/PUMP-1/telemetry", "HUB/pump-1/telemetry", "hub/pump-2/CMD/relay/1", "hub/pump-2/Telemetry"),
    *("/hub/pump-2/telemetry", "hub//pump-2/telemetry", "hub/pump-2//telemetry", "hub/pump-2/telemetry/"),
    *("//hub/pump-2/telemetry", "/hub/pump-1/telemetry", "hub//pump-1/telemetry", "//", "/", "hub", "hub/", "hub//"),
    *("pump-2/telemetry", "pump-1/telemetry", "telemetry", "/pump-2/telemetry", "hub/pump-2", "hub/pump-2/"),
    *("hub.pump-2.telemetry", "hub/pump-2.telemetry", "hub.pump-2/telemetry", ".hub/pump-2/telemetry"),
    *("hub/pump-1.telemetry", "hub/pump-1./telemetry", "hub./pump-2/telemetry", "hub/.pump-2/telemetry", "hub.>"),
    *("hub/*/telemetry", "hub/>", "hub/pump-2/>", "hub/pump-2/*", "*/pump-2/telemetry", ">", "*", "hub/*/cmd/>"),
    *("hub/+/telemetry", "hub/#", "#", "+", "+/+/+", "hub/pump-2/#", "hub/pump-2/+", "hub/pump-1#", "hub/pump+/cmd"),
    *("hub/pump-2 /telemetry", "hub/ pump-2/telemetry", "hub /pump-2/telemetry", " hub/pump-2/telemetry", " "),
    *("hub/pump-2/cmd/relay/1 ", "hub/pump-2\t/telemetry", "hub/pump-2\n/telemetry", "hub/pump-2/telemetry\r\n"),
    *("hub/pump-1 hub/pump-2/telemetry", "hub/pump-9\r\nPUB hub.pump-2.telemetry 1\r\nx\r\n", "hub/pump-2/\x7f"),
    *("hub/pump-2\0/telemetry", "hub/pump-2/telemetry\0", "hub\0/pump-2/telemetry", "\0", "hub/pump-2\0pump-1/status"),
    *("hub/\uff50ump-2/telemetry", "hub/\u0440ump-2/telemetry", "hub/pump\u20112/telemetry", "hub/pump\u22122/status"),
    *(
        "hub/pump\u200b-2/telemetry",
        "hub/pump-2\u200d/telemetry",
        "hub/pump-\u0662/telemetry",
        "hub/pump-\u00b2/status",
    ),
    *(
        "hub\uff0fpump-2\uff0ftelemetry",
        "hub\u2215pump-2\u2215telemetry",
        "\ufeffhub/pump-2/telemetry",
        "hub/pu\u0301mp-2",
    ),
    *(
        "hub/\u202epump-2/telemetry",
        "h\u016bb/pump-2/telemetry",
        "hub/pump-2\ufe0f/status",
        "hub/pump-\U0001d7d0/status",
    ),
    *("hub%2Fpump-2%2Ftelemetry", "hub/pump%2d2/telemetry", "hub/%70ump-2/telemetry", "hub/%2e%2e/pump-2/status"),
    *("../hub/pump-2/telemetry", "hub/../pump-2/telemetry", "hub/./pump-2/telemetry", "hub\\pump-2\\telemetry"),
    *("hub/{pump-2}/telemetry", "hub/%u/telemetry", "hub/%c/telemetry", "hub/$pump-2/status", "hub/pump-2;/telemetry"),
    *(
        "hub/" + "pump-2" * 500 + "/status",
        "hub/pump-2/" + "x" * 60_000,
        "hub" + "/a" * 190,
        "hub" + "/" * 190,
        "x" * 65_535,
    ),
)

# Where brokers keep what is theirs.
INTERNALS: Final = (
    *("$SYS/broker/uptime", "$SYS/broker/clients/connected", "$SYS/REQ/USER/AUTH", "$SYS/REQ/SERVER/PING", "$SYS"),
    *("$SYS/REQ/SERVER/PING/CONNZ", "$SYS/REQ/SERVER/x/KICK", "$SYS/ACCOUNT/$G/DISCONNECT", "$SYS/ACCOUNT/$G/CONNECT"),
    *("$SYS/REQ/ACCOUNT/PING/CONNZ", "$SYS/REQ/CLAIMS/UPDATE", "$SYS/REQ/SERVER/x/RELOAD", "$SYS/_INBOX/x"),
    *("$CONTROL/dynamic-security/v1", "$CONTROL/dynamic-security/v1/response", "$CONTROL/broker/v1", "$CONTROL"),
    *("$MQTT/msgs/hub/pump-2/cmd/relay/1", "$MQTT/rmsgs/hub/pump-2/status", "$MQTT/sess/pump-2", "$MQTT/JSA/x/MS/1"),
    *("$MQTT/sub/hub/pump-2/cmd/relay/1", "$MQTT/sub/x", "$MQTT/deliver/pubrel/x", "$MQTT/qos2/in/pump-2/1", "$MQTT"),
    *("$MQTT/out/pubrel/pump-2/1", "$JS/API/STREAM/LIST", "$JS/API/STREAM/DELETE/$MQTT_sess", "$JS/API/INFO", "$JS"),
    *("$JS/API/CONSUMER/CREATE/$MQTT_msgs", "$JS/ACK/$MQTT_msgs/x/1/1/1/1/0", "$JS/EVENT/ADVISORY/API", "$JS/FC/x"),
    *("$G/hub/pump-2/telemetry", "$KV/x/y", "$O/x/y", "_INBOX/porter/0", "_INBOX/x", "_R_/x/y", "_GR_/x", "$NRG/x"),
    *("$share/thieves/hub/pump-2/telemetry", "$queue/hub/pump-2/telemetry", "$local/hub/pump-2/telemetry", "$"),
    *("$SYS/hub/pump-2/telemetry", "$exclusive/hub/pump-2/status", "$delayed/1/hub/pump-2/status", "$bridge/x"),
)

# No UTF-8: slashes encoded too long, half a pair, an end too early.
NO_TEXTS: Final = (
    *(
        b"hub\xc0\xafpump-2\xc0\xaftelemetry",
        b"hub/\xed\xa0\x80pump-2/telemetry",
        b"hub/pump-2/\xff",
        b"hub/pump-2/\xe2",
    ),
    *(b"\xfe\xff\0h\0u\0b", b"hub/pump-2\xc0\x80/telemetry", b""),
)

TOPICS: Final = (*(topic.encode() for topic in dict.fromkeys((*_others(), *LOOK_ALIKES, *INTERNALS))), *NO_TEXTS)


def _wildcards() -> Iterator[str]:
    """Each level another wildcard, but for what the intruder may hear; and everything as somebody's share."""
    yield from ("#", "+", "+/#", "/#", "+/+", "hub/#", "hub/+", "hub/+/#", "$/#", "/+/#", "hub/pump-2", "hub/pump-1")
    firsts, keys = ("hub", "+"), (VICTIM, GATEWAY, "pump-10", "+")
    leaves, ends = (
        ("cmd", "desired", "telemetry", "receipt", "sub", "sub/+", "sub/valve", "+"),
        ("", "/#", "/+", "/+/#", "/+/+"),
    )
    for first, key, leaf, end in product(firsts, keys, leaves, ends):
        yield f"{first}/{key}/{leaf}{end}"
    for root in ("$SYS", "$CONTROL", "$MQTT", "$JS", "$G", "$KV", "_INBOX", "$share/thieves", "$MQTT/sub", "$JS/API"):
        yield from (f"{root}/#", f"{root}/+", f"{root}/+/#")
    # Its own tree, but for what the hub says to it.
    for leaf in (
        "#",
        "+",
        "+/#",
        "+/+",
        "status",
        "telemetry",
        "telemetry/#",
        "meta",
        "sub/#",
        "sub/+/#",
        "ack/#",
        "reported",
        "desired/#",
        "desired/+",
        "cmd",
    ):
        yield from () if leaf == "cmd" else (f"hub/{OWN}/{leaf}",)


def _shares() -> Iterator[str]:
    for group, filter_ in product(("thieves", "hub", "+", OWN), ("#", "hub/#", "hub/+/cmd/#", f"hub/{VICTIM}/cmd/#")):
        yield f"$share/{group}/{filter_}"
    yield from ("$share/thieves", "$share//hub/#", "$share/#", "$share", "$SHARE/thieves/hub/#", "$queue/hub/#")


FILTERS: Final = tuple(dict.fromkeys((*(each.encode() for each in chain(_wildcards(), _shares())), *TOPICS)))

# What is said and kept on the broker, and is not for the intruder; nor are the readings of the device it plays.
KEPT_FROM_IT: Final = (
    *(f"hub/{key}/{leaf}" for key, leaf in product(OTHERS, (*TOLD, *SAID))),
    *(f"hub/{GATEWAY}/sub/valve/{leaf}" for leaf in (*TOLD, *SAID)),
    *(f"hub/{OWN}/{leaf}" for leaf in SAID),
    *("hub/mark", "hub/sub/x"),
)

# What an intruder leaves behind as its last will; the more outlandish ones say nothing new.
WILLS: Final = tuple(
    topic.encode()
    for topic in (
        *(f"hub/{key}/{leaf}" for key, leaf in product(OTHERS, ("status", "telemetry", "cmd/relay/1"))),
        *(f"hub/{GATEWAY}/sub/valve/{leaf}" for leaf in ("status", "cmd/relay/1")),
        *("hub/PUMP-2/status", "/hub/pump-2/status", "hub//pump-2/status", "hub.pump-2.status", "hub/pump-2.status"),
        *("hub/+/status", "hub/#", "hub/*/status", "hub/>", "hub/pump-2 /status", "hub/pump-2\0/status", "hub"),
        *("$SYS/x", "$CONTROL/dynamic-security/v1", "$MQTT/msgs/hub/pump-2/status", "$JS/API/STREAM/LIST", "pump-2"),
        *("$share/thieves/hub/pump-2/status", "hub/\uff50ump-2/status", "$MQTT/rmsgs/hub/pump-2/status"),
    )
)

# Whose place an intruder may try to take: {hub} is the user name of the hub's own account.
CLIENT_IDS: Final = (
    *OTHERS,
    *("{hub}", "Bridge-{hub}-main-in", "Bridge-{hub}-main-out", "Bridge-Hub-1-main-in", "Hub", "hub", "bridge"),
    *("", " ", "PUMP-1", "Pump-1", "pump-1 ", " pump-1", "pump-", "pump-11", "pump-1/", "/pump-1", "pump-1\n"),
    *("pump-1\0", "\0", "pump-1\0pump-2", "pump-1.pump-2", "pump\u20111", "\uff50ump-1", "pump\u200b-1", "pump-\u0661"),
    *("%70ump-1", "+", "#", "*", ">", "$SYS", "$G", "anonymous", "admin", "porter", "mosquitto", "null", "a" * 23),
    *("pump-1" * 10, "x" * 256, "x" * 60_000, "{{", "pump-1,pump-2", "hub/pump-1", "auto-0", "nobody"),
)

# Who an intruder may claim to be, with which secret: {own} is its own, {old} was the victim's before it was changed.
LOGINS: Final = tuple(
    chain(
        product((*OTHERS, "nobody"), ("{own}", "{old}", "")),
        product((OWN,), ("", "{own} ", " {own}", "{OWN}", "{own}{own}", "{half}", OWN, "x" * 60_000, "{hash}")),
        product(("{hub}",), ("", "{own}", "{hub}", "admin", "{hash}", "hub", "password")),
        product(
            ("PUMP-1", "Pump-1", "pump-1 ", " pump-1", "pump-1\0", "\0", "\uff50ump-1", "pump-1\n", " "), ("{own}",)
        ),
        product(("admin", "$SYS", "$G", "porter", "Hub", "root", "device:pump-1", "#", "+", "*", ">"), ("{own}", "")),
    )
)


class Case(NamedTuple):
    """One attempt: in which way, of what, and with which flags."""

    way: str
    what: bytes
    qos: int = 0
    retain: bool = False
    version: int = 4

    def __str__(self) -> str:
        shown = f"{self.what[:60]!r}{'…' if len(self.what) > 60 else ''}"
        flags = (
            f" QoS {self.qos}{' retained' if self.retain else ''}"
            if self.way in {"publish", "subscribe", "will"}
            else ""
        )
        return f"{self.way} {shown}{flags} (MQTT {'5' if self.version == 5 else '3.1.1'})"


def publishes(version: int) -> list[Case]:
    """Every foreign topic, in every quality, and to be kept."""
    flags = ((0, False), (1, True), (2, False)) if version == 4 else ((0, True), (1, False))
    return [Case("publish", topic, qos, retain, version) for qos, retain in flags for topic in TOPICS]


def subscribes(version: int) -> list[Case]:
    """Every foreign filter."""
    return [Case("subscribe", filter_, 1, version=version) for filter_ in FILTERS]


def wills(version: int) -> list[Case]:
    """Every foreign last will; some to be kept."""
    return [Case("will", topic, at % 3, at % 2 == 0, version) for at, topic in enumerate(WILLS)]


def takeovers(version: int) -> list[Case]:
    """Every foreign client id."""
    return [Case("client id", each.encode(), version=version) for each in CLIENT_IDS]


def logins(version: int) -> list[Case]:
    """Every false login; user name and secret in one text."""
    return [Case("login", f"{user}:{secret}".encode(), version=version) for user, secret in LOGINS]


def cases(version: int) -> list[Case]:
    """All of them."""
    return [each for way in (publishes, subscribes, wills, takeovers, logins) for each in way(version)]
