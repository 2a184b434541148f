"""A plan -> detections: listens to stretches of the log again, in a share of the partitions a process.

Plan ──► processes ──► Detection, as they are decided ──► whoever asked
             └──► Progress, and a Report at the end of each; scores go to files that are joined
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty
from threading import Event
from typing import Any

from confluent_kafka import KafkaException

from earwitness.analysis.following import deciding_in
from earwitness.analysis.listener import Listener, Pace, Report, Told
from earwitness.analysis.lookup import about
from earwitness.analysis.plan import Plan, ReplaySettings
from earwitness.analysis.scores import ScoreWriter, score_parts
from earwitness.analysis.wanted import TimeBase
from earwitness.settings import Settings
from processors.log import LogReader, Record
from processors.replay import Stop, Stretch, lead_s
from schemas.errors import EarwitnessError, StopError

QUEUED, LOOK_S, JOIN_S, CLOSE_S = 1000, 0.2, 5.0, 60.0
PACED_IN_S = 3.0
"""A paced replay begins in a moment: its processes have to start."""
ReadSettings = Callable[[], Settings]
"""Reads the settings anew: a process of ours makes its own parts from them."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one process listens to, and the file that it writes scores to."""

    plan: Plan
    pace: Pace | None
    scores: Path | None
    labels: tuple[str, ...]
    """Of all models that may score: the columns of that file."""


def listen(settings: ReadSettings, plan: Plan, how: ReplaySettings, stop: Event) -> Iterator[Told]:
    """Listen to everything that is planned, in processes of its own if there is more than one partition.

    Raises:
        EarwitnessError: it cannot go on; nothing that was yielded is wrong for that.

    """
    pace = _pace(settings(), plan, how)
    shares = _shares(plan, min(how.jobs or os.cpu_count() or 1, len(plan.stretches)))
    with score_parts(how.scores, len(shares)) as parts:
        labels = () if how.scores is None else _labels(settings(), plan)
        jobs = [Job(share, pace, part, labels) for share, part in zip(shares, parts, strict=True)]
        if len(jobs) == 1:
            yield from _do(settings(), jobs[0], stop)
        else:
            yield from _in_processes(settings, jobs, stop)


def _do(settings: Settings, job: Job, stop: Stop) -> Iterator[Told]:
    if job.scores is None:
        yield from Listener(settings, job.plan, stop, job.pace).listen()
        return
    with ScoreWriter(job.scores, job.labels) as scores:
        yield from Listener(settings, job.plan, stop, job.pace, scores.add).listen()


# -- processes ----------------------------------------------------------------------------------------------


def _in_processes(settings: ReadSettings, jobs: Sequence[Job], stop: Event) -> Iterator[Told]:
    # Spawned, for a fork would copy clients whose threads stay behind. What the processes hand one another is
    # pickled: it is their own, and nothing from outside is ever read so.
    context = multiprocessing.get_context("spawn")
    queue, halt = context.Queue(QUEUED), context.Event()
    processes = [
        context.Process(target=_work, args=(settings, job, queue, halt), daemon=True) for job in jobs
    ]
    for process in processes:
        process.start()
    try:
        yield from _gathered(processes, queue, lambda: halt.set() if stop.is_set() else None)
        for process in processes:  # a file of scores is whole when its writer has ended
            process.join(CLOSE_S)
    finally:
        halt.set()
        queue.cancel_join_thread()
        for process in processes:
            process.join(JOIN_S)
            process.kill()


def _gathered(processes: Sequence[Any], queue: Any, look: Callable[[], object]) -> Iterator[Told]:
    reports = 0
    while reports < len(processes):
        look()
        ended = [process.exitcode for process in processes if process.exitcode]
        try:
            told = queue.get(timeout=LOOK_S)
        except Empty:
            if ended:
                raise StopError(f"a process that listens ended with status {ended[0]}") from None
            continue
        if isinstance(told, str):
            raise StopError(told)
        reports += isinstance(told, Report)
        yield told


def _work(settings: ReadSettings, job: Job, queue: Any, halt: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us is told, and tells us
    try:
        for told in _do(settings(), job, halt):
            queue.put(told)
    except (EarwitnessError, KafkaException, OSError, MemoryError) as exc:
        queue.put(f"{exc or type(exc).__name__}")


def _shares(plan: Plan, jobs: int) -> list[Plan]:
    """Share the stretches out, the longest first, each to whoever has least."""
    shares: list[list[Stretch]] = [[] for _ in range(jobs)]
    for stretch in sorted(plan.stretches, key=lambda s: s.first - s.end):
        min(shares, key=lambda share: sum(s.end - s.first for s in share)).append(stretch)
    return [replace(plan, stretches=tuple(share)) for share in shares]


def _labels(settings: Settings, plan: Plan) -> tuple[str, ...]:
    """Return the labels of all that may decide about the stretches, each once."""
    with LogReader(settings.kafka.librdkafka()) as reader:
        found = deciding_in(reader, plan, settings.detect)
    return tuple(dict.fromkeys(label for decision in found for label in decision.spec.labels))


def _pace(settings: Settings, plan: Plan, how: ReplaySettings) -> Pace | None:
    """Return when which sound is due: the first of the range that is meant, in a moment.

    Where the sensors' clocks name the range, it begins where its lead ends.
    """
    if how.speed is None:
        return None
    with LogReader(settings.kafka.librdkafka()) as reader:
        firsts = [_first_meant(reader, plan, stretch) for stretch in plan.stretches]
    begins = [record.timestamp for record in firsts if record is not None]
    led = 0 if plan.wanted.begin_us is None else round(1000 * lead_s(plan.course))
    begin_ms = min(begins, default=0) + led
    if plan.wanted.clock is TimeBase.BROKER and plan.wanted.begin_us is not None:
        begin_ms = plan.wanted.begin_us // 1000
    return Pace(how.speed, begin_ms, time.monotonic() + PACED_IN_S)


def _first_meant(reader: LogReader, plan: Plan, stretch: Stretch) -> Record | None:
    stretches = {stretch.partition: (stretch.first, stretch.end)}
    return next(reader.read(stretch.topic, stretches, about(plan.wanted)), None)
