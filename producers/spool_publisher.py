"""Frames that a spool keeps -> a topic: one that is not delivered is not lost, and nobody says so.

Reports are served by one thread at a time, in the order of the log: the spool learns from each where what is
still open begins.
"""

import logging
from threading import Lock
from typing import Any

from producers.errors import BufferFullError
from producers.publisher import FramePublisher
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)


class SpooledPublisher(FramePublisher):
    """Publishes frames that stay in a spool until they are acknowledged: one that fails is not lost.

    Reports are served by one thread at a time, in the order of the log.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._serving = Lock()

    def _serve(self, timeout_s: float) -> None:
        if self._serving.acquire(blocking=False):
            try:
                super()._serve(timeout_s)
            finally:
                self._serving.release()

    def _say_full(self, full: BufferFullError) -> None:
        _LOG.warning("%s; the spool has it", full)

    def _say_lost(self, sensor: str, frame: AudioFrame, reason: str) -> None:
        _LOG.warning("%s: a frame of %s was not delivered: %s; the spool has it", self._topic, sensor, reason)

    def _say_recovered(self, sensor: str, frame: AudioFrame, lost: int) -> None:
        _LOG.warning("%s: frames of %s are delivered again", self._topic, sensor)

    def _say_given_up(self, frames: int, timeout_s: float) -> None:
        _LOG.warning("%s: %d frames are not delivered yet; the spool has them", self._topic, frames)
