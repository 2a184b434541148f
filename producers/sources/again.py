"""Something that has to be opened -> opened again and again, with growing pauses, until told to stop."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from tenacity import (
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
    """How often, and when. `first_attempts`: for what never worked, None: for ever."""

    first_attempts: int | None = 3
    pause_s: float = 0.5
    longest_pause_s: float = 3.0


def keep_trying(open_it: Callable[[], T], again: Again, stop: Event) -> Iterator[T]:
    """Open a thing each time the last one has ended, until `stop` is set.

    Raises:
        CaptureError: it could not be opened at all, not once in `first_attempts`.

    """
    attempts = again.first_attempts
    while not stop.is_set():
        limit = stop_never if attempts is None else stop_after_attempt(attempts)
        retrying = Retrying(
            wait=wait_exponential_jitter(
                multiplier=again.pause_s, max=again.longest_pause_s, jitter=again.pause_s
            ),
            sleep=sleep_using_event(stop),
            stop=stop_any(limit, stop_when_event_set(stop)),
            retry=retry_if_exception_type(CaptureError),
            before_sleep=_say_first,
            reraise=True,
        )
        try:
            opened = retrying(open_it)
        except CaptureError:
            if stop.is_set():
                return
            raise
        attempts = None
        yield opened


def _pauses(again: Again) -> wait_exponential_jitter:
    return wait_exponential_jitter(multiplier=again.pause_s, max=again.longest_pause_s, jitter=again.pause_s)


def _say_first(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        _LOG.warning("%s; trying again", state.outcome.exception())
