"""docker-compose.yml is what the compose specification allows, and no laxer than we want it."""

import json
import re
from copy import deepcopy
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

REPOSITORY = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCHEMA = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
RUN_TO_THE_END = {"topics", "repository"}


@pytest.fixture(scope="module")
def specification() -> Draft202012Validator:
    # As a file: only the schema is wanted, not the program that ships it.
    schema = metadata.distribution("check-jsonschema").locate_file(SCHEMA)
    return Draft202012Validator(json.loads(Path(str(schema)).read_text("utf-8")))


def test_it_follows_the_compose_specification(specification: Draft202012Validator) -> None:
    specification.validate(COMPOSE)


@pytest.mark.parametrize(
    ("key", "value"),
    [("restarts", "always"), ("ports", "8081:8081"), ("healthcheck", {"tests": ["CMD", "true"]})],
)
def test_a_slip_of_the_pen_would_be_noticed(
    specification: Draft202012Validator, key: str, value: object
) -> None:
    slip = deepcopy(COMPOSE)
    slip["services"]["kafka"][key] = value
    with pytest.raises(ValidationError):
        specification.validate(slip)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_or_built_here(name: str) -> None:
    image, built = SERVICES[name]["image"], "build" in SERVICES[name]
    assert built or re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", image)


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_listens_beyond_this_machine(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_gain_privileges_and_each_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["cap_drop"] == ["ALL"]
    assert service["restart"] == ("on-failure:3" if name in RUN_TO_THE_END else "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_every_server_says_whether_it_is_well(name: str) -> None:
    healthcheck = SERVICES[name].get("healthcheck", dockerfile_healthcheck(SERVICES[name]))
    assert "test" in healthcheck or healthcheck == {"disable": True}


def test_what_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in RUN_TO_THE_END else "healthy"
            assert how["condition"].endswith(wanted)
            always = set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", []))
            assert always or how["required"] is False


def test_mounted_files_of_ours_exist() -> None:
    mounts = [str(m) for service in SERVICES.values() for m in service.get("volumes", [])]
    ours = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert ours
    assert all((REPOSITORY / path).exists() for path in ours)


def test_named_volumes_are_declared() -> None:
    mounts = [str(m) for service in SERVICES.values() for m in service.get("volumes", [])]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith((".", "/", "$"))}
    assert named == set(COMPOSE["volumes"])


def test_the_image_copies_what_the_build_context_holds() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = {source for line in lines for source in line.split()}
    allowed = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text("utf-8"), re.M)
    assert copied == set(allowed)
    assert all((REPOSITORY / source).exists() for source in copied)


def test_the_image_and_the_makefile_use_the_same_uv() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    (in_image,) = re.findall(r"uv==([\d.]+)", dockerfile)
    (in_makefile,) = re.findall(r"^UV_VERSION := ([\d.]+)$", makefile, re.MULTILINE)
    assert in_image == in_makefile


def dockerfile_healthcheck(service: dict[str, Any]) -> dict[str, object]:
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    if "build" not in service:
        return {}
    return {"test": re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (.+)$", dockerfile, re.MULTILINE)[0]}
