"""Pieces of sound as they arrive -> when they were captured, by counting samples from an anchor.

    arrivals   |···||··|···········|||·|··|··       a pipe or a network: bursts and delays
    captured   |--|--|--|--|--|--|--|--|--|--|      anchor + samples / rate: even, and never in the future

Sound cannot arrive before it was captured, so the piece that is least late tells where the anchor is: one
that comes early moves it back at once, and where for a while all come late it follows slowly. What comes at
the beginning is held for a moment, so that sound which had piled up is dated back from its end.

Sound that goes on coming faster than time passes is a recording, not a microphone: it has to wait, which
slows down whoever writes it. The allowance before that is far beyond what a sound card's clock drifts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from threading import Event

from producers.clock import Clock
from producers.framer import duration_us
from producers.source import Arrival, Arrivals, Block, Loss


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound as it was read, in memory of its own; without samples it only says that time passes.

    `lost`: what broke off before it. `opens`: whatever was known of its times is over, too.
    """

    block: Block
    sample_rate_hz: int
    lost: Loss | None = None
    opens: bool = False


@dataclass(frozen=True, slots=True)
class TimingSettings:
    """How times are counted.

    `hold_s`, `hold_sound_s`: a beginning is held so long, or until so much of it came. `follow_s`: so long
    all has to be late by more than `slack_ms` before the anchor follows; it moves `max_step_ms` at once.
    `early_ms`: sound may be early by so much, and gains so much more as `early_ppm` of the time allow.
    `max_late_s`: sound that is later had stopped, or somebody lost some of it: an epoch begins.
    """

    hold_s: float = 0.5
    hold_sound_s: float = 10.0
    follow_s: float = 20.0
    slack_ms: float = 20.0
    max_step_ms: float = 100.0
    early_ms: float = 500.0
    early_ppm: float = 1000.0
    max_late_s: float = 2.0


class ArrivalClock:
    """Monotonic times of arrivals -> when the last sample of each was captured, in microseconds."""

    def __init__(self, settings: TimingSettings | None = None) -> None:
        self._settings = settings or TimingSettings()
        self._anchor_us, self._samples, self._rate_hz = 0, 0, 1
        self._least_late_us: int | None = None
        self._since_us, self._last_us = 0, 0
        self._allowed_us = 0.0

    def start(self, begin_us: int, sample_rate_hz: int, not_before_us: int | None = None) -> None:
        """Count from here: the next sample begins at this time, or earlier, never before `not_before_us`."""
        self._anchor_us, self._samples, self._rate_hz = begin_us, 0, sample_rate_hz
        self._allowed_us = 1000 * self._settings.early_ms
        if not_before_us is not None:
            self._allowed_us = min(self._allowed_us, max(0, begin_us - not_before_us))
        self._least_late_us, self._since_us, self._last_us = None, begin_us, begin_us

    def skip(self, samples: int) -> None:
        """Count samples that never came."""
        self._samples += samples

    def late_us(self, samples: int, arrived_us: int) -> int:
        """Return how late samples come that arrive now; less than 0 is early."""
        return arrived_us - self._anchor_us - duration_us(self._samples + samples, self._rate_hz)

    def advance(self, samples: int, arrived_us: int) -> int:
        """Count samples that arrived; return when their last was captured.

        A time after `arrived_us` says that they came too early: hand them on when it has come.
        """
        late_us = self.late_us(samples, arrived_us)
        self._samples += samples
        self._allow(arrived_us)
        if late_us < 0:
            self._come_back(-late_us)
        self._watch(max(late_us, 0), arrived_us)
        return self._anchor_us + duration_us(self._samples, self._rate_hz)

    def _allow(self, arrived_us: int) -> None:
        gained_us = max(0, arrived_us - self._last_us) * self._settings.early_ppm / 1e6
        self._allowed_us = min(self._allowed_us + gained_us, 1000 * self._settings.early_ms)
        self._last_us = arrived_us

    def _come_back(self, early_us: int) -> None:
        step_us = int(min(early_us, self._allowed_us, 1000 * self._settings.max_step_ms))
        self._anchor_us -= step_us
        self._allowed_us -= step_us

    def _watch(self, late_us: int, arrived_us: int) -> None:
        least_us = late_us if self._least_late_us is None else min(self._least_late_us, late_us)
        self._least_late_us = least_us
        if arrived_us - self._since_us < 1e6 * self._settings.follow_s:
            return
        if least_us > 1000 * self._settings.slack_ms:
            self._anchor_us += int(min(least_us, 1000 * self._settings.max_step_ms))
        self._least_late_us, self._since_us = None, arrived_us


@dataclass(slots=True)
class _Held:
    piece: Piece
    arrived_us: int


class Timing:
    """Dates pieces one after another; holds those of a beginning for a moment."""

    def __init__(self, settings: TimingSettings | None = None) -> None:
        self._settings = settings or TimingSettings()
        self._clock = ArrivalClock(self._settings)
        self._held: list[_Held] = []
        self._holding = True
        self._rate_hz = 0
        self._end_us: int | None = None
        """When the last sample that was dated was captured: what follows begins no earlier."""

    def feed(self, piece: Piece, arrived_us: int) -> list[tuple[Piece, int]]:
        """Take a piece; return those that can be dated, with the monotonic times of their last samples."""
        # What is missing is measured from what is dated.
        before = self.flush() if self._holding and piece.lost is not None else []
        piece = self._opening_if_broken(piece, arrived_us)
        if piece.opens:
            before += self.flush()
            self._holding, self._rate_hz = True, piece.sample_rate_hz
        if self._holding:
            return before + self._hold(piece, arrived_us)
        return before + self._date(piece, arrived_us)

    def flush(self) -> list[tuple[Piece, int]]:
        """Return what is held."""
        if not self._held:
            return []
        self._begin(self._earliest_us())
        self._holding = False
        dated = [one for held in self._held for one in self._date(held.piece, held.arrived_us)]
        self._held.clear()
        return dated

    def _earliest_us(self) -> int:
        begin_us, sound = self._held[0].arrived_us, 0
        for held in self._held:
            sound += len(held.piece.block)
            begin_us = min(begin_us, held.arrived_us - duration_us(sound, self._rate_hz))
        return begin_us

    def _begin(self, begin_us: int) -> None:
        if self._end_us is not None:
            # Whoever connects anew may be given once more what came before: that was not lost.
            begin_us = max(begin_us, self._end_us)
            first = self._held[0]
            first.piece = replace(
                first.piece, lost=_at_most(first.piece.lost, begin_us - self._end_us, self._rate_hz)
            )
        self._clock.start(begin_us, self._rate_hz, self._end_us)

    def _opening_if_broken(self, piece: Piece, arrived_us: int) -> Piece:
        if piece.opens or not len(piece.block):
            return piece
        if piece.sample_rate_hz != self._rate_hz or (self._holding and piece.lost is not None):
            return replace(piece, opens=True)
        if self._holding:
            return piece
        late_us = self._clock.late_us(len(piece.block), arrived_us)
        if late_us > 1e6 * self._settings.max_late_s:
            why = f"the sound comes {late_us / 1e6:.1f} s late: it had stopped, or was lost on its way"
            return replace(piece, opens=True, lost=piece.lost or Loss(0, why))
        return self._opening_if_stepped(piece, late_us)

    def _opening_if_stepped(self, piece: Piece, late_us: int) -> Piece:
        """Believe what is said to be missing as far as time has passed for it."""
        missing_us = duration_us(piece.lost.samples or 0, piece.sample_rate_hz) if piece.lost else 0
        tolerance_us = 1000 * self._settings.early_ms
        if missing_us - late_us <= tolerance_us or not missing_us:
            return piece
        possible = late_us * piece.sample_rate_hz // 1_000_000 if late_us > tolerance_us else 0
        why = f"the stream's time stamps went ahead by {missing_us / 1e6:.3f} s, and the clock did not"
        return replace(piece, opens=True, lost=Loss(possible, why))

    def _hold(self, piece: Piece, arrived_us: int) -> list[tuple[Piece, int]]:
        if len(piece.block):
            self._held.append(_Held(piece, arrived_us))
        if not self._held:
            return []
        sound_us = duration_us(sum(len(held.piece.block) for held in self._held), self._rate_hz)
        waited_us = arrived_us - self._held[0].arrived_us
        over = waited_us >= 1e6 * self._settings.hold_s or sound_us >= 1e6 * self._settings.hold_sound_s
        return self.flush() if over else []

    def _date(self, piece: Piece, arrived_us: int) -> list[tuple[Piece, int]]:
        if piece.lost is not None and not piece.opens:
            self._clock.skip(piece.lost.samples or 0)
        if not len(piece.block):
            return []
        self._end_us = self._clock.advance(len(piece.block), arrived_us)
        return [(piece, self._end_us)]


def _at_most(lost: Loss | None, away_us: int, sample_rate_hz: int) -> Loss | None:
    if lost is None or not lost.samples:
        return lost
    return replace(lost, samples=min(lost.samples, away_us * sample_rate_hz // 1_000_000))


class WallTime:
    """Monotonic times -> UTC. Small differences are left alone, a step of the wall clock is followed."""

    def __init__(self, clock: Clock, tolerance_us: int = 100_000) -> None:
        self._clock, self._tolerance_us = clock, tolerance_us
        self._offset_us = clock.wall_us() - clock.monotonic_us()

    def at(self, monotonic_us: int) -> int:
        """Return the UTC of a monotonic time."""
        offset_us = self._clock.wall_us() - self._clock.monotonic_us()
        if abs(offset_us - self._offset_us) > self._tolerance_us:
            self._offset_us = offset_us
        return monotonic_us + self._offset_us


def timed(pieces: Iterable[Piece], timing: Timing, clock: Clock, stop: Event) -> Arrivals:
    """Date pieces as they are read; hand on none before its time has come."""
    wall = WallTime(clock)
    for piece in pieces:
        for dated, due_us in timing.feed(piece, clock.monotonic_us()):
            if not _due(due_us, clock, stop):
                return
            yield Arrival(dated.block, dated.sample_rate_hz, wall.at(due_us), dated.lost)
    for dated, due_us in timing.flush():
        yield Arrival(dated.block, dated.sample_rate_hz, wall.at(due_us), dated.lost)


def _due(due_us: int, clock: Clock, stop: Event) -> bool:
    while (early_us := due_us - clock.monotonic_us()) > 0:
        if clock.wait(stop, early_us / 1e6):
            return False
    return True
