"""What is asked of a selection of devices, by a person or by a schedule, and what of it can be refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from devices import commands
from devices.errors import Refusal
from devices.jobs.selection import check_selection

if TYPE_CHECKING:
    from devices.models import Campaign, Fleet

MAX_RATE: Final = 10_000
MAX_STAGES: Final = 20
ALL: Final = 100  # %


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """See models.Campaign. `ttl_s`: None: as is usual for such a command (commands.default_ttl)."""

    fleet: Fleet
    name: str
    args: Any = None
    ttl_s: int | None = None
    reason: str = ""
    confirmed: bool = False
    selection: dict[str, Any] = {}
    rate: int | None = None
    stages: list[int] = []
    limit: int | None = None

    @classmethod
    def by(cls, campaign: Campaign) -> Asked:
        """Return what a schedule asks."""
        return cls(**{name: getattr(campaign, name) for name in cls.__struct_fields__})

    def columns(self) -> dict[str, Any]:
        """Return it as the columns of a campaign."""
        return msgspec.structs.asdict(self)

    def check(self) -> None:
        """Refuse what is wrong whichever the devices are."""
        if self.ttl_s is not None:
            commands.check_ttl(self.ttl_s)
        commands.check_reason(self.reason)
        check_selection(self.selection)
        if self.rate is not None and not 1 <= self.rate <= MAX_RATE:
            raise _invalid("rate", f"a whole number of commands a second from 1 to {MAX_RATE}, or null")
        if self.limit is not None and not 0 <= self.limit <= ALL:
            raise _invalid("limit", "a whole number of % from 0 to 100, or null")
        rising = all(one < next_ for one, next_ in zip([0, *self.stages], self.stages, strict=False))
        if self.stages and not (rising and self.stages[-1] == ALL and len(self.stages) <= MAX_STAGES):
            raise _invalid("stages", f"at most {MAX_STAGES} rising shares in % that end with 100, such as [5, 50, 100]")


def _invalid(field: str, expected: str) -> Refusal:
    return Refusal("invalid", f"{field} must be {expected}.", fields={field: f"must be {expected}"})
