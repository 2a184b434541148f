"""A plan -> a round on the running system: sound, faults, healing, a fresh group, and the judge's verdict.

begin ── sound, faults ── whole again ── all is said ── fresh ── a fresh group says it again ── judge
"""

import json
import shutil
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from confluent_kafka import KafkaException

from processors.decision import DecisionSettings
from schemas.topics import partition_of
from tests.chaos.commits import Commits
from tests.chaos.disturbance import course
from tests.chaos.evidence import ROLES, Commit, Evidence, Offsets, Round, Rules, Stored
from tests.chaos.faults import KINDS
from tests.chaos.fleet import Stored as Noted
from tests.chaos.judge import judge
from tests.chaos.judge.verdict import Finding, Verdict
from tests.chaos.ledger import Entry
from tests.chaos.load import Load
from tests.chaos.plan import Plan
from tests.chaos.stage import Size
from tests.chaos.system import TENANT, System
from tests.chaos.watch import Watch
from tests.chaos.workers import Ending

SAID_S, LOOK_S, HEAL_AGAIN_S = 120.0, 0.3, 20.0
FRESH, VERDICT = "fresh", "verdict.json"
EXAMPLES = 3
_EXCUSING = frozenset({"broker", "network"})


def play_round(system: System, plan: Plan, size: Size, directory: Path, *, keep: bool = False) -> Entry:
    """Play a round in a directory of its own, which stays where something was found."""
    if directory.exists():
        shutil.rmtree(directory)  # of a round that did not come to its end
    directory.mkdir(parents=True)
    playing = Playing(system, Load(system, plan, size, directory))
    entry = playing.play()
    if entry.findings:
        with suppress(KafkaException, AssertionError):  # brokers that do not answer
            playing.keep_records()
    if entry.findings or keep:
        return replace(entry, evidence=str(directory))
    shutil.rmtree(directory)
    return entry


@dataclass(slots=True)
class Playing:
    """A round that is being played, and what is known of it so far."""

    system: System
    load: Load
    wrong: list[str] = field(default_factory=list)
    """What the harness itself found."""
    begin: Mapping[str, Offsets] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    phases_s: dict[str, float] = field(default_factory=dict)
    _phase_s: float = field(default_factory=time.monotonic)

    def play(self) -> Entry:
        """Play it to its end, or until it cannot go on."""
        healed = self.system.tritons_healed
        self.system.workers.take_endings()
        verdict = None
        try:
            verdict = self._play()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the ledger has the round
            self.wrong.append(f"the round could not go on: {exc!r}")
        return replace(self._entry(verdict), tritons_healed=self.system.tritons_healed - healed)

    def _play(self) -> Verdict | None:
        self.begin = self._ends()
        begin_at = datetime.now(UTC).isoformat()
        self._disturbed()
        fresh = self._ends()
        self._fresh_group(begin_at, fresh)
        verdict = self._judged(fresh)
        self.system.dismiss_guests()
        self.wrong += self.system.heal()
        self._phase("tidying")
        return verdict

    def keep_records(self) -> None:
        """Keep what the topics hold of the round: they are gone with the brokers."""
        for role, since in self.begin.items():
            with (self.load.directory / f"{role}.jsonl").open("w", encoding="utf-8") as file:
                for record in self.system.tenant.read(self._topic(role), since):
                    file.write(json.dumps(asdict(record), default=_as_text) + "\n")

    def _disturbed(self) -> None:
        """Play sound and faults, bring back what is away, and wait until all is said."""
        system, topics, load = self.system, self.system.topics, self.load
        commits = Commits(system.servers, TENANT, topics.frames, len(system.partitions))
        with self._watch(self.begin) as watch, closing(load), commits:
            load.play()
            self._phase("sound")
            self.wrong += system.heal()
            self._phase("healing")
            self._until_all_is_said(watch, "the workers", {(b.partition, b.offset) for b in load.broken})
            self._phase("saying")
        self.wrong += load.wrong
        self.commits = commits.found

    def _fresh_group(self, begin_at: str, fresh: Mapping[str, Offsets]) -> None:
        """Have a group that was never disturbed read the same frames."""
        system, number = self.system, self.load.plan.number
        told = {"worker.group": f"{TENANT}-{FRESH}-{number}", "worker.begin_at": begin_at}
        with self._watch(fresh) as watch:
            system.workers.add(FRESH, {**system.near_settings(), **told})
            self._until_all_is_said(watch, "a fresh group", set())
            system.workers.kill_and_remove(FRESH)
        self._phase("fresh group")

    def _until_all_is_said(self, watch: Watch, who: str, broken: set[tuple[int, int]]) -> None:
        stored = self.load.stored
        deadline_s, heal_s = time.monotonic() + SAID_S, time.monotonic() + HEAL_AGAIN_S
        while missing := watch.missing(stored, broken):
            now_s = time.monotonic()
            if now_s > deadline_s:
                examples = "; ".join(missing[:EXAMPLES])
                self.wrong.append(f"not said by {who} within {SAID_S:g} s ({len(missing)}): {examples}")
                return
            if now_s > heal_s:
                self.system.heal_tritons()
                heal_s = now_s + HEAL_AGAIN_S
            Event().wait(LOOK_S)
            watch.look()

    def _watch(self, since: Mapping[str, Offsets]) -> Watch:
        outputs = {self._topic(role): at for role, at in since.items() if role != "frames"}
        return Watch(self.system.servers, self.system.topics, outputs)

    def _judged(self, fresh: Mapping[str, Offsets]) -> Verdict | None:
        directory = self.load.directory
        self._evidence(fresh).write(directory)
        try:
            verdict = judge(directory)
        except Exception as exc:  # noqa: BLE001 - a round that cannot be judged is a finding
            self.wrong.append(f"the judge failed: {exc!r}")
            return None
        (directory / VERDICT).write_text(verdict.to_json(), "utf-8")
        self._phase("judge")
        return verdict

    def _evidence(self, fresh: Mapping[str, Offsets]) -> Evidence:
        where = Round(
            servers=self.system.servers,
            group=TENANT,
            tenant=TENANT,
            topics={role: self._topic(role) for role in ROLES},
            begin=self.begin,
            frames_end=fresh["frames"],
            model=str(self.system.model),
            fresh={role: fresh[role] for role in ROLES if role != "frames"},
            rules=_rules(),
        )
        stored = tuple(self._stored(frame) for frame in self.load.stored)
        return Evidence(where, stored, self.load.broken, tuple(self.commits))

    def _stored(self, frame: Noted) -> Stored:
        partition = partition_of(frame.sensor.encode(), len(self.system.partitions))
        return Stored(frame.sensor, frame.epoch, frame.first_sample, frame.samples, partition, frame.offset)

    def _entry(self, verdict: Verdict | None) -> Entry:
        plan, found = self.load.plan, verdict.findings if verdict else ()
        counts = dict(verdict.counts) if verdict else {}
        endings = self.system.workers.take_endings()
        parts = {KINDS[fault.kind].part for fault in plan.faults}
        wrong = [*self.wrong, *wrong_ends(endings, parts), *_dropped(counts)]
        return Entry(
            number=plan.number,
            campaign=plan.campaign,
            kind=plan.kind,
            faults=tuple(fault.kind for fault in plan.faults),
            did=self.load.did,
            took_s=round(sum(self.phases_s.values()), 1),
            counts=counts,
            findings=(*wrong, *map(_described, found)),
            found=_by_kind(found),
            endings=tuple(map(str, endings)),
            phases_s=self.phases_s,
            course=dict(course(verdict.latencies if verdict else (), self.load.fault_ms)),
            size=self.load.size.name,
        )

    def _phase(self, name: str) -> None:
        now_s = time.monotonic()
        self.phases_s[name] = round(now_s - self._phase_s, 1)
        self._phase_s = now_s

    def _ends(self) -> dict[str, Offsets]:
        ends = self.system.ends([self._topic(role) for role in ROLES])
        return {role: ends[self._topic(role)] for role in ROLES}

    def _topic(self, role: str) -> str:
        return str(getattr(self.system.topics, role))


def _rules() -> Rules:
    rules = DecisionSettings()
    return Rules(
        idle_s=rules.idle_s,
        margin_s=rules.margin_s,
        max_gap_s=rules.max_gap_s,
        max_missing_s=rules.max_missing_s,
        segment_windows=rules.segment_windows,
    )


def wrong_ends(endings: Iterable[Ending], parts: Collection[str]) -> list[str]:
    """Return the ends that no round excuses, given what its faults laid hands on.

    Only without brokers, or far from them, may a worker give up; and it says why in a line of its own.
    """
    excused = not _EXCUSING.isdisjoint(parts)
    return [
        f"worker ended {'badly when told to' if ending.asked else 'by itself'}: {ending}"
        for ending in endings
        if ending.asked or ending.traceback or not excused
    ]


def _dropped(counts: Mapping[str, int]) -> list[str]:
    """Return what is wrong where acknowledged samples are late or stale: no sensor here sends such ones."""
    dropped = counts.get("samples_dropped", 0)
    return [f"{dropped} acknowledged samples were dropped as late or stale"] if dropped else []


def _by_kind(findings: Iterable[Finding]) -> dict[str, int]:
    found = Counter[str]()
    for finding in findings:
        found[str(finding.kind)] += finding.count
    return dict(found)


def _described(finding: Finding) -> str:
    return f"{finding.kind}: {finding.text} ({finding.count}): {', '.join(finding.examples[:EXAMPLES])}"


def _as_text(found: object) -> str:
    assert isinstance(found, bytes)
    return b64encode(found).decode()
