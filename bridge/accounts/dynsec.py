"""Accounts on Mosquitto 2: its dynamic-security plugin, spoken to over the control topic.

Each device is one client, its client id bound, with one role of its own (2.0 knows no `%u`).
Version and rules stand in the client's text description, so the broker itself remembers them.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from bridge import accounts
from bridge.accounts import Account, AccountsError, Changes, Forget

Command = dict[str, object]
T = TypeVar("T")

# What tells our devices from clients that somebody made by hand: those are left alone.
DEVICE: Final = "telemetry hub device"

# What the name of a device's role begins with, so that no key is the name of a role that somebody made by hand.
ROLE: Final = "device:"

# Grows when `_device_acls` changes, so that the next reconcile makes every role anew.
RULES: Final = 2

# The role that `mosquitto_ctrl dynsec init` gives the hub's account. It is widened in place, because
# Mosquitto 2.0 cuts a client that gets another role, in the middle of the conversation.
OWN_ROLE: Final = "admin"
CONTROL: Final = "$CONTROL/dynamic-security/#"

# Mosquitto rewrites its whole file for each command, so a message must end within the exchange's
# timeout; 100 devices take about a second, and their commands stay under 256 KiB.
BATCH: Final = 100

# Whatever a role does not allow may not be said, nor asked for. What was asked for may be received: a rule of each
# device for that would bar nothing more, and cost an eighth of the time that the broker takes to save a thousand.
# Taking a subscription back harms nobody.
DEFAULTS: Final = {
    "publishClientSend": False,
    "publishClientReceive": True,
    "subscribe": False,
    "unsubscribe": True,
}

# Deleting what is not there has succeeded; creating what is there is followed by replacing it.
HARMLESS: Final = frozenset({"Client not found", "Role not found", "Client already exists", "Role already exists"})


class Acl(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule of a role, as the plugin writes it."""

    acltype: str
    topic: str = ""
    priority: int = 0
    allow: bool = False


class Role(msgspec.Struct, frozen=True):
    """A role, alone (with its rules) or as a client's (name only)."""

    rolename: str
    acls: list[Acl] = []


class Client(msgspec.Struct, frozen=True):
    """A client, as the plugin lists it."""

    username: str
    textname: str = ""
    textdescription: str = ""
    roles: list[Role] = []


class Found(msgspec.Struct, frozen=True):
    """What the reading commands answer; each fills its own part."""

    clients: list[Client] = []
    roles: list[str] = []
    client: Client | None = None
    role: Role | None = None
    acls: list[Acl] = []


class Response(msgspec.Struct, frozen=True):
    """The answer to one command."""

    command: str = ""
    error: str | None = None
    data: Found = Found()


class Responses(msgspec.Struct, frozen=True):
    """The answers to one message, in the order of its commands."""

    responses: list[Response]


class Dynsec:
    """Keeps the accounts of one Mosquitto; `own` is the hub's user name there."""

    def __init__(self, exchange: Callable[[bytes], Awaitable[bytes]], own: str, forget: Forget) -> None:
        """Speak through `exchange`, whose own errors pass through."""
        self._exchange = exchange
        self._own = own
        self._forget = forget

    async def reconcile(self, wanted: Sequence[Account]) -> Changes:
        """Make the device accounts exactly these."""
        await self._ensure_rules()
        return await self._change(await self._present(), wanted)

    async def apply(self, changed: Sequence[Account], gone: Sequence[str]) -> Changes:
        """Put these in place and take those away."""
        leaving = set(gone)
        staying = [account for account in changed if account.key not in leaving]
        named = sorted(leaving | {account.key for account in staying})
        return await self._change(await self._versions(named), staying)

    async def _change(self, present: dict[str, int], wanted: Sequence[Account]) -> Changes:
        changes = accounts.compare(present, wanted)
        if self._own in {account.key for account in wanted}:
            msg = f"{self._own!r} is the hub's own account; rename that device"
            raise AccountsError(msg)
        await self._remove(changes.removed)
        by_key = {account.key: account for account in wanted}
        await self._replace([by_key[key] for key in changes.changed])
        await self._create([by_key[key] for key in changes.added])
        return changes

    async def _remove(self, old: Sequence[str]) -> None:
        """Take accounts away.

        Their roles stay until what was kept for them is forgotten: who is cut short in between can see what to do.
        """
        for keys in _parts(old):
            await self._do([_client_removal(key) for key in keys])
        if old:
            await self._forget(accounts.kept_of(old))
        for keys in _parts(old):
            await self._do([_role_removal(key) for key in keys])

    async def _create(self, new: Sequence[Account]) -> None:
        """Make accounts; what a broker killed half-way left of them is replaced."""
        for part in _parts(new):
            responses = await self._do([command for account in part for command in _making(account)])
            halves = [responses[at : at + 2] for at in range(0, len(responses), 2)]
            await self._replace([a for a, half in zip(part, halves, strict=True) if any(r.error for r in half)])

    async def _replace(self, old: Sequence[Account]) -> None:
        """Make accounts anew; the deletion is what cuts their sessions."""
        for part in _parts(old):
            recipes = [[_client_removal(a.key), _role_removal(a.key), *_making(a)] for a in part]
            await self._do([command for recipe in recipes for command in recipe])

    async def _present(self) -> dict[str, int]:
        """Return each device's version; of one that is gone, but for what was kept for it, that it is another's."""
        roles = await self._listed({"command": "listRoles"}, lambda found: found.roles)
        clients = await self._listed({"command": "listClients", "verbose": True}, lambda found: found.clients)
        left = {role.removeprefix(ROLE) for role in roles if role.startswith(ROLE)}
        return dict.fromkeys(left, accounts.ANOTHERS) | _versions(clients)

    async def _listed(self, command: Command, part: Callable[[Found], list[T]]) -> list[T]:
        """Return a whole list; it comes in pages so that no answer is huge."""
        listed: list[T] = []
        while True:
            [response] = await self._do([{**command, "count": BATCH, "offset": len(listed)}])
            page = part(response.data)
            listed += page
            if len(page) < BATCH:
                return listed

    async def _versions(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the versions of those of these devices that the broker has."""
        clients: list[Client] = []
        for part in _parts(keys):
            responses = await self._do([{"command": "getClient", "username": key} for key in part])
            clients += [answer.data.client for answer in responses if answer.data.client]
        return _versions(clients)

    async def _ensure_rules(self) -> None:
        """Put the defaults and the hub's own rights in place, if a new or emptied broker lacks them."""
        defaults, role, client = await self._do(
            [
                {"command": "getDefaultACLAccess"},
                {"command": "getRole", "rolename": OWN_ROLE},
                {"command": "getClient", "username": self._own},
            ]
        )
        roles = [] if client.data.client is None else client.data.client.roles
        if role.data.role is None or OWN_ROLE not in {each.rolename for each in roles}:
            raise AccountsError(f"the hub's account {self._own!r} lacks role {OWN_ROLE!r}; make it as mosquitto/ does")
        await self._do([*_own_role_commands(role.data.role), *_default_commands(defaults.data)])

    async def _do(self, commands: Sequence[Command]) -> list[Response]:
        if not commands:
            return []
        found = responses(await self._exchange(msgspec.json.encode({"commands": commands})))
        _check(commands, found)
        return found


def responses(answer: bytes) -> list[Response]:
    """Read the broker's answer; raises AccountsError."""
    try:
        return msgspec.json.decode(answer, type=Responses).responses
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"dynamic security answered something else than Mosquitto 2's: {error}"
        raise AccountsError(msg) from error


def _check(commands: Sequence[Command], responses: Sequence[Response]) -> None:
    if len(responses) != len(commands):
        msg = f"dynamic security gave {len(responses)} answers to {len(commands)} commands"
        raise AccountsError(msg)
    for command, response in zip(commands, responses, strict=True):
        if response.error and response.error not in HARMLESS:
            name = command.get("username", command.get("rolename", ""))
            msg = f"dynamic security: {command['command']} {name}: {response.error}"
            raise AccountsError(msg)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _versions(clients: Iterable[Client]) -> dict[str, int]:
    return {client.username: _version(client.textdescription) for client in clients if client.textname == DEVICE}


def _describe(version: int) -> str:
    return f"rules {RULES} version {version}"


def _version(description: str) -> int:
    """Return the version, or that it is outdated when the rules are not today's."""
    head, _, version = description.rpartition(" ")
    known = head == _describe(0).rpartition(" ")[0] and version.isdecimal()
    return int(version) if known else accounts.OUTDATED


def _client_removal(key: str) -> Command:
    return {"command": "deleteClient", "username": key}


def _role_removal(key: str) -> Command:
    return {"command": "deleteRole", "rolename": ROLE + key}


def _making(account: Account) -> list[Command]:
    role, key = ROLE + account.key, account.key
    return [
        {"command": "createRole", "rolename": role, "acls": _device_acls(key)},
        {
            "command": "createClient",
            "username": key,
            "clientid": key,
            "password": account.secret,
            "textname": DEVICE,
            "textdescription": _describe(account.version),
            "roles": [{"rolename": role}],
        },
    ]


def _device_acls(key: str) -> list[Acl]:
    """Return a device's rules; what it may subscribe to bounds what it receives."""
    return [
        *(Acl("publishClientSend", topic, allow=True) for topic in accounts.publishable(key)),
        *(Acl("subscribePattern", topic, allow=True) for topic in accounts.subscribable(key)),
    ]


def _own_acls() -> list[Acl]:
    heard = [accounts.OWN_TOPICS, "$SYS/#", CONTROL]
    return [
        *(Acl("publishClientSend", topic, allow=True) for topic in (accounts.OWN_TOPICS, CONTROL)),
        *(Acl("subscribePattern", topic, allow=True) for topic in heard),
    ]


def _default_commands(found: Found) -> list[Command]:
    if {acl.acltype: acl.allow for acl in found.acls} == DEFAULTS:
        return []
    acls = [{"acltype": name, "allow": allow} for name, allow in DEFAULTS.items()]
    return [{"command": "setDefaultACLAccess", "acls": acls}]


def _own_role_commands(role: Role) -> list[Command]:
    present = {(acl.acltype, acl.topic) for acl in role.acls}
    missing = [acl for acl in _own_acls() if (acl.acltype, acl.topic) not in present]
    if not missing:
        return []
    return [{"command": "modifyRole", "rolename": role.rolename, "acls": [*role.acls, *missing]}]
