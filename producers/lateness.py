"""Delays -> their maximum and quantiles, in constant memory and in one step a delay."""

_STEP_US, _STEPS = 100, 100_000


class Lateness:
    """A histogram of delays in steps of 0.1 ms up to 10 s; longer ones count as the last step."""

    def __init__(self) -> None:
        self._counts = [0] * _STEPS
        self._total, self._max_us = 0, 0

    def add(self, late_us: int) -> None:
        """Count a delay; one that is early counts as none."""
        late_us = max(late_us, 0)
        self._total += 1
        self._max_us = max(self._max_us, late_us)
        self._counts[min(late_us // _STEP_US, _STEPS - 1)] += 1

    @property
    def max_ms(self) -> float:
        """The longest delay."""
        return self._max_us / 1000

    def quantile_ms(self, fraction: float) -> float:
        """Return what at least this fraction of all delays do not exceed, to 0.1 ms; 0 without any."""
        wanted, seen = fraction * self._total, 0
        for step, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min((step + 1) * _STEP_US / 1000, self.max_ms)
        return 0.0
