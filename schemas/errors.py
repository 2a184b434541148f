"""The error tree, sorted by what the shell must do about an error.

EarwitnessError
├── DeadLetterError        one record cannot be used: publish its exact bytes, go on
│   ├── MalformedRecordError   the bytes are not what they claim to be
│   ├── InvalidFrameError      a field of a frame is outside what we accept
│   ├── StaleEpochError        a live sensor's older epoch: two producers for one sensor?
│   └── UnknownSchemaError     nobody can tell how the record was written
├── BacklogFullError       so much waits to be scored that what was fetched must wait, too
├── SchemaUnresolvedError  the registry must be asked first: ask, then decode again
├── ScorerError            a scorer's final word on a batch: its windows are FAILED
├── CaptureError           a source cannot be read: stop this sensor, say which
└── StopError              nothing sensible can go on: stop the program
    ├── ConfigurationError     settings, topics or a model that cannot work
    ├── LogOrderError          the log was not read record by record, in order
    └── DeliveryError          an output could not be published
"""


class EarwitnessError(Exception):
    """Base of every error that Earwitness raises on purpose."""


class DeadLetterError(EarwitnessError):
    """One record cannot be used; its sensor's next frame will be a gap."""


class MalformedRecordError(DeadLetterError):
    """The bytes of a record are not what they claim to be."""


class InvalidFrameError(DeadLetterError):
    """A field of a frame is outside what is accepted."""

    def __init__(self, field: str, value: object, accepted: str) -> None:
        self.field, self.value, self.accepted = field, value, accepted
        super().__init__(f"{field} is {_brief(value)}; accepted: {accepted}")


class StaleEpochError(DeadLetterError):
    """A frame of an older epoch of a live sensor."""

    def __init__(self, epoch: str, live_epoch: str) -> None:
        self.epoch, self.live_epoch = epoch, live_epoch
        super().__init__(
            f"epoch {epoch} is older than the live epoch {live_epoch}: two producers for one sensor?"
        )


class UnknownSchemaError(DeadLetterError):
    """No schema with this fingerprint or id is known."""

    def __init__(self, schema: str, reason: str) -> None:
        self.schema = schema
        super().__init__(f"unknown schema {schema}: {reason}")


class SchemaUnresolvedError(EarwitnessError):
    """The schema registry has to be asked for this id before the record can be decoded."""

    def __init__(self, schema_id: int) -> None:
        self.schema_id = schema_id
        super().__init__(f"schema id {schema_id} has not been looked up in the registry yet")


class BacklogFullError(EarwitnessError):
    """More windows wait than may, or so much was decoded at once: the next records are to be taken later."""


class ScorerError(EarwitnessError):
    """A scorer's final error for a batch of windows."""


class CaptureError(EarwitnessError):
    """A source of sound cannot be opened or read."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        super().__init__(f"cannot capture from {source}: {reason}")


class StopError(EarwitnessError):
    """Nothing sensible can go on; the program stops with this message."""


class ConfigurationError(StopError):
    """A setting, topic or model that cannot work."""

    def __init__(self, key: str, value: object, accepted: str) -> None:
        self.key, self.value, self.accepted = key, value, accepted
        # Longer than what comes from outside may be: a path is of no use without its end.
        super().__init__(f"{key} is {_brief(value, 240)}; accepted: {accepted}")


class LogOrderError(StopError):
    """A record arrived at another offset than the expected one."""


class DeliveryError(StopError):
    """An output could not be published within its delivery timeout."""


def _brief(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
