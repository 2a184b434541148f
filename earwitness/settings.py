"""File, environment, flags -> one frozen tree of settings, read once, passed down by slice.

Flags win over the environment (`EARWITNESS_KAFKA__BOOTSTRAP_SERVERS`), which wins over the file
(`earwitness.toml`, or `--config FILE`). A key that does not exist is an error wherever it comes from.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from earwitness.client_options import check_passed_through
from models.catalogue import find
from processors.batch import BatchSettings
from processors.decision import Decision, DecisionSettings
from processors.membership import Connections, StatusSettings, WorkerSettings
from processors.score import ScorerSettings
from processors.security import Security
from producers.client import PublisherSettings
from producers.spool import SpoolSettings
from schemas.codec import Codec, Format
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame
from schemas.model import ModelSpec, Probability, read_spec
from schemas.registry import BOUNDED, ConfluentRegistry
from schemas.rollout import Rollout
from schemas.sensor import SensorState
from schemas.topics import Topics

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

ENV_PREFIX, ENV_DELIMITER = "EARWITNESS_", "__"
CONFIG_FILE = "earwitness.toml"
DEFAULT_MODEL = "earwitness-small/2"
GATHERED_TIMES = 4
"""How many times as long as windows and frames wait for company a deadline must be: there is more to do."""
HOP_TOLERANCE_SAMPLES = 1e-6
"""0.28 s at 44,100 Hz is 12348.000000000002 samples in binary fractions."""
_NOT_SETTINGS = {"EARWITNESS_CACHE"}
Tenant = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=100)]


def _from_json(value: object) -> object:
    """Read what flags give as text; the environment and the file give it parsed."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"a list or a table, written as JSON: {exc}") from exc


Json = BeforeValidator(_from_json)
Scalars = dict[str, str | int | float | bool]


def _passed_through(options: Scalars) -> Scalars:
    check_passed_through(options)
    return options


class _Slice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class KafkaSettings(_Slice):
    """Which Kafka, and who we are to it."""

    bootstrap_servers: Annotated[str, Field(min_length=1)] = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: str | None = None
    ssl_certificate_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: SecretStr | None = None
    oauth_token_url: str | None = Field(default=None, repr=False)
    """With OAUTHBEARER: gives tokens for sasl_username and sasl_password, a client's id and its secret."""
    oauth_scope: str | None = None
    client: Annotated[Scalars, Json, AfterValidator(_passed_through)] = Field(default={}, repr=False)
    """Further options for librdkafka's clients, passed through; none of who we are and whom we believe."""
    embedded: bool = False
    """The broker is librdkafka's in-memory one: no append times, no administration."""

    @property
    def security(self) -> Security:
        """The same as the clients need it."""
        return Security(
            protocol=self.security_protocol,
            mechanism=self.sasl_mechanism,
            username=self.sasl_username,
            password=_revealed(self.sasl_password),
            ca_file=self.ssl_ca_file,
            certificate_file=self.ssl_certificate_file,
            key_file=self.ssl_key_file,
            key_password=_revealed(self.ssl_key_password),
            oauth_url=self.oauth_token_url,
            oauth_scope=self.oauth_scope,
        )

    def librdkafka(self) -> dict[str, Any]:
        """Return the options for confluent-kafka's clients; they hold secrets."""
        security = self.security.librdkafka()
        return {"bootstrap.servers": self.bootstrap_servers, **security, **self.client}


class RegistrySettings(_Slice):
    """Which schema registry; none by default."""

    url: str | None = Field(default=None, repr=False)
    user: str | None = None
    password: SecretStr | None = None


class TopicSettings(_Slice):
    """Whose topics: `audio.frames`, or `<tenant>.audio.frames`."""

    tenants: Annotated[tuple[Tenant, ...], Json, Field(min_length=1)] = ("",)
    backfill: bool = False
    """Work on `audio.frames.backfill`, sound of the past, instead; in a group of its own."""
    shadow: bool = False
    """Hear what rollouts put in the shadow of a model, and nothing else; in a group of its own."""


class SensorSettings(_Slice):
    """Which sensors there should be."""

    expected: Path | None = None
    """A file with one id a line, of the first tenant; what follows a # is a comment."""


class ModelSettings(_Slice):
    """Which model, and when its labels count if not as its spec says."""

    path: str = DEFAULT_MODEL
    """A name in the catalogue, or a directory with model.onnx and spec.json."""
    catalogue: Path | None = None
    """A directory with models of one's own, `<name>/<version>/`, besides those that ship."""
    m: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    thresholds: Annotated[dict[str, Probability], Json] = {}


class WindowSettings(_Slice):
    """Where windows lie, if not as the model's spec says."""

    hop_s: Annotated[float, Field(gt=0)] | None = None


class OutputSettings(_Slice):
    """How a worker writes what services read."""

    format: Format = Format.AVRO
    """Of detections, coverage and sensors; frames are always Avro."""


class LogSettings(_Slice):
    """What the program says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    topics: TopicSettings = TopicSettings()
    model: ModelSettings = ModelSettings()
    window: WindowSettings = WindowSettings()
    detect: DecisionSettings = DecisionSettings()
    batch: BatchSettings = BatchSettings()
    scorer: ScorerSettings = ScorerSettings()
    worker: WorkerSettings = WorkerSettings()
    sensors: SensorSettings = SensorSettings()
    output: OutputSettings = OutputSettings()
    publisher: PublisherSettings = PublisherSettings()
    spool: SpoolSettings = SpoolSettings()
    status: StatusSettings = StatusSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: what was given to the constructor (flags), the environment, the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def tenant(self) -> Topics:
        """The topics of the first tenant: where one sensor writes and one reader reads."""
        return Topics(self.topics.tenants[0])

    @property
    def frames_topics(self) -> tuple[str, ...]:
        """What workers read: the frames topics of all tenants, or their backfills."""
        tenants = [Topics(tenant) for tenant in self.topics.tenants]
        return tuple(topics.backfill if self.topics.backfill else topics.frames for topics in tenants)

    def codec(self) -> Codec:
        """Make the codec, with the schema registry if there is one; nothing is registered yet.

        Raises:
            ConfigurationError: the registry cannot be used.

        """
        if self.registry.url is None:
            return Codec(output=self.output.format)
        registry = ConfluentRegistry(self.registry_client(self.registry.url))
        first, *others = self.subjects()
        return Codec(registry, first, self.output.format, others)

    def subjects(self) -> list[dict[str, str]]:
        """Return, for each tenant, each kind of record's subject, named as Confluent's clients do it."""
        return [
            {
                AudioFrame.NAME: f"{topics.frames}-value",
                Detection.NAME: f"{topics.detections}-value",
                Coverage.NAME: f"{topics.coverage}-value",
                SensorState.NAME: f"{topics.sensors}-value",
                Rollout.NAME: f"{topics.control}-value",
            }
            for topics in map(Topics, self.topics.tenants)
        ]

    def registry_client(self, url: str, **more: float) -> "SchemaRegistryClient":
        """Make a client of the schema registry; `more` of its options may be given.

        Raises:
            ConfigurationError: its settings contradict.

        """
        from confluent_kafka.schema_registry import SchemaRegistryClient

        if "@" in url:
            accepted = "a URL without a name and a password: there are registry.user and registry.password"
            raise ConfigurationError("registry.url", "(hidden)", accepted)
        if self.registry.password is not None and self.registry.user is None:
            raise ConfigurationError("registry.user", None, "a name, where there is a password")
        options: dict[str, Any] = {"url": url, **BOUNDED, **more}
        if self.registry.user is not None:
            secret = _revealed(self.registry.password) or ""
            options["basic.auth.user.info"] = f"{self.registry.user}:{secret}"
        try:
            return SchemaRegistryClient(options)
        except Exception as exc:  # httpx has errors of its own for what is no URL
            accepted = "http://host:port or https://host:port, or several with commas between them"
            raise ConfigurationError("registry.url", url.partition("?")[0], accepted) from exc

    def decision(self) -> Decision:
        """Read the model, and put what is set here over what its spec says.

        Raises:
            ConfigurationError: the model cannot be used, or nothing could ever be detected with it.

        """
        return Decision(self._spec(), self.detect)

    @property
    def model_directory(self) -> Path:
        """Where the model is."""
        return find(self.model.path, self.model.catalogue)

    def connections(self) -> Connections:
        """Return what a worker needs to reach Kafka.

        Raises:
            ConfigurationError: a worker of the backfill or of shadows would join the group of the live ones;
                one that sheds could hear nothing in time.

        """
        if self.topics.shadow and (self.topics.backfill or self.kafka.embedded):
            accepted = "false with topics.backfill, and with kafka.embedded, which has no rollouts"
            raise ConfigurationError("topics.shadow", True, accepted)
        self._check_overload()
        for role, others in (("backfill", self.topics.backfill), ("shadow", self.topics.shadow)):
            if others and self.worker.group == WorkerSettings().group:
                accepted = f"a group of its own while topics.{role} is set, such as earwitness-{role}"
                raise ConfigurationError("worker.group", self.worker.group, accepted)
        servers = self.kafka.bootstrap_servers.split(",")
        return Connections(
            client=self.kafka.librdkafka(),
            broker_urls=tuple(f"kafka://{server.strip()}" for server in servers),
            faust_credentials=self.kafka.security.faust(),
            frames_topics=self.frames_topics,
            shadow=self.topics.shadow,
            log_append_time=not self.kafka.embedded,
        )

    def _check_overload(self) -> None:
        worker = self.worker
        if worker.overload == "lag":
            return
        if self.topics.backfill:
            raise ConfigurationError(
                "worker.overload", "shed", "lag with topics.backfill, which is of the past"
            )
        least_ms = GATHERED_TIMES * (worker.fetch_max_wait_ms + self.batch.max_wait_ms)
        if worker.deadline_ms < least_ms:
            waits = f"{GATHERED_TIMES} times worker.fetch_max_wait_ms and batch.max_wait_ms together"
            raise ConfigurationError(
                "worker.deadline_ms", worker.deadline_ms, f"{least_ms:g} or more: {waits}"
            )

    def _spec(self) -> ModelSpec:
        spec = read_spec(self.model_directory)
        unknown = sorted(set(self.model.thresholds) - set(spec.labels))
        if unknown:
            raise ConfigurationError("model.thresholds", unknown, f"labels of the model: {spec.labels}")
        hop, m, n = self._hop_samples(spec), self.model.m or spec.m, self.model.n or spec.n
        if m > n:
            raise ConfigurationError(
                "model.m", m, f"at most model.n, {n}: only so many windows are looked at"
            )
        if hop > spec.window_samples:
            skips = "sound between two windows would never be heard"
            raise ConfigurationError(
                "window.hop_s", self.window.hop_s, f"at most a window, {spec.window_s:g} s: {skips}"
            )
        changed = {
            "hop_samples": hop,
            "m": m,
            "n": n,
            "m_of_n": None if self.model.m or self.model.n else spec.m_of_n,
            "thresholds": {**spec.thresholds, **self.model.thresholds},
        }
        try:
            return ModelSpec.model_validate({**spec.model_dump(), **changed})
        except ValidationError as exc:
            raise _refusal(exc, "model") from exc

    def _hop_samples(self, spec: ModelSpec) -> int:
        if self.window.hop_s is None:
            return spec.hop_samples
        exact = self.window.hop_s * spec.sample_rate_hz
        samples = round(exact)
        if samples < 1 or abs(exact - samples) > HOP_TOLERANCE_SAMPLES:
            whole = f"a whole number of samples at {spec.sample_rate_hz} Hz"
            raise ConfigurationError("window.hop_s", self.window.hop_s, whole)
        return samples


def load_settings(config: Path | None = None, flags: Mapping[str, str] | None = None) -> Settings:
    """Read the settings: `flags` maps dotted keys (`kafka.bootstrap_servers`) to values.

    Raises:
        ConfigurationError: a key does not exist, a value cannot work, or the file cannot be read.

    """
    if config is not None and not _is_file(config):
        raise ConfigurationError("--config", str(config), "a TOML file that exists")
    _refuse_unknown_environment()
    given: dict[str, Any] = {}
    for key, value in (flags or {}).items():
        _put(given, key, value)
    try:
        return _with_file(config or Path(CONFIG_FILE))(**given)
    except ValidationError as exc:
        raise _refusal(exc) from exc
    except (
        ValueError,
        RecursionError,
        OSError,
    ) as exc:  # tomllib's are ValueErrors, as the environment's are
        source = "environment" if isinstance(exc, SettingsError) else str(config or CONFIG_FILE)
        raise ConfigurationError("settings", source, f"values that parse: {exc}") from exc


def _is_file(path: Path) -> bool:
    """Return whether settings can be read from it; what has no end cannot, and from a pipe none would be."""
    try:
        return path.is_file() or path == Path(os.devnull)
    except OSError:  # a name that is too long
        return False


def _with_file(path: Path) -> type[Settings]:
    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    return FromFile


def _put(tree: dict[str, Any], key: str, value: str) -> None:
    *path, last = key.split(".")
    for name in path:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(name or key, "given as a whole and in part", "one of the two")
    tree[last] = value


def _refuse_unknown_environment() -> None:
    for name in sorted(os.environ):
        if name.upper().startswith(ENV_PREFIX) and name not in _NOT_SETTINGS:
            first = name[len(ENV_PREFIX) :].split(ENV_DELIMITER)[0].lower()
            if first not in Settings.model_fields:
                known = ", ".join(
                    f"{ENV_PREFIX}{field.upper()}{ENV_DELIMITER}…" for field in Settings.model_fields
                )
                raise ConfigurationError(f"environment variable {name}", "unknown", known)


def _refusal(exc: ValidationError, within: str | None = None) -> ConfigurationError:
    """Say the first thing that is wrong, without any secret."""
    error = exc.errors(include_url=False, include_input=True)[0]
    key = ".".join(str(part) for part in (*((within,) if within else ()), *error["loc"])) or "(no name)"
    # A section as a whole may hold any of its keys, where a file says it is a list or a text.
    secret = key in ("kafka", "registry") or any(
        word in key for word in ("password", "secret", "client", "token")
    )
    value = "(hidden)" if secret else error["input"]
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        # Not the value: it may be a password whose key is misspelt.
        return ConfigurationError(key, "unknown", _siblings(error["loc"]))
    return ConfigurationError(key, value, str(error["msg"]).removeprefix("Value error, "))


def _siblings(location: tuple[int | str, ...]) -> str:
    fields = Settings.model_fields
    if len(location) > 1 and location[0] in fields:
        kind: Any = fields[str(location[0])].annotation
        names = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
        return ", ".join(f"{location[0]}.{name}" for name in names)
    return ", ".join(fields)


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
