"""Settings -> findings: what is wrong, how bad it is, what to do.

Checks run at the same time and cannot take each other down: one that fails, or may not look, says so. Where
no broker answers, those that need one are left out.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaError, KafkaException

from earwitness.operation.checks.clocks import clocks
from earwitness.operation.checks.cluster import brokers, topics
from earwitness.operation.checks.finding import TIMEOUT_S, Case, Check, Finding, broken, warn
from earwitness.operation.checks.local import model, registry, versions
from earwitness.operation.checks.said import coverage, dead_letters, sensors
from earwitness.operation.checks.scoring import scoring
from earwitness.operation.checks.workers import workers
from processors.reasons import first_answer
from schemas.errors import ConfigurationError, EarwitnessError

logger = logging.getLogger(__name__)

HERE: dict[str, Check] = {"versions": versions, "model": model, "registry": registry}
ON_KAFKA: dict[str, Check] = {
    "brokers": brokers,
    "topics": topics,
    "scoring": scoring,
    "clocks": clocks,
    "workers": workers,
    "coverage": coverage,
    "dead-letters": dead_letters,
    "sensors": sensors,
}
CHECKS = {**HERE, **ON_KAFKA}
AT_ONCE = 4
_FORBIDDEN = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


def examine(case: Case, only: tuple[str, ...] = ()) -> Iterator[tuple[str, Finding]]:
    """Yield what each check found, with its name, in order.

    Raises:
        ConfigurationError: `only` names a check that does not exist.

    """
    unknown = sorted(set(only) - set(CHECKS))
    if unknown:
        raise ConfigurationError("--only", ", ".join(unknown), ", ".join(CHECKS))
    wanted = {name: check for name, check in CHECKS.items() if not only or name in only}
    away = _away(case) if set(wanted) & set(ON_KAFKA) else None
    if away is not None:
        wanted = {name: check for name, check in wanted.items() if name in HERE}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
        running = {name: pool.submit(_examined, name, check, case) for name, check in wanted.items()}
        for name, findings in running.items():
            for finding in findings.result():
                yield name, finding
    if away is not None:
        yield "brokers", away


def _away(case: Case) -> Finding | None:
    """Say that no broker answers, if none does, and why as far as the client knows."""
    servers = case.settings.kafka.bootstrap_servers
    try:
        first_answer(
            lambda timeout_s: case.admin.list_topics(timeout=timeout_s),
            case.reasons,
            case.admin.poll,
            TIMEOUT_S,
        )
    except KafkaException as exc:
        why = case.reasons.why() or f"; it says: {exc.args[0].str()}"
        found = f"{servers} does not answer within {TIMEOUT_S:g} s{why}; nothing else was looked at there"
        return broken(
            "brokers", found, "see to kafka.bootstrap_servers, the network, the brokers, the password"
        )
    return None


def _examined(name: str, check: Check, case: Case) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(check(case))
    except KafkaException as exc:
        findings.append(_refused(name, exc))
    except TimeoutError:
        found = f"the brokers gave no answer within {TIMEOUT_S:g} s"
        findings.append(broken(name, found, "see to the brokers, and look again"))
    except ConfigurationError as exc:
        findings.append(_unsettled(name, exc))
    except EarwitnessError as exc:
        findings.append(broken(name, str(exc), "put that right, and look again"))
    except Exception as exc:  # one check that fails must not hide what the others find
        logger.debug("check %s", name, exc_info=True)
        advice = "run `earwitness doctor -s log.level=debug`, and report it"
        findings.append(warn(name, f"this check failed itself: {type(exc).__name__}: {exc}", advice))
    return findings


def _unsettled(name: str, exc: ConfigurationError) -> Finding:
    if exc.key.startswith("topic "):  # missing, or not ours to see: `topics` says which, and how bad it is
        return warn(name, f"not looked at: {exc.key}: {exc.value}", "see what is said of that topic")
    return broken(name, str(exc), "put that right, and look again")


def _refused(name: str, exc: KafkaException) -> Finding:
    error = exc.args[0]
    if error.code() in _FORBIDDEN:
        return warn(
            name, f"may not be looked at: {error.str()}", "allow DESCRIBE on topics, group and cluster"
        )
    if error.code() == KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001 - its public name
        return warn(name, f"not looked at: {error.str()}", "see whether the brokers are older than Kafka 2.4")
    return broken(name, error.str(), "see to the brokers")
