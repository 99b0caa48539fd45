"""How the hub logs: one event a line as key=value on standard error, whoever wrote it, and no secret in it.

Devices and people choose much of what is told. Nothing of it begins a line, or is obeyed by the terminal that shows it.
"""

import re
from typing import TYPE_CHECKING, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from devices import dump

if TYPE_CHECKING:
    from hub.env import LogLevel

SECRET_WORDS = ("password", "secret", "token", "authorization", "cookie")
IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)")  # user:secret@ of any URL
IN_PATH = re.compile(r"((?:/|%2F)(?:share|invitation)(?:/|%2F))[^/%?&\s\"']+", re.IGNORECASE)  # of who has the link
HIDDEN = "[hidden]"


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hides what a careless line would tell: fields named like secrets, passwords and links' secrets in addresses."""
    for name, value in event.items():
        if any(word in name.lower() for word in SECRET_WORDS):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = IN_PATH.sub(rf"\1{HIDDEN}", IN_ADDRESS.sub(rf"\1:{HIDDEN}", value))
    return event


def without_control(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escapes what a terminal or a reader of lines would obey. Ends of lines are the renderer's to escape."""
    for name, value in event.items():
        if not isinstance(value, bool | int | float | None):
            event[name] = "\n".join(map(dump.visible, str(value).split("\n")))
    return event


BEFORE: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
]
AFTER: list[Processor] = [
    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    structlog.processors.format_exc_info,
    without_secrets,
    without_control,
    structlog.processors.LogfmtRenderer(key_order=["at", "level", "logger", "event"], bool_as_flag=False),
]


def configure(level: "LogLevel" = "INFO") -> dict[str, Any]:
    """Sets structlog up, and gives Django's LOGGING, through which it and the standard library write alike.

    Some packages tell at INFO what interests only whoever looks for a fault, and asked for DEBUG.
    """
    silent = "ERROR" if level == "ERROR" else "WARNING"
    quiet = "DEBUG" if level == "DEBUG" else silent
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *BEFORE,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # tests replace loggers
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": BEFORE,
                "processors": AFTER,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "propagate": True, "level": level},
            # DEBUG would tell statements and pages with all that is in them, secrets as well.
            "django.db.backends": {"level": silent},
            "django.template": {"level": silent},
            "django.server": {"handlers": [], "propagate": True, "level": level},
            "django.channels.server": {"handlers": [], "propagate": True, "level": quiet},
            "daphne": {"level": quiet},  # INFO tells each start-up step
            "axes": {"level": quiet},
        },
    }
