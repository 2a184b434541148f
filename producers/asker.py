"""Is the broker back? -> the cluster that answers, and the schema that frames need; why not is said.

    ask ──► registry has the schema? ──► ends of our partitions' logs ──► noted before anything is sent there

A broker on a slow line is no broker that is away: each time that nobody answers, the next ask may take twice
as long. With a registry nothing can be sent without the schema, so a registry that is away counts the same;
what waits needs none.
"""

import logging
import time
from dataclasses import dataclass

from producers.errors import LogAwayError
from producers.keeper import Keeper
from producers.readback import LogReader
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)

ASK_MAX_S, SAY_AGAIN_S = 15.0, 600.0


@dataclass(frozen=True, slots=True)
class AskSettings:
    """Of which topic, and how long the first ask may take."""

    topic: str
    first_s: float


@dataclass(slots=True)
class Complaint:
    """Says what is wrong: a new reason at once, the same one now and then."""

    subject: str
    reason: str | None = None
    said_s: float = 0.0

    def say(self, reason: str) -> None:
        """Say why, unless that was said a moment ago."""
        now_s = time.monotonic()
        if reason != self.reason or now_s - self.said_s >= SAY_AGAIN_S:
            self.reason, self.said_s = reason, now_s
            _LOG.warning("%s: sound waits in the spool: %s", self.subject, reason)

    def clear(self) -> None:
        """Forget it: all is well."""
        self.reason = None


class Asker:
    """Asks from one thread whether the broker takes frames again."""

    def __init__(self, keeper: Keeper, log: LogReader, codec: Codec, settings: AskSettings) -> None:
        self._keeper, self._log, self._codec, self._topic = keeper, log, codec, settings.topic
        self._complaint, self._limit_s = Complaint(settings.topic), settings.first_s
        self.cluster: str | None = None

    def ask(self, partitions: set[int] | None) -> bool:
        """Return whether the leaders of some or all partitions answer; note the ends of their logs."""
        try:
            self._codec.prepare(AudioFrame)
            cluster, ends = self._log.ends(self._topic, partitions, self._limit_s)
        except (LogAwayError, ConfigurationError) as exc:
            self._limit_s = min(2 * self._limit_s, ASK_MAX_S)
            self._complaint.say(str(exc))
            return False
        self._complaint.clear()
        if not self._keeper.positions(cluster, self._topic):
            self._keeper.begin_at(cluster, self._topic, ends)
        self.cluster = cluster
        return True
