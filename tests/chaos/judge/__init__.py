"""The judge of a round: it shares no code with what it judges, and reads everything itself."""

from tests.chaos.judge.judging import judge
from tests.chaos.judge.verdict import Finding, Kind, Verdict

__all__ = ["Finding", "Kind", "Verdict", "judge"]
