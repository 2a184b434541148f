"""Each check says what it found and what to do, and cannot take the others down."""

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from confluent_kafka import Node, TopicPartitionInfo

from earwitness.embedded import embedded_broker
from earwitness.operation.checks.clocks import _judged as judged_steps
from earwitness.operation.checks.cluster import Found, _copies, topics
from earwitness.operation.checks.finding import Case, Finding, broken, ok
from earwitness.operation.checks.local import model, registry, versions
from earwitness.operation.checks.said import _digests, _outcomes
from earwitness.operation.checks.workers import Standing, _lag, _retention
from earwitness.operation.doctor import CHECKS, _examined, examine
from earwitness.operation.health import Severity
from earwitness.settings import load_settings
from processors.course import Course, Stage
from processors.decision import Decision
from schemas.coverage import Outcome
from schemas.errors import ConfigurationError
from schemas.topics import Topics
from tests.schemas.records import COVERAGE, EXPIRED

TOPICS = Topics()
NOW_S = 1_790_000_000.0
STANDING = Standing(number=0, low=0, end=1000, mark=900, marked_ms=round(NOW_S * 1000) - 5000, last_ms=None)


def case(**flags: str) -> Case:
    return Case(load_settings(flags={key.replace("__", "."): value for key, value in flags.items()}), ())


def levels(findings: Iterator[Finding] | list[Finding]) -> dict[str, Severity]:
    return {finding.subject: finding.level for finding in findings}


def says(findings: Iterator[Finding] | list[Finding], level: Severity) -> str:
    return "\n".join(f"{one.subject}: {one.found}: {one.advice}" for one in findings if one.level is level)


# -- here ------------------------------------------------------------------------------------------------


def test_a_model_is_read_and_timed(tiny_model: Path) -> None:
    found = list(model(case(model__path=str(tiny_model))))
    assert levels(found) == {"model": Severity.OK, "scorer": Severity.OK}
    assert "onnxruntime" in says(found, Severity.OK)


def test_a_model_that_is_not_there_is_broken_and_nothing_else_is(tiny_model: Path) -> None:
    wrong = case(model__path=str(tiny_model / "none"))
    found = dict(examine(wrong, ("versions", "model", "registry")))
    assert {name: finding.level for name, finding in found.items()} == {
        "versions": Severity.OK,
        "model": Severity.BROKEN,
        "registry": Severity.OK,
    }
    assert wrong.decision is None


def test_versions_are_told() -> None:
    assert {"earwitness", "librdkafka"} <= set(says(versions(case()), Severity.OK).replace(":", "").split())


def test_a_registry_that_does_not_answer_is_broken() -> None:
    assert levels(registry(case())) == {"registry": Severity.OK}
    found = list(registry(case(registry__url="http://127.0.0.1:1")))
    assert levels(found) == {"registry": Severity.BROKEN}
    assert "does not answer" in found[0].found


class Registry(BaseHTTPRequestHandler):
    """Speaks Confluent's protocol; takes what is compatible, and must not be given anything to keep."""

    def do_GET(self) -> None:
        self._answer(["audio.frames-value", "audio.sensors-value"])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path.startswith("/compatibility/subjects/")
        self._answer({"is_compatible": "audio.frames" in self.path})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, answer: object) -> None:
        body = dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_registry_that_does_not_take_our_schema_is_broken_and_nothing_is_registered() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        found = list(registry(case(registry__url=f"http://127.0.0.1:{server.server_port}")))
        server.shutdown()
    assert levels(found) == {"registry": Severity.OK, "audio.sensors-value": Severity.BROKEN}


def test_a_check_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="accepted: versions"):
        list(examine(case(), ("topics", "weather")))
    assert "weather" not in CHECKS


def test_a_check_that_fails_keeps_what_it_found_and_says_why() -> None:
    def fails(_: Case) -> Iterator[Finding]:
        yield ok("one", "is well")
        raise ZeroDivisionError("by zero")

    def refuses(_: Case) -> Iterator[Finding]:
        yield broken("two", "is not", "mend it")
        raise ConfigurationError("kafka.client", "x", "y")

    assert levels(_examined("fails", fails, case())) == {"one": Severity.OK, "fails": Severity.WARN}
    assert levels(_examined("refuses", refuses, case())) == {
        "two": Severity.BROKEN,
        "refuses": Severity.BROKEN,
    }


class RegistryOfTwo(Registry):
    """Has the subjects of two tenants, and takes nothing of the second's."""

    def do_GET(self) -> None:
        self._answer(["acme.audio.frames-value", "apex.audio.frames-value"])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"is_compatible": "acme" in self.path})


def test_a_registry_is_asked_about_the_subjects_of_every_tenant() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), RegistryOfTwo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = list(registry(case(registry__url=address, topics__tenants='["acme", "apex"]')))
        server.shutdown()
    assert levels(found) == {"registry": Severity.OK, f"{Topics('apex').frames}-value": Severity.BROKEN}


# -- on the embedded broker -----------------------------------------------------------------------------


def test_on_a_broker_that_may_not_be_asked_for_configurations_only_topics_are_looked_at() -> None:
    with embedded_broker((TOPICS.frames, *TOPICS.outputs)) as broker:
        asked = case(kafka__bootstrap_servers=broker, kafka__embedded="true")
        found = _examined("topics", topics, asked)
    assert levels(found) == {TOPICS.frames: Severity.OK}
    with embedded_broker((TOPICS.frames,)) as broker:
        asked = case(kafka__bootstrap_servers=broker, kafka__embedded="true")
        found = _examined("topics", topics, asked)
    assert levels(found) == dict.fromkeys(TOPICS.outputs, Severity.BROKEN)


# -- what is judged ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("back_ms", "level"),
    [(0, Severity.OK), (100, Severity.OK), (700, Severity.WARN), (1200, Severity.BROKEN)],
)
def test_clocks_that_step_back_further_than_the_margin_are_broken(back_ms: int, level: Severity) -> None:
    assert judged_steps(back_ms, "audio.frames[0]@7", TOPICS.frames, 1.0).level is level


@pytest.mark.parametrize(
    ("behind_s", "level"), [(8, Severity.OK), (40, Severity.WARN), (100, Severity.BROKEN)]
)
def test_the_mark_may_be_a_segment_behind_and_a_little_more(behind_s: int, level: Severity) -> None:
    marked_ms = STANDING.marked_ms or 0
    late = replace(STANDING, last_ms=marked_ms + behind_s * 1000)
    found = _lag(case(), TOPICS.frames, [STANDING, replace(late, number=3)])
    assert found.level is level
    assert "audio.frames[3]@900; 200 records in all" in found.found


def test_how_far_the_mark_may_be_behind_follows_from_the_models_own_hop(tiny_model: Path) -> None:
    marked_ms = STANDING.marked_ms or 0
    late = replace(STANDING, last_ms=marked_ms + 25_000)  # 20 windows of 0.1 s, and 20 s; not of 0.5 s
    assert _lag(case(model__path=str(tiny_model)), TOPICS.frames, [late]).level is Severity.WARN
    assert _lag(case(model__path=str(tiny_model / "none")), TOPICS.frames, [late]).level is Severity.OK


@pytest.mark.parametrize(
    ("age", "level"), [(0.1, Severity.OK), (0.6, Severity.WARN), (0.95, Severity.BROKEN)]
)
def test_what_is_left_until_retention_takes_what_is_needed_says_how_urgent_it_is(
    age: float, level: Severity
) -> None:
    kept_ms = 3_600_000
    old = replace(STANDING, number=5, marked_ms=round(NOW_S * 1000 - age * kept_ms))
    (found,) = _retention(TOPICS.frames, [STANDING, old], kept_ms, NOW_S * 1000)
    assert found.level is level
    assert "until retention removes what audio.frames[5] still needs" in found.found
    assert list(_retention(TOPICS.frames, [old], None, NOW_S * 1000)) == []
    assert list(_retention(TOPICS.frames, [old], -1, NOW_S * 1000)) == []


def test_what_retention_has_removed_unread_is_broken_however_long_it_keeps() -> None:
    lost = replace(STANDING, low=950)
    assert lost.behind == 50
    assert "in partitions [0]" in says(_retention(TOPICS.frames, [lost], -1, NOW_S * 1000), Severity.BROKEN)


def topic_on(replicas: int, in_sync: int, minimum: int, *, led: bool = True) -> Found:
    nodes = [Node(number, "kafka", 9092) for number in range(replicas)]
    leader: Any = nodes[0] if led else None
    partition = TopicPartitionInfo(4, leader, nodes, nodes[:in_sync])
    return Found(TOPICS.frames, {4: partition}, {"min.insync.replicas": str(minimum)})


@pytest.mark.parametrize(
    ("topic", "brokers", "said"),
    [
        (topic_on(3, 3, 2), 3, {}),
        (topic_on(1, 1, 1), 1, {}),
        (topic_on(1, 1, 1), 3, {"on one disk": Severity.WARN}),
        (topic_on(3, 2, 2), 3, {"partitions 4 miss a replica": Severity.WARN}),
        (topic_on(3, 1, 2), 3, {"nothing is taken": Severity.BROKEN}),
        (topic_on(3, 3, 3), 3, {"one broker away stops it": Severity.WARN}),
        (topic_on(3, 3, 2, led=False), 3, {"nobody leads partitions 4": Severity.BROKEN}),
    ],
)
def test_copies_that_are_missing_are_told(topic: Found, brokers: int, said: dict[str, Severity]) -> None:
    found = list(_copies(topic, brokers))
    assert [finding.level for finding in found] == list(said.values())
    assert all(text in finding.found for text, finding in zip(said, found, strict=True))


def test_coverage_of_everything_is_well_and_what_was_missed_is_told_by_sensor() -> None:
    scored = replace(COVERAGE, sensor="hall", outcome=Outcome.SCORED, start_sample=0, end_sample=160_000)
    gap = replace(scored, sensor="roof", outcome=Outcome.GAP, end_sample=8_000)
    assert says(_outcomes(TOPICS, [scored]), Severity.OK)
    assert levels(_outcomes(TOPICS, [])) == {TOPICS.coverage: Severity.OK}
    few = list(_outcomes(TOPICS, [scored, gap]))
    assert "GAP: 4.8% of the sound of the last 5 min, most of it of roof 100%" in says(few, Severity.WARN)
    assert "GAP" in says(_outcomes(TOPICS, [scored, gap, gap]), Severity.BROKEN)
    failed = replace(gap, outcome=Outcome.FAILED)
    assert "FAILED" in says(_outcomes(TOPICS, [scored, failed]), Severity.BROKEN)
    assert "EXPIRED: audio.frames[0]@5 to @9" in says(_outcomes(TOPICS, [EXPIRED]), Severity.BROKEN)


def test_workers_that_decide_otherwise_than_these_settings_are_told(tiny_model: Path) -> None:
    here = case(model__path=str(tiny_model))
    assert here.decision is not None
    here.courses[TOPICS] = Course(here.decision)
    same = replace(COVERAGE, decision_digest=here.decision.digest)
    assert levels(_digests(here, TOPICS, [same])) == {TOPICS.coverage: Severity.OK}
    assert levels(_digests(here, TOPICS, [same, COVERAGE])) == {TOPICS.coverage: Severity.WARN}
    assert list(_digests(here, TOPICS, [])) == []


def test_after_a_rollout_workers_may_decide_by_what_was_rolled_out_and_for_a_while_by_both(
    tiny_model: Path,
) -> None:
    here = case(model__path=str(tiny_model))
    assert here.decision is not None
    other = Decision(here.decision.spec.model_copy(update={"version": "2"}), here.decision.rules)
    one, two = (replace(COVERAGE, decision_digest=d.digest) for d in (here.decision, other))
    here.courses[TOPICS] = Course(here.decision, [Stage(round(here.now_ms - 60_000), other)])
    assert levels(_digests(here, TOPICS, [one, two])) == {TOPICS.coverage: Severity.OK}
    here.courses[TOPICS] = Course(here.decision, [Stage(round(here.now_ms - 3_600_000), other)])
    assert levels(_digests(here, TOPICS, [one, two])) == {TOPICS.coverage: Severity.WARN}
