"""Schema registry: ids to Avro schemas and back, through Confluent's client.

The client blocks: the shell calls it outside its event loop. One that is away is asked again after a moment
at the earliest: whoever reads a thousand records then waits for it a few times, and not a thousand times.
"""

from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from schemas.errors import ConfigurationError, SchemaUnresolvedError, UnknownSchemaError

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

BAD_REQUEST, NOT_FOUND, SERVER_ERROR = 400, 404, 500
DENIED, NO_ANSWERS = (401, 403), (401, 403, 408, 429)
"""Statuses that say nothing of a schema, as those from 500 on do: with a right password there may be one."""
MAX_ID = 2**31 - 1
AWAY_S = 0.4
"""For how long one that gave no answer is not asked again."""
BOUNDED = {"timeout": 3.0, "max.retries": 1, "retries.wait.ms": 200}
"""Options for the client: one that hangs is given up after about 6 s. Without them it waits for ever."""


class SchemaRegistry(Protocol):
    """What the codec needs of a registry."""

    def register(self, subject: str, schema: str) -> int:
        """Return the id of an Avro schema (JSON text) under a subject, registering it if need be."""
        ...

    def schema(self, schema_id: int) -> str:
        """Return the Avro schema (JSON text) with this id.

        Raises:
            UnknownSchemaError: the registry says that there is none, or that it is not Avro.
            SchemaUnresolvedError: the registry did not answer.

        """
        ...


class ConfluentRegistry:
    """A registry that speaks Confluent's protocol, such as Confluent's own, Karapace or Apicurio."""

    def __init__(self, client: "SchemaRegistryClient") -> None:
        self._client, self._away_until_s = client, 0.0

    def register(self, subject: str, schema: str) -> int:
        """Return the id of an Avro schema (JSON text) under a subject, registering it if need be.

        Raises:
            ConfigurationError: the registry does not answer, or refuses the schema.

        """
        from confluent_kafka.schema_registry import Schema  # slow to import, and most have no registry

        try:
            return int(self._client.register_schema(subject, Schema(schema, "AVRO")))
        except Exception as exc:
            key = "registry.url"
            if getattr(exc, "http_status_code", None) in DENIED:
                key = "registry.user or registry.password"
            # Not every error of the HTTP library has a text.
            accepted = f"a registry that answers and takes {subject}: {exc or type(exc).__name__}"
            raise ConfigurationError(key, "not usable", accepted) from exc

    def schema(self, schema_id: int) -> str:
        """Return the Avro schema (JSON text) with this id."""
        if schema_id > MAX_ID:
            raise UnknownSchemaError(f"id {schema_id}", "registries count in 31 bits")
        if monotonic() < self._away_until_s:
            raise SchemaUnresolvedError(schema_id)
        try:
            return self._ask(schema_id)
        except SchemaUnresolvedError:
            self._away_until_s = monotonic() + AWAY_S
            raise

    def _ask(self, schema_id: int) -> str:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            found = self._client.get_schema(schema_id)
        except SchemaRegistryError as exc:
            if exc.http_status_code == NOT_FOUND:
                raise UnknownSchemaError(f"id {schema_id}", "the registry has none") from exc
            if BAD_REQUEST <= exc.http_status_code < SERVER_ERROR and exc.http_status_code not in NO_ANSWERS:
                raise UnknownSchemaError(f"id {schema_id}", f"the registry says: {exc}") from exc
            raise SchemaUnresolvedError(schema_id) from exc
        except Exception as exc:  # the client lets the errors of its HTTP library through
            raise SchemaUnresolvedError(schema_id) from exc
        if (found.schema_type or "AVRO") != "AVRO" or found.schema_str is None:
            raise UnknownSchemaError(f"id {schema_id}", f"its type is {found.schema_type}, not AVRO")
        return str(found.schema_str)


def bare(schema: Any) -> Any:
    """Return a foreign schema without logical types, which are not part of what is compared or stored.

    Raises:
        UnknownSchemaError: it has items of no size, of which a few bytes may claim any number.

    """
    if isinstance(schema, list):
        return [bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "null" in (schema.get("items"), schema.get("values")):
        raise UnknownSchemaError(str(schema.get("name", "array")), "items of no size are not accepted")
    return {key: bare(part) for key, part in schema.items() if key != "logicalType"}
