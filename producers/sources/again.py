"""Something that has to be opened -> opened again and again, with growing pauses, until told to stop."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from tenacity import (
    BaseRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_any,
    stop_never,
    stop_when_event_set,
    wait_exponential_jitter,
)

from schemas.errors import CaptureError

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Again:
    """How often, and when. `first_attempts`: for what never worked, None: for ever.

    `settled_s`: what lasted so long works; the pauses then begin small again.
    """

    first_attempts: int | None = 3
    pause_s: float = 0.5
    longest_pause_s: float = 3.0
    settled_s: float = 10.0


def keep_trying(open_it: Callable[[], T], again: Again, stop: Event) -> Iterator[T]:
    """Open a thing each time the last one has ended, after a pause, until `stop` is set.

    What ends soon after it was opened, again and again, is opened after longer and longer pauses.

    Raises:
        CaptureError: it could not be opened at all, not once in `first_attempts`.

    """
    attempts, ended_soon = again.first_attempts, 0
    while not stop.is_set():
        retrying = _retrying(again, attempts, stop)
        try:
            opened = retrying(open_it)
        except CaptureError:
            if stop.is_set():
                return
            raise
        attempts, since_s = None, time.monotonic()
        yield opened
        ended_soon = 1 if time.monotonic() - since_s >= again.settled_s else ended_soon + 1
        stop.wait(_pause_s(again, retrying, ended_soon))


def _retrying(again: Again, attempts: int | None, stop: Event) -> Retrying:
    limit = stop_never if attempts is None else stop_after_attempt(attempts)
    return Retrying(
        wait=_pauses(again),
        sleep=sleep_using_event(stop),
        stop=stop_any(limit, stop_when_event_set(stop)),
        retry=retry_if_exception_type(CaptureError),
        before_sleep=_say_first,
        reraise=True,
    )


def _pauses(again: Again) -> wait_exponential_jitter:
    return wait_exponential_jitter(multiplier=again.pause_s, max=again.longest_pause_s, jitter=again.pause_s)


def _pause_s(again: Again, retrying: BaseRetrying, number: int) -> float:
    state = RetryCallState(retrying, None, (), {})
    state.attempt_number = number
    return _pauses(again)(state)


def _say_first(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        _LOG.warning("%s; trying again", state.outcome.exception())
