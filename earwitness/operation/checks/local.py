"""What is here: versions, the schema registry as seen from here, the model and its scorer."""

import asyncio
import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from time import monotonic

from earwitness.operation.checks.finding import Case, Finding, broken, ok, warn
from schemas.codec import released_schemas

REGISTRY_TIMEOUT_S = 5.0
TIMED_WINDOWS = 5


def versions(_: Case) -> Iterator[Finding]:
    """Say what this program is made of."""
    import confluent_kafka
    import onnxruntime

    parts = {
        "earwitness": version("earwitness"),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "onnxruntime": onnxruntime.__version__,
    }
    yield ok("versions", ", ".join(f"{name} {number}" for name, number in parts.items()))
    schemas = ", ".join(f"{name} {len(released)}" for name, released in sorted(released_schemas().items()))
    yield ok("schemas", f"newest versions: {schemas}")


def registry(case: Case) -> Iterator[Finding]:
    """Look whether the registry answers and knows, or would take, what is written here. Registers nothing."""
    url = case.settings.registry.url
    if url is None:
        yield ok("registry", "none is configured: records carry fingerprints")
        return
    from confluent_kafka.schema_registry import Schema

    client = case.settings.registry_client(url, timeout=REGISTRY_TIMEOUT_S)
    try:
        names = set(client.get_subjects())
    except Exception as exc:  # noqa: BLE001 - the client lets the errors of its HTTP library through
        advice = "bring it back, or see to registry.url and its password: frames framed by it cannot be read"
        yield broken("registry", f"does not answer: {type(exc).__name__}: {exc}", advice)
        return
    yield ok("registry", f"answers, with {len(names)} subjects")
    for subjects in case.settings.subjects():
        for name, subject in subjects.items():
            schema = Schema(json.dumps(released_schemas()[name][-1]), "AVRO")
            if subject in names and not client.test_compatibility(subject, schema):
                yield broken(subject, f"does not take our {name}", "see who registered another schema there")


def model(case: Case) -> Iterator[Finding]:
    """Read the model, score windows with it, and say what it is."""
    import numpy as np

    from processors.score import OnnxScorer

    settings = case.settings
    decision = settings.decision()
    spec, scorer = decision.spec, OnnxScorer(settings.model_directory, decision.spec, settings.scorer)
    noise = np.random.default_rng(0).integers(-3000, 3000, (1, spec.window_samples)).astype(np.int16)
    since_s = monotonic()
    scores = np.concatenate([scorer.run(noise) for _ in range(TIMED_WINDOWS)])
    took_ms = (monotonic() - since_s) * 1000 / TIMED_WINDOWS
    asyncio.run(scorer.close())
    labels = f"{len(spec.labels)} labels, licence {spec.licence}, digest {spec.digest[:12]} as its spec says"
    yield ok("model", f"{spec.reference}: {labels}; decision {decision.digest[:12]}")
    if not np.isfinite(scores).all():
        yield broken("model", "gives scores that are no numbers", "export or import it again")
    pace = f"{took_ms:.1f} ms a window alone, which stands for {spec.hop_s * 1000:.0f} ms of sound"
    if took_ms > spec.hop_s * 1000:
        yield warn("scorer", f"{scorer.identity}: {pace}", "not one sensor can be followed: a smaller model")
    else:
        yield ok("scorer", f"{scorer.identity}: {pace}")
