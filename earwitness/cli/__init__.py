"""The command line: reads the settings, makes the parts, and says in one line what went wrong."""

import sys

from earwitness.cli import (
    agreement,
    analyse,
    compress,
    evaluate,
    export,
    fleet,
    hear,
    import_model,
    latency,
    models,
    operate,
    rollout,
    schemas,
    topics,
    train,
    trigger,
)
from earwitness.cli.base import WENT_WRONG, WRONG_SETTINGS, app, complain
from schemas.errors import ConfigurationError, EarwitnessError

COMMANDS = (
    hear,
    fleet,
    analyse,
    export,
    operate,
    latency,
    topics,
    models,
    train,
    evaluate,
    compress,
    trigger,
    import_model,
    rollout,
    agreement,
    schemas,
)
"""Importing them registers them, in the order in which the help lists their panels."""

__all__ = ["COMMANDS", "WENT_WRONG", "WRONG_SETTINGS", "app", "main"]


def main() -> None:
    """Run the command line; known errors become one line and an exit code."""
    try:
        app()
    except ConfigurationError as exc:
        complain(f"earwitness: {exc}")
        sys.exit(WRONG_SETTINGS)
    except EarwitnessError as exc:
        complain(f"earwitness: {exc}")
        sys.exit(WENT_WRONG)
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        sys.exit(0)
    except Exception as exc:
        if not _is_kafka_error(exc):
            raise
        complain(f"earwitness: {exc}")
        sys.exit(WENT_WRONG)


def _is_kafka_error(exc: Exception) -> bool:
    from confluent_kafka import KafkaException

    return isinstance(exc, KafkaException)
