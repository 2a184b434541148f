"""Prometheus, its alerts and the Grafana dashboard ask only for what a worker really exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from processors.metrics import Metrics

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"
NAME = re.compile(r"\bearwitness_[a-z_]+")
HISTOGRAM_PARTS = re.compile(r"_(bucket|sum|count)$")

DASHBOARD: dict[str, Any] = json.loads(
    (INFRA / "grafana" / "dashboards" / "earwitness.json").read_text("utf-8")
)
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((INFRA / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("file", sorted(INFRA.rglob("*.yml")), ids=lambda file: file.name)
def test_every_yaml_file_is_a_mapping(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict)


def test_every_metric_asked_for_is_exported() -> None:
    families = Metrics().registry.collect()
    exported = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    assert len(exported) > 20
    unknown = {name for name in asked_for() if not {name, without_part(name)} & exported}
    assert not unknown


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "description"}


def test_alert_names_are_unique() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names)


def test_prometheus_loads_the_alerts_and_scrapes_services_that_exist() -> None:
    prometheus = yaml.safe_load((INFRA / "prometheus" / "prometheus.yml").read_text("utf-8"))
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))["services"]
    scraped = [
        name
        for job in prometheus["scrape_configs"]
        for lookup in job["dns_sd_configs"]
        for name in lookup["names"]
    ]
    assert prometheus["rule_files"] == ["alerts.yml"]
    assert set(scraped) <= set(services)


def test_panels_do_not_overlap_and_use_the_provisioned_source() -> None:
    sources = INFRA / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(sources.read_text("utf-8"))["datasources"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        cells = set(cells_of(**panel["gridPos"]))
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["datasource"]["uid"] == source["uid"]
        taken |= cells


def asked_for() -> set[str]:
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return set(NAME.findall(" ".join([*targets, *(alert["expr"] for alert in ALERTS)])))


def without_part(name: str) -> str:
    return HISTOGRAM_PARTS.sub("", name)


def cells_of(x: int, y: int, w: int, h: int) -> Iterator[tuple[int, int]]:
    return ((column, row) for column in range(x, x + w) for row in range(y, y + h))
