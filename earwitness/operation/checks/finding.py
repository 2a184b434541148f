"""What a check is given, and what it says."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from json import dumps
from time import time
from typing import Any

from confluent_kafka.admin import AdminClient

from earwitness.operation.health import Severity
from earwitness.settings import Settings
from processors.course import Course
from processors.decision import Decision
from processors.log import LogReader
from processors.reasons import Reasons
from schemas.codec import Codec
from schemas.errors import EarwitnessError
from schemas.topics import Topics

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is and, unless it is as it should be, what to do."""

    level: Severity
    subject: str
    found: str
    advice: str = ""

    def as_json(self, check: str) -> str:
        """Return it on one line, with the check that found it."""
        return dumps({"check": check, **asdict(self)})


def ok(subject: str, found: str) -> Finding:
    """Say that a thing is as it should be."""
    return Finding(Severity.OK, subject, found)


def warn(subject: str, found: str, advice: str) -> Finding:
    """Say that a thing works, and may not for long, or is not as good as it should be."""
    return Finding(Severity.WARN, subject, found, advice)


def broken(subject: str, found: str, advice: str) -> Finding:
    """Say that a thing does not work: somebody is not heard, or not at the right time."""
    return Finding(Severity.BROKEN, subject, found, advice)


@dataclass
class Case:
    """What all checks share. Clients are made once, readers for each check: checks run at the same time."""

    settings: Settings
    expected: tuple[str, ...] = ()
    now_s: Callable[[], float] = time
    courses: dict[Topics, Course] = field(default_factory=dict)

    @cached_property
    def reasons(self) -> Reasons:
        """What the client says about its connections."""
        return Reasons(self.client)

    @cached_property
    def admin(self) -> AdminClient:
        """Asks a broker about everything but records."""
        options: dict[str, Any] = {**self.client, "error_cb": self.reasons.note}
        return AdminClient(options)

    @cached_property
    def client(self) -> dict[str, Any]:
        """Options for clients: nothing of what they say about themselves is printed."""
        return {"log_level": 0, "socket.timeout.ms": 5000, **self.settings.kafka.librdkafka()}

    @cached_property
    def codec(self) -> Codec:
        """Reads records; registers nothing, since it writes none."""
        return self.settings.codec()

    @cached_property
    def decision(self) -> Decision | None:
        """What these settings decide by; None where the model cannot be read, as another check says."""
        try:
            return self.settings.decision()
        except (EarwitnessError, OSError):
            return None

    def course(self, tenant: Topics) -> Course:
        """Return what was rolled out to a tenant, over what these settings name; it is read once."""
        if tenant not in self.courses:
            from earwitness.operation.checks.scoring import course_of

            self.courses[tenant] = course_of(self, tenant)
        return self.courses[tenant]

    @property
    def tenants(self) -> Iterator[Topics]:
        """The topics of every tenant."""
        return (Topics(tenant) for tenant in self.settings.topics.tenants)

    @property
    def now_ms(self) -> float:
        """The time here, in milliseconds since 1970."""
        return self.now_s() * 1000

    def reader(self) -> LogReader:
        """Make a reader of topics, to be closed."""
        return LogReader(self.client, TIMEOUT_S)


Check = Callable[[Case], Iterator[Finding]]
