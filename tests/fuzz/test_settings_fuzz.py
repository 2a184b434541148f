"""Settings from anybody: they load, or one ConfigurationError names the key; no secret is ever shown."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earwitness.settings import Settings, load_settings
from schemas.errors import ConfigurationError

EXAMPLES = int(os.environ.get("EARWITNESS_FUZZ_EXAMPLES", "25"))
SECRET = "hunter2-is-nobodys-password"  # noqa: S105 - nobody's
LONGEST_MESSAGE = 4000
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _known() -> list[str]:
    found = []
    for section, field in Settings.model_fields.items():
        kind: Any = field.annotation
        names = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
        found += [f"{section}.{name}" for name in names]
    return found


KNOWN = _known()
SECRETS = (
    "kafka.sasl_password",
    "kafka.ssl_key_password",
    "registry.password",
    "kafka.sasl_pasword",
    "kafka.client",
)
shapes = st.sampled_from(
    [SECRET, [SECRET], [{"password": SECRET}], {"sasl.password": SECRET}, {"x": [SECRET]}]
)
names = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["password", "__", ".", "kafka", "läuft", "a" * 3000]
)
keys = st.sampled_from([*KNOWN, *SECRETS]) | st.builds(
    "{}.{}".format, st.sampled_from([*Settings.model_fields]), names
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, -0.0, math.nan, math.inf, -math.inf])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "1", "nan", "1e400", "[]", "{}", "[[", "null", "\x00", "../..", "http://[", "http://"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def no_settings_of_this_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("EARWITNESS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def check(config: Path | None = None, flags: Mapping[str, str] | None = None) -> bool:
    """Load settings and make of them what programs make; say whether they are any good."""
    refused: ConfigurationError | None = None
    try:
        found = load_settings(config, flags)
        assert SECRET not in repr(found)
        found.connections()
        found.codec()
        found.decision()
    except ConfigurationError as exc:
        refused = exc
    if refused is not None:
        assert refused.key
        assert SECRET not in str(refused)
        assert len(str(refused)) < LONGEST_MESSAGE
    return refused is None


def as_toml(value: Any) -> str:
    """Write a value as TOML writes it, as far as it can."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


@BOUNDED
@given(
    st.dictionaries(keys, values, max_size=4), st.dictionaries(st.sampled_from(SECRETS), shapes, max_size=2)
)
def test_a_file_of_any_values_loads_or_is_refused_by_key(
    tmp_path: Path, given_values: dict[str, Any], secrets: dict[str, Any]
) -> None:
    sections: dict[str, dict[str, Any]] = {}
    for key, value in (given_values | secrets).items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    lines = [
        f"[{section}]\n"
        + "\n".join(f"{json.dumps(name)} = {as_toml(value)}" for name, value in found.items())
        for section, found in sections.items()
    ]
    file = tmp_path / "any.toml"
    file.write_text("\n".join(lines), "utf-8", "surrogatepass")
    check(file)


@BOUNDED
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda x: x.encode("utf-8", "surrogatepass")))
def test_a_file_of_any_bytes_loads_or_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "any.toml"
    file.write_bytes(b"[batch]\nmax_windows = 8\n" + data)
    check(file)


@BOUNDED
@given(st.dictionaries(keys | names | st.just(""), scalars.map(str) | values.map(as_toml), max_size=4))
def test_flags_of_any_text_load_or_are_refused_by_key(flags: dict[str, str]) -> None:
    check(flags=flags)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


@BOUNDED
@given(
    st.dictionaries(
        st.sampled_from(KNOWN).map(lambda key: key.replace(".", "__"))
        | st.sampled_from([*Settings.model_fields])
        | st.from_regex(r"[A-Za-z_]{1,12}", fullmatch=True),
        (scalars.map(str) | values.map(as_toml)).filter(lambda text: "\x00" not in text),
        max_size=4,
    )
)
def test_variables_of_any_text_load_or_are_refused_by_key(variables: dict[str, str]) -> None:
    named = {
        f"EARWITNESS_{key.upper()}": text.encode("utf-8", "replace").decode()
        for key, text in variables.items()
    }
    with environment(named):
        check()


@pytest.mark.parametrize("depth", [500, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_values_nested_deeper_than_anybody_means_are_refused(
    tmp_path: Path, opening: str, depth: int
) -> None:
    deep = opening * depth
    for flags in ({"kafka.client": deep}, {"model.thresholds": deep}, {"topics.tenants": deep}):
        assert not check(flags=flags)
    file = tmp_path / "deep.toml"
    file.write_text("[model]\nthresholds = " + deep.replace(":", " = "), "utf-8")
    assert not check(file)
    if depth < 1000:
        with environment({"EARWITNESS_KAFKA__CLIENT": deep}):
            assert not check()


@pytest.mark.parametrize(
    "text",
    [
        f'[[kafka]]\nsasl_password = "{SECRET}"\n',
        f'kafka = "{SECRET}"\n',
        f'registry = ["{SECRET}"]\n',
        f'[kafka]\nsasl_password = ["{SECRET}"]\n',
        f'[kafka]\nsasl_pasword = "{SECRET}"\n',
        f'[kafka.client]\n"sasl.password" = ["{SECRET}"]\n',
        f'[registry]\nurl = "http://us:{SECRET}@host"\n',
        f'[registry]\nurl = "ftp://host/?password={SECRET}"\n',
        f'[registry]\npassword = "{SECRET}\n',
        f'[registry.password]\nvalue = "{SECRET}"\n',
        f'[worker]\nkafka = {{ sasl_password = "{SECRET}" }}\n',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret.toml"
    file.write_text(text, "utf-8")
    assert not check(file)


@pytest.mark.parametrize("path", ["/dev/zero", ".", "missing.toml", "x" * 5000, "fifo"])
def test_what_is_no_file_of_settings_is_refused_without_reading_it(tmp_path: Path, path: str) -> None:
    with suppress(FileExistsError):
        os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigurationError, match="--config"):
        load_settings(Path(path))


@pytest.mark.parametrize("key", ["model.path", "model.catalogue", "sensors.expected", "kafka.ssl_ca_file"])
@pytest.mark.parametrize("value", ["x" * 5000, "a\x00b", "/dev/zero", "/"])
def test_paths_that_cannot_be_are_refused_where_they_are_used(key: str, value: str) -> None:
    check(flags={key: value})
