"""What a client says of its connections -> why no broker answers, in one line.

The reason of a wrong password or certificate reaches `error_cb` only: whatever was asked just times out.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from processors.handshake import look_closer
from schemas.client_words import said_safely, secrets_of

TURN_S, SURE_S = 0.5, 1.5
"""How long each turn waits for an answer; how long after a refusal it is believed, if none has come."""
_REFUSALS = ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM")
_NOTHING_SAID = ("_ALL_BROKERS_DOWN", "_TRANSPORT", "_RESOLVE", "_TIMED_OUT")
NO_ANSWER = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)  # noqa: SLF001 - their public names
T = TypeVar("T")


class Reasons:
    """Notes what a client says; `note` is its `error_cb`."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._client, self._secrets = client, secrets_of(client)
        self._said: dict[str, str] = {}
        self._seen: str | None = None

    def note(self, error: KafkaError) -> None:
        """Keep an error: the first of each kind, which says most; none of our secrets with it."""
        self._said.setdefault(error.name(), said_safely(error.str(), self._secrets))

    @property
    def refused(self) -> bool:
        """Whether a broker has turned us away, or we it: waiting will not help."""
        return bool(self._seen) or any(name in self._said for name in _REFUSALS)

    def look(self) -> None:
        """See for ourselves, once, what stands between us and a broker, unless it was said."""
        if self._seen is None and not self.refused:
            self._seen = look_closer(self._client) or ""

    def why(self) -> str:
        """Return `; it says: …` with the most telling of what was said or seen; empty where nothing was."""
        told = next((self._said[name] for name in _REFUSALS if name != "_SSL" and name in self._said), None)
        self._seen = self._seen or (look_closer(self._client) if told is None else None)
        if told is None and self._seen:
            return f"; {self._seen}"
        if told is None:
            names = [*(name for name in self._said if name not in _NOTHING_SAID), *reversed(_NOTHING_SAID)]
            told = next((self._said[name] for name in names if name in self._said), None)
        return f"; it says: {told}" if told else ""


def first_answer(
    ask: Callable[[float], T], reasons: Reasons, poll: Callable[[float], object], timeout_s: float
) -> T:
    """Ask in turns until somebody answers, we are refused, or the time is over; `ask` is given seconds.

    Raises:
        KafkaException: the last turn's.

    """
    deadline_s, refused_s = monotonic() + timeout_s, None
    while True:
        try:
            return ask(max(0.1, min(TURN_S, deadline_s - monotonic())))
        except KafkaException as exc:
            poll(0)
            reasons.look()
            now_s = monotonic()
            refused_s = refused_s or (now_s if reasons.refused else None)
            surely = refused_s is not None and now_s - refused_s >= SURE_S
            if exc.args[0].code() not in NO_ANSWER or surely or now_s >= deadline_s:
                raise
