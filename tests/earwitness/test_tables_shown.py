"""What a table shows is what the data says: ids, labels and messages are of others' making."""

import pytest

from earwitness.cli.base import show_table
from earwitness.cli.operate import _show_findings, _show_rows
from earwitness.operation.checks.finding import warn
from earwitness.operation.health import problems
from earwitness.operation.sensors import Row

HOSTILE = ("[/a]", "[red]", "[bold]x[/bold]", ":fire:", "a\\", "\\[b]", "[link=https://example.org]y[/link]")


def test_what_reads_as_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("label", "[/sensor]"), [[text, text] for text in HOSTILE])
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["label", "[/sensor]"]
    assert [row.split() for row in rows] == [[text, text] for text in HOSTILE]


@pytest.mark.parametrize("name", HOSTILE)
def test_sensors_and_findings_are_shown_by_the_names_that_they_have(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _show_rows([Row(name, None, None, None, problems(None, 0, 0))], as_json=False)
    _show_findings([("sensors", warn(name, "found", "advice"))])
    _, sensor, _, finding = capsys.readouterr().out.splitlines()
    assert sensor.split()[0] == name
    assert finding.split() == ["warn", name, "found", "advice"]
