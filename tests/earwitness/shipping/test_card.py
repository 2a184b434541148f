"""Cards say what the figures say."""

import re
from typing import Any

import pytest

from earwitness.shipping.card import _counted, _found, _patterns
from earwitness.shipping.patterns import SNRS_DB, Tried, found_by_pattern
from models import catalogue
from models.scenes.alarms import PATTERNS

CARD = catalogue.CATALOGUE / "earwitness-small" / "2" / "CARD.md"


def test_every_pattern_has_a_row_with_what_was_found_at_each_snr() -> None:
    tried = [Tried("siren", "air_raid", snr, found=at < 3) for snr in (0.0, 20.0) for at in range(4)]
    tried += [Tried("smoke_alarm", "sweeping", snr, found=False) for snr in (0.0, 20.0)]
    text = _patterns(found_by_pattern(tried))
    # Wilson's interval of 3 of 4 is 0.30 to 0.95, that of 0 of 1 is 0 to 0.793.
    assert "known to 80 points either way" in text
    assert "| label | pattern | 0 dB | 20 dB |\n" in text
    assert "| siren | air raid | 3 of 4 | 3 of 4 |\n" in text
    assert "| smoke_alarm | sweeping | 0 of 1 | 0 of 1 |\n" in text


@pytest.mark.parametrize(
    ("counts", "said"), [({"tp": 3, "fn": 1, "fp": 9}, "3 of 4"), ({"tp": 0, "fn": 0, "fp": 1}, "–")]
)
def test_a_label_without_events_has_no_share(counts: dict[str, Any], said: str) -> None:
    assert _found(counts) == said


def test_only_what_was_counted_is_named() -> None:
    assert _counted({"siren": {"count": 1}, "rain": {"count": 0}}) == "siren 1"
    assert _counted({}) == "none"


def test_the_card_that_ships_tells_of_every_pattern_and_names_no_section_that_it_has_not() -> None:
    card = CARD.read_text("utf-8")
    rows = [(label, name.replace("_", " ")) for label in PATTERNS for name in PATTERNS[label]]
    assert all(f"| {label} | {name} | " in card for label, name in rows)
    assert "| label | pattern | " + " | ".join(f"{snr:g} dB" for snr in SNRS_DB) + " |\n" in card
    named = set(re.findall(r'"([A-Z][a-z ]+)"', card))
    assert named == {"Alerts by pattern", "Events"}
    assert named <= set(re.findall(r"^## (.+)$", card, re.MULTILINE))
