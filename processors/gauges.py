"""What a worker has in hand -> its gauges, as often as it looks."""

from collections.abc import Collection
from time import monotonic

from processors.engine import Engine
from processors.following import Following
from processors.metrics import Metrics
from processors.progress import Progress
from processors.publish import Publisher
from processors.roster import Roster
from processors.scorers import Scorers


class Gauges:
    """Sets the gauges of one worker; a sensor that nobody heard for `quiet_s` is missing."""

    def __init__(self, metrics: Metrics, scorers: Scorers, roster: Roster | None, quiet_s: float) -> None:
        self._metrics, self._scorers, self._roster, self._quiet_s = metrics, scorers, roster, quiet_s

    def of_models(self, following: Following) -> None:
        """Show which models are open, and how old what is known of rollouts is."""
        self._metrics.rollouts_age_seconds.set(following.age_s)
        self._metrics.rollouts_ignored.set(following.ignored)
        self._metrics.set_models(self._scorers.states())

    def of_work(self, engine: Engine, publisher: Publisher) -> None:
        """Show what waits to be scored and to be acknowledged, and count what was done."""
        metrics, pipeline = self._metrics, engine.pipeline
        metrics.backlog_windows.set(pipeline.backlog)
        oldest_s = pipeline.oldest_s
        metrics.backlog_seconds.set(0.0 if oldest_s is None else monotonic() - oldest_s)
        metrics.outputs_unacknowledged.set(publisher.unacknowledged)
        metrics.add(pipeline.take_counts())

    def of_reading(self, engine: Engine, progress: Progress, held: Collection[object]) -> None:
        """Show the partitions, how far they were read, and who is there."""
        metrics, partitions = self._metrics, engine.pipeline.partitions
        metrics.partitions_assigned.set(len(partitions))
        metrics.partitions_held.set(len(held))
        metrics.sensors_live.set(sum(partition.open_runs for partition in partitions.values()))
        missing = 0
        # Whoever is there needs time to be heard.
        if self._roster is not None and progress.lasts_s >= self._quiet_s:
            missing = self._roster.missing(partitions)
        metrics.sensors_missing.set(missing)
        for lag in progress.lags(bool(held)):
            metrics.set_lag(*lag)
